//! Daemon that the scripts attack, and the searches for its token afterwards.

use regauth_tests::certificates::{Authority, concatenate};
use regauth_tests::exec::{self, Output};
use regauth_tests::machine::{ME, Machine, Mode};
use regauth_tests::mock_server::{MockServer, RecordedRequest};
use regauth_tests::random::SeededRandom;

use super::Way;

/// Daemon with a registry, and a host of the attacker.
pub(super) struct Target {
    machine: Machine,
    registry: MockServer,
    evil: MockServer,
    root: Authority,
    /// Differs in each run: the sources of this test are readable for everybody.
    token: String,
    plain_port: u16,
}

impl Target {
    pub(super) fn start(mode: Mode) -> Option<Self> {
        let root = Authority::new("Public Root");
        let [registry, evil] = [(); 2].map(|()| MockServer::builder(&root, "localhost").start());
        let machine = Machine::start(mode)?;
        let mut random = SeededRandom::from_environment();
        let token = format!("hunted-{:x}-{:x}", random.below(1 << 32), random.below(1 << 32));
        let plain_port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let target = Self {
            machine,
            registry,
            evil,
            root,
            token,
            plain_port,
        };
        let (scope, ca) = (target.registry.url("/corp/"), target.ca());
        target.add(&["corp", "--scope", &scope, "--ca-file", &ca]).succeeds();
        // Only a daemon of the user's own takes such a registry.
        let plain = format!("http://127.0.0.1:{plain_port}/plain/");
        let added = target.add(&["plain", "--no-verify", "--scope", &plain]);
        assert_eq!(added.status.success(), mode == Mode::OwnUser, "{}", added.report());
        target.assert_still_serves();
        Some(target)
    }

    fn add(&self, definition: &[&str]) -> Output {
        let arguments = [&["add-registry"], definition, &["--token-stdin"]].concat();
        self.machine
            .ctl_with_input(self.machine.mode().admin(), &arguments, &self.token)
    }

    /// File with the root of both hosts, where a guarded daemon reads it.
    fn ca(&self) -> String {
        self.machine.install_file(&self.root.file())
    }

    /// Runs a way, and returns true if it has led to the token or to a write.
    pub(super) fn falls_to(&self, way: &Way) -> bool {
        let slug: String = way
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let loot = self.machine.home().join(&slug);
        self.machine.shell(ME, &format!("mkdir {slug}")).succeeds();
        let script = format!("{}\n{PRELUDE}\n{}", self.variables(&slug), way.script);
        // A person types the token where a way waits for that.
        let typed = if way.script.contains("typed_token") {
            &*self.token
        } else {
            ""
        };
        let output = exec::run_with_input(&mut self.machine.script(ME, &script), typed);
        let path = format!("/{slug}/");
        let at_evil = self
            .evil
            .requests()
            .iter()
            .any(|request| request.uri.contains(&path) && self.has_token(request));
        let written = self.registry.requests();
        let written = written
            .iter()
            .any(|request| request.uri.contains(&path) && request.method != "GET" && self.has_token(request));
        let printed = output.stdout.contains(&self.token) || output.stderr.contains(&self.token);
        let mut grep = self.machine.command(ME, "grep");
        let looted = exec::run(grep.args(["-r", "-q", "-a", "-F", &self.token]).arg(&loot))
            .status
            .success();
        let succeeded = at_evil || written || printed || looted;
        println!(
            "{}: {} ({})",
            way.name,
            if succeeded { "succeeds" } else { "fails" },
            output.report()
        );
        succeeded
    }

    fn has_token(&self, request: &RecordedRequest) -> bool {
        request.headers.values().any(|value| {
            value
                .as_bytes()
                .windows(self.token.len())
                .any(|part| part == self.token.as_bytes())
        })
    }

    fn variables(&self, slug: &str) -> String {
        let machine = &self.machine;
        let bundle = concatenate(&[&machine.bundle(), &self.root.file()]);
        let trusted = machine.install_file(&bundle);
        let (status, folder) = (machine.status(), machine.folder().display());
        let config = status["config"].as_str().unwrap();
        format!(
            "export PATH={folder}:$PATH CTL={folder}/regauthctl LOOT=$HOME/{slug} STATE={} CONFIG={config} PID={} PROXY={} \
             BUNDLE={} TRUSTED={trusted} CORP={} EVIL={} EVIL_CA={} EVIL_PORT={} PLAIN={} PLANTED=$XDG_RUNTIME_DIR/regauth/control.sock",
            machine.state().display(),
            machine.daemon_pid(),
            machine.proxy(),
            machine.bundle().display(),
            self.registry.url(&format!("/corp/{slug}/")),
            self.evil.url(&format!("/{slug}/")),
            self.ca(),
            self.evil.authority().rsplit(':').next().unwrap(),
            self.plain_port,
        )
    }

