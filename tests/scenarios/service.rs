//! Under a service manager: on its sockets, with its notifications, watched by it, and restarted by it without a request
//! lost.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use regauth_tests::certificates::Authority;
use regauth_tests::client;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::gate::Scheme;
use regauth_tests::herd::{Felt, Herd, Size};
use regauth_tests::honeypot::Honeypot;
use regauth_tests::leaks::Hunt;
use regauth_tests::manager::Manager;
use regauth_tests::poll;
use regauth_tests::process::Process;
use regauth_tests::programs::binary;
use regauth_tests::serve::{Server, Service};
use regauth_tests::systemd::Systemd;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

const TOKEN: &str = "s3ntinel-of-the-service";

#[test]
fn the_first_connection_starts_the_daemon_on_sockets_that_outlive_it() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    let run = home.join("run");
    for folder in [&home, &run] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let (socket, port) = (run.join("control.sock"), free_port());
    let mut activate = client::command("systemd-socket-activate", &home);
    activate
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--listen",
            socket.to_str().unwrap(),
        ])
        .args(["--fdname=proxy:control", "--setenv=REGAUTH_LOG=debug"])
        .arg(binary("regauthd"))
        .arg("--home")
        .arg(&home)
        .args(["--store", "memory"]);
    let mut daemon = Process::spawn("regauthd", &mut activate, &folder.path().join("log"));
    daemon.wait_until("its sockets", || socket.exists().then_some(()));
    assert!(!home.join("config.toml").exists(), "nobody has asked for anything yet");
    let stranger = Honeypot::builder(&Authority::new("Root"), "localhost").plain().start();
    let curl = Curl::new().proxy(&format!("http://127.0.0.1:{port}"));
    assert_eq!(curl.get(&stranger.url("/")).status, 200);
    let status = Ctl::run(&home, &["status"], "").succeeds().json;
    assert_eq!(status["sockets"], json!({"proxy": "passed", "control": "passed"}));
    assert_eq!(status["listen"], format!("127.0.0.1:{port}"));
    assert!(daemon.stop().success());
    assert!(socket.exists(), "a passed socket is not the daemon's to remove");
}

#[test]
fn either_socket_may_be_passed_without_the_other_and_under_any_name() {
    type Sockets = fn(&mut Manager, &Path);
    let cases: [(Sockets, &str, &str); 3] = [
        (|manager, _| manager.port("", "127.0.0.1:0"), "passed", "own"),
        (
            |manager, home| manager.control("x.socket", home, 0o600),
            "own",
            "passed",
        ),
        (
            |manager, home| {
                manager.control("regauthd-control.socket", home, 0o600);
                manager.port("regauthd-proxy.socket", "[::1]:0");
            },
            "passed",
            "passed",
        ),
    ];
    for (sockets, proxy, control) in cases {
        let mut daemon = Daemon::builder().managed(sockets).start();
        let status = daemon.ctl(&["status"]).succeeds().json;
        assert_eq!(status["sockets"], json!({"proxy": proxy, "control": control}));
        assert!(daemon.stop().success());
        assert_eq!(daemon.home().join("run/control.sock").exists(), control == "passed");
    }
}

#[test]
fn a_passed_socket_that_our_own_rules_forbid_keeps_the_daemon_from_starting() {
    type Sockets = fn(&mut Manager, &Path);
    let cases: [(Sockets, &str); 6] = [
        (|manager, _| manager.port("proxy", "0.0.0.0:0"), "grants"),
        (
            |manager, home| manager.control("control", home, 0o666),
            "SocketMode=0600",
        ),
        (
            |manager, home| manager.control("proxy", home, 0o600),
            "neither a TCP listener",
        ),
        (
            |manager, _| manager.port("control", "127.0.0.1:0"),
            "neither a TCP listener",
        ),
        (
            |manager, _| {
                manager.port("proxy", "127.0.0.1:0");
                manager.port("other", "127.0.0.1:0");
            },
            "more than one `proxy`",
        ),
        (
            |manager, home| manager.control("control", &home.join("elsewhere"), 0o600),
            "make the two agree",
        ),
    ];
    for (sockets, says) in cases {
        let folder = TempDir::new().unwrap();
        let outcome = Daemon::builder().managed(sockets).run(&folder.path().join("home"));
        outcome.fails().says(says);
    }
}

#[test]
fn the_service_manager_hears_when_it_is_ready_what_it_does_and_that_it_is_alive() {
    let mut daemon = Daemon::builder()
        .activated()
        .store("vault")
        .env("WATCHDOG_USEC", "400000")
        .start();
    let heard = |daemon: &Daemon, what: &str| {
        poll::wait_for(what, || {
            daemon.heard().iter().any(|said| said.contains(what)).then_some(())
        });
    };
    heard(&daemon, "READY=1");
    let before = daemon.heard();
    assert!(
        before.iter().any(|said| said == "STATUS=0 registries, store: vault\n"),
        "{before:?}"
    );
    let registry = Honeypot::builder(&Authority::new("Root"), "localhost").start();
    let (scope, ca) = (registry.url("/"), registry.certificate().chain_file());
    daemon
        .try_add(
            "corp",
            &["--scope", &scope, "--no-verify"],
            &Scheme::bearer(),
            &ca,
            TOKEN,
        )
        .succeeds();
    heard(&daemon, "STATUS=1 registry, store: vault");
    daemon.signal(Signal::HUP);
    heard(&daemon, "RELOADING=1\nMONOTONIC_USEC=");
    poll::wait_for("to be ready again", || {
        let heard = daemon.heard();
        let reloading = heard.iter().position(|said| said.contains("RELOADING=1"))?;
        heard[reloading..].iter().any(|said| said == "READY=1\n").then_some(())
    });
    let beats = |daemon: &Daemon| daemon.heard().iter().filter(|said| *said == "WATCHDOG=1\n").count();
    poll::wait_for("signs of life", || (beats(&daemon) > 3).then_some(()));
    if rustix::process::geteuid().is_root() {
        let _held = hold_thread(daemon.pid(), "worker-0");
        poll::wait_for("the daemon to notice", || {
            daemon.log().contains("a worker does not answer").then_some(())
        });
        let at_most = beats(&daemon) + 1;
        poll::wait_for("it again", || {
            (daemon.log().matches("a worker does not answer").count() > 3).then_some(())
        });
        assert!(
            beats(&daemon) <= at_most,
            "it says that it is alive, and a worker hangs"
        );
        assert!(daemon.ctl(&["status"]).succeeded(), "the control side lives");
    }
    poll::wait_for("signs of life again", || {
        let before = beats(&daemon);
        poll::within(Duration::from_secs(1), || (beats(&daemon) > before).then_some(()))
    });
    assert!(daemon.stop().success());
    heard(&daemon, "STOPPING=1\nSTATUS=draining");
}

/// A thousand requests in flight the whole time; each daemon drains while the next one answers already. Twenty restarts
/// with REGAUTH_LONG=1.
#[test]
fn restarts_lose_no_request_out_of_a_thousand_in_flight() {
    let stage = Slow::start(Duration::from_secs(2));
    let mut daemon = Daemon::builder().activated().store("vault").log_level("info").start();
    stage.add_to(|arguments| daemon.ctl_with_input(arguments, TOKEN));
    let herd = Herd::start(A_THOUSAND, &daemon.proxy(), &daemon.bundle(), &stage.url());
    let mut in_flight = Vec::new();
    for _ in 0..restarts() {
        poll::wait_for("all to be waiting", || {
            let waiting = herd.in_flight();
            (waiting >= IN_FLIGHT).then(|| in_flight.push(waiting))
        });
        daemon.replace();
    }
    let felt = herd.stop();
    println!("{in_flight:?} in flight at the restarts; {}", told(&felt));
    assert_eq!(felt.failures, Vec::<String>::new(), "{}", daemon.log());
    assert!(daemon.left().iter().all(std::process::ExitStatus::success));
    assert!(!daemon.log().contains("cutting the rest"), "{}", daemon.log());
}