    pub(super) fn assert_still_serves(&self) {
        assert_eq!(self.machine.get(ME, &self.registry.url("/corp/"), &[]), 200);
        let last = self.registry.requests().pop().unwrap();
        assert_eq!(last.header("authorization"), Some(format!("Bearer {}", self.token)));
    }

    /// Searches all that the user can read, as the user.
    pub(super) fn assert_token_is_nowhere(&self) {
        let script = format!(
            "read -r token; search() {{ printf %s \"$token\" | grep -l -a -s -F -f - \"$@\"; }}; search -r {} /run /dev/shm \
             /var/tmp; search /proc/[0-9]*/environ /proc/[0-9]*/cmdline; true",
            self.machine.folder().display()
        );
        let mut hunt = self.machine.script(ME, &script);
        let found = exec::run_with_input(&mut hunt, format!("{}\n", self.token));
        assert_eq!(found.stdout, "", "{}", found.report());
    }
}

/// Functions of the scripts.
const PRELUDE: &str = r#"
ctl() { "$CTL" "$@"; }
get() { curl --silent --max-time 5 --proxy "$PROXY" --cacert "$TRUSTED" "$@"; }
write() { get "$CORP" --request PUT --data x "$@"; }
ask() { printf '%s\n' "$1" | ask_bytes; }
ask_bytes() { /usr/bin/python3 -c '
import os, socket, sys
own = os.environ["PLANTED"]
for path in (own, "/run/regauth/control.sock"):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    try:
        client.connect(path)
        client.recv(65536)
        client.sendall(sys.stdin.buffer.read())
        print(client.recv(65536))
        break
    except OSError as error:
        print(error)
'; }
dump_memory() { /usr/bin/python3 -c '
import ctypes, os, sys
pid = os.environ["PID"]
if sys.argv[1:]:
    print(ctypes.CDLL(None).ptrace(16, int(pid), 0, 0))
with open(f"/proc/{pid}/mem", "rb", 0) as memory, open(os.environ["LOOT"] + "/memory", "wb") as copy:
    for line in open(f"/proc/{pid}/maps"):
        begin, end = (int(number, 16) for number in line.split()[0].split("-"))
        if " rw" in line:
            memory.seek(begin)
            copy.write(memory.read(end - begin))
' "$@"; }
catch() { /usr/bin/python3 -c '
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
listener.settimeout(2)
client, _ = listener.accept()
print(client.recv(65536))
client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
' "$1"; }
plant() {
  mkdir -p "${PLANTED%/*}"
  if [ -e "$PLANTED" ]; then mv "$PLANTED" "$PLANTED.real"; fi
  /usr/bin/python3 -c '
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["PLANTED"])
listener.listen()
listener.settimeout(2)
with open(os.environ["LOOT"] + "/typed", "wb") as typed:
    try:
        for _ in range(3):
            client, _ = listener.accept()
            client.sendall(b"{\"hello\":{\"versions\":[1],\"daemon\":\"0.1.0\"}}\n")
            client.settimeout(2)
            typed.write(client.recv(65536))
            client.sendall(b"{\"ok\":{\"name\":\"corp\",\"kind\":\"generic\",\"scopes\":[],\"scheme\":\"bearer\",\"source\":\"store\",\"writes\":\"deny\",\"credential\":{\"state\":\"ready\",\"generation\":1},\"requests\":0}}\n")
    except OSError:
        pass
'; }
unplant() {
  rm -f "$PLANTED"
  if [ -e "$PLANTED.real" ]; then mv "$PLANTED.real" "$PLANTED"; fi
}
typed_token() { cat /proc/self/fd/0; }
other_ctl() { "$CTL" --home "$LOOT" "$@"; }
other_daemon() {
  timeout 20 regauthd --home "$LOOT" --listen 127.0.0.1:0 >"$LOOT/log" 2>&1 &
  for attempt in 1 2 3 4 5 6 7 8 9 10; do other_ctl status && return; sleep 0.2; done
  cat "$LOOT/log"
}
"#;