/// A real client, with its own idea of keep-alive and of what may be repeated. Over HTTP/1.1: on HTTP/2 in parallel, curl 7.88
/// shares the connection that follows a GOAWAY before the proxy has answered its CONNECT ("send: no filter connected"), and
/// does so in a tunnel to an nginx that reloads, too.
#[test]
fn real_curls_in_parallel_notice_no_restart() {
    let stage = Slow::start(Duration::from_millis(300));
    let mut daemon = Daemon::builder().activated().store("vault").log_level("info").start();
    stage.add_to(|arguments| daemon.ctl_with_input(arguments, TOKEN));
    let curl = Curl::new().behind(&daemon).with(&[
        "--http1.1",
        "--parallel",
        "--parallel-max",
        "30",
        "--parallel-immediate",
        "--fail-early",
        "--fail",
        "--remote-name-all",
    ]);
    let running = curl.start(&format!("{}?[1-300]", stage.url()));
    for round in 1..5 {
        poll::wait_for("some answers", || (stage.answers() >= round * 50).then_some(()));
        daemon.replace();
    }
    running.finish().outcome.succeeds();
    assert_eq!(stage.answers(), 300);
}

/// A connection that was accepted before the end and speaks after it is answered all the same.
#[test]
fn who_has_connected_before_the_end_is_answered() {
    use regauth_tests::raw;
    use tokio::io::AsyncWriteExt;
    let stage = Slow::start(Duration::from_millis(100));
    let mut daemon = Daemon::builder().activated().log_level("debug").start();
    stage.add_to(|arguments| daemon.ctl_with_input(arguments, TOKEN));
    let host = stage.authority();
    let head = format!("CONNECT {host} HTTP/1.1\r\n\r\n");
    let request = format!("GET /late HTTP/1.1\r\nHost: {host}\r\n\r\n");
    raw::run(async {
        let mut silent = raw::dial(&daemon).await.unwrap();
        let mut tunnel = raw::open(&daemon, &host, &["http/1.1"]).await.unwrap();
        // The kernel has connected the first one; that the daemon has it as well shows when two are counted.
        poll::wait_for("both to be accepted", || {
            (daemon.ctl(&["status"]).json["connections"].as_u64()? >= 2).then_some(())
        });
        daemon.signal(Signal::TERM);
        poll::wait_for("it to drain", || daemon.log().contains("draining").then_some(()));
        tunnel.write_all(request.as_bytes()).await.unwrap();
        silent.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 19];
        tokio::io::AsyncReadExt::read_exact(&mut silent, &mut answer)
            .await
            .unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 Connec");
        let mut first = [0];
        tokio::io::AsyncReadExt::read_exact(&mut tunnel, &mut first)
            .await
            .unwrap();
        let answer = [&first[..], &raw::read(&mut tunnel).await].concat();
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    });
    assert!(daemon.wait().success());
}

/// What a real systemd makes of it, with units as they are installed.
#[test]
fn a_real_systemd_starts_restarts_and_revives_it() {
    let Some(systemd) = Systemd::start() else {
        return eprintln!("a systemd of one's own takes root, namespaces and control groups");
    };
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    let port = free_port();
    give_units(&systemd, &home, port);
    systemd.systemctl(&["start", PROXY_SOCKET, CONTROL_SOCKET]).succeeds();
    assert_eq!(systemd.property(SERVICE, "ActiveState"), "inactive");
    let stage = Slow::start(Duration::from_secs(2));
    stage.add_to(|arguments| Ctl::run(&home, arguments, TOKEN));
    assert_eq!(
        systemd.property(SERVICE, "ActiveState"),
        "active",
        "asking it starts it"
    );
    assert_eq!(systemd.property(SERVICE, "StatusText"), "1 registry, store: vault");
    restarts_lose_nothing(&systemd, &home, port, &stage);
    it_is_back_soon(&systemd, port, &stage, &home);
    its_journal_has_fields_and_no_token(&systemd);
}

/// A system's daemon obeys its own user and root, and whoever its socket's group lets in; the kernel asks.
#[test]
fn a_socket_that_is_made_for_a_group_lets_the_group_in() {
    let Some(systemd) = Systemd::start() else {
        return eprintln!("a systemd of one's own takes root, namespaces and control groups");
    };
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name);
    let ctl = place("regauthctl");
    fs::copy(binary("regauthctl"), &ctl).unwrap();
    fs::create_dir(place("run")).unwrap();
    std::os::unix::fs::chown(place("run"), None, Some(MEMBER)).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&ctl, 0o755), (&place("run"), 0o750)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let places = [("CONFIGURATION", "config"), ("STATE", "state"), ("RUNTIME", "run")]
        .map(|(variable, name)| (format!("{variable}_DIRECTORY"), place(name)));
    let environment: Vec<String> = places
        .iter()
        .map(|(variable, path)| format!("{variable}={}", path.display()))
        .collect();
    systemd.unit(
        SERVICE,
        &format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nEnvironment={}\nExecStart={} --store memory --listen \
             127.0.0.1:0\n",
            environment.join(" "),
            binary("regauthd").display()
        ),
    );
    let socket = place("run/control.sock");
    systemd.unit(
        CONTROL_SOCKET,
        &format!(
            "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream={}\nFileDescriptorName=control\nSocketMode=0660\n\
             SocketGroup={MEMBER}\nService={SERVICE}\n",
            socket.display()
        ),
    );
    systemd.systemctl(&["start", CONTROL_SOCKET]).succeeds();
    let status = |user: u32| {
        let mut command = client::as_user(user, folder.path());
        command.arg(&ctl).arg("status").envs(places.iter().cloned());
        client::run(&mut command)
    };
    status(0).succeeds().says("the control socket is the service manager's");
    status(MEMBER).succeeds();
    status(STRANGER).fails().says("no permission");
}

fn restarts_lose_nothing(systemd: &Systemd, home: &Path, port: u16, stage: &Slow) {
    let proxy = format!("127.0.0.1:{port}");
    let herd = Herd::start(A_THOUSAND, &proxy, &home.join("state/ca-bundle.pem"), &stage.url());
    for _ in 0..restarts() {
        poll::wait_for("all to be waiting", || (herd.in_flight() >= IN_FLIGHT).then_some(()));
        systemd.systemctl(&["restart", SERVICE]).succeeds();
    }
    systemd.systemctl(&["reload", SERVICE]).succeeds();
    let felt = herd.stop();
    println!("{} restarts by systemd: {}", restarts(), told(&felt));
    assert_eq!(felt.failures, Vec::<String>::new());
}

/// Killed, and stopped so that only the watchdog can tell.
fn it_is_back_soon(systemd: &Systemd, port: u16, stage: &Slow, home: &Path) {
    let curl = Curl::new()
        .proxy(&format!("http://127.0.0.1:{port}"))
        .trusts(&home.join("state/ca-bundle.pem"));
    for (signal, limit) in [
        (Signal::KILL, Duration::from_secs(2)),
        (Signal::STOP, WATCHDOG + Duration::from_secs(2)),
    ] {
        let before = systemd.property(SERVICE, "MainPID");
        let pid = i32::try_from(systemd.outside(&before)).unwrap();
        let began = Instant::now();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        poll::wait_for("another one", || {
            let now = systemd.property(SERVICE, "MainPID");
            (now != "0" && now != before).then_some(())
        });
        assert_eq!(curl.get(&stage.url()).status, 200);
        let back = began.elapsed() - stage.delay;
        println!("{signal:?}: back after {back:?}");
        assert!(back < limit, "{signal:?}: {back:?}");
    }
}

fn its_journal_has_fields_and_no_token(systemd: &Systemd) {
    let journal = poll::wait_for("the journal", || {
        let journal = systemd.journal(SERVICE);
        journal.contains("REGAUTH_REGISTRY").then_some(journal)
    });
    let entries: Vec<serde_json::Value> = journal
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let added = entries
        .iter()
        .find(|entry| entry["MESSAGE"] == "added registry")
        .unwrap();
    assert_eq!(added["REGAUTH_REGISTRY"], "corp");
    assert_eq!(added["SYSLOG_IDENTIFIER"], "regauthd");
    assert_eq!(added["PRIORITY"], "6");
    Hunt::new(TOKEN).look("the journal", journal).assert_clean();
}

fn give_units(systemd: &Systemd, home: &Path, port: u16) {
    let regauthd = binary("regauthd");
    let (regauthd, home) = (regauthd.display(), home.display());
    let socket = |name: &str, what: &str| {
        format!("[Unit]\nDefaultDependencies=no\n[Socket]\n{what}\nFileDescriptorName={name}\nService={SERVICE}\n")
    };
    systemd.unit(
        PROXY_SOCKET,
        &socket("proxy", &format!("ListenStream=127.0.0.1:{port}")),
    );
    let control = format!("ListenStream={home}/run/control.sock\nSocketMode=0600\nDirectoryMode=0700");
    systemd.unit(CONTROL_SOCKET, &socket("control", &control));
    systemd.unit(
        SERVICE,
        &format!(
            "[Unit]
DefaultDependencies=no
Requires={PROXY_SOCKET} {CONTROL_SOCKET}
After={PROXY_SOCKET} {CONTROL_SOCKET}
[Service]
Type=notify
ExecStart={regauthd} --home {home} --store vault
ExecReload=kill -HUP $MAINPID
Restart=always
RestartSec=100ms
StartLimitIntervalSec=0
WatchdogSec={}
Environment=REGAUTH_LOG=debug LC_ALL=C.UTF-8
LimitNOFILE=16384
",
            WATCHDOG.as_secs()
        ),
    );
}

/// A registry that takes its time for each answer.
struct Slow {
    authority: Authority,
    answers: Arc<AtomicUsize>,
    address: SocketAddr,
    delay: Duration,
    _server: Server,
}

#[derive(Clone)]
struct Pensive(Duration, Arc<AtomicUsize>);

impl Service for Pensive {
    async fn answer(&self, _: Request<Incoming>) -> Response<Full<Bytes>> {
        tokio::time::sleep(self.0).await;
        self.1.fetch_add(1, Ordering::Relaxed);
        Response::new(Full::new(Bytes::from_static(&[b'x'; 2000])))
    }
}

impl Slow {
    fn start(delay: Duration) -> Self {
        let (authority, answers) = (Authority::new("Corp Root"), Arc::default());
        let tls = authority.issue(&["localhost"]).server_config(&["h2", "http/1.1"]);
        let (server, address) = Server::on_tcp(
            ([127, 0, 0, 1], 0).into(),
            Some(tls),
            Pensive(delay, Arc::clone(&answers)),
        );
        Self {
            authority,
            answers,
            address,
            delay,
            _server: server,
        }
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    fn authority(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    fn url(&self) -> String {
        format!("https://{}/answer", self.authority())
    }

    fn add_to(&self, ctl: impl Fn(&[&str]) -> Ctl) {
        let ca = self.authority.file();
        let scope = format!("https://{}/", self.authority());
        let add = [
            "add-registry",
            "corp",
            "--token-stdin",
            "--no-verify",
            "--scheme",
            "bearer",
        ];
        ctl(&[&add[..], &["--scope", &scope, "--ca-file", ca.to_str().unwrap()]].concat()).succeeds();
    }
}

fn restarts() -> usize {
    if std::env::var_os("REGAUTH_LONG").is_some() {
        20
    } else {
        4
    }
}

fn told(felt: &Felt) -> String {
    let Felt {
        answers,
        repeated,
        failures,
    } = felt;
    format!(
        "{answers} answers, {repeated} repeated by their clients, {} failures",
        failures.len()
    )
}

/// One that nobody has at the moment; whoever takes it listens soon.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Stops one thread of a process, as nothing but a debugger can, until it is dropped.
fn hold_thread(pid: u32, name: &str) -> Process {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let is_it = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let mut tasks = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let thread = tasks.find(is_it).unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut python = client::command("python3", Path::new("/"));
    python.args(["-c", HOLD, thread.file_name().unwrap().to_str().unwrap()]);
    let mut holding = Process::spawn("a debugger", &mut python, log.path());
    let log = log.into_temp_path();
    holding.wait_until("the thread to stop", || {
        fs::metadata(&log).unwrap().size().gt(&0).then_some(())
    });
    holding
}

/// ptrace(2): PTRACE_SEIZE and PTRACE_INTERRUPT; a thread whose debugger has ended goes on.
const HOLD: &str = "\
import ctypes, signal, sys
thread, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
for request in (0x4206, 0x4207):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit('ptrace: %d' % ctypes.get_errno())
print('held', flush=True)
signal.pause()
";

const A_THOUSAND: Size = Size {
    fresh: 50,
    kept: 550,
    streams: 500,
};
/// Some are always between two requests.
const IN_FLIGHT: usize = 1000;
const MEMBER: u32 = 65534;
const STRANGER: u32 = 65533;
const WATCHDOG: Duration = Duration::from_secs(2);
const SERVICE: &str = "regauthd.service";
const PROXY_SOCKET: &str = "regauthd-proxy.socket";
const CONTROL_SOCKET: &str = "regauthd-control.socket";
