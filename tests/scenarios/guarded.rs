//! Guarded daemon: it serves its users by the kernel's word, lets them look, narrow and rotate, and widens nothing but for
//! root.

use std::fs;

use regauth_shared::exit_code;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl;
use regauth_tests::exec::Output;
use regauth_tests::machine::{ME, Machine, Mode, OTHER, ROOT};
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use serde_json::Value;

const TOKEN: &str = "t0ken-of-a-guarded-daemon";
const NEXT: &str = "t0ken-of-the-next-month";

#[test]
fn a_guarded_daemon_serves_its_users_without_a_grant_and_nobody_else() {
    let Some(case) = Case::start() else { return };
    assert_eq!(case.get(ME), 200);
    assert_eq!(case.received(), format!("Bearer {TOKEN}"));
    for stranger in [OTHER, ROOT] {
        assert_eq!(case.get(stranger), 0, "user {stranger}");
    }
    let status = case.machine.status();
    assert_eq!((&status["mode"], &status["users"][0]), (&"guarded".into(), &ME.into()));
    let as_text = case.machine.ctl(ME, &["status"]);
    as_text
        .says("guarded: as a user of its own")
        .says("cannot read the tokens");
    // The daemon of another user is none of theirs, and theirs does not run.
    case.exits(OTHER, &["status"], exit_code::UNREACHABLE)
        .says("no regauthd is running");
}

#[test]
fn a_served_user_looks_narrows_and_rotates() {
    let Some(case) = Case::start() else { return };
    for open in [
        &["list"][..],
        &["show", "corp"],
        &["top", "--once"],
        &["grants"],
        &["store"],
        &["metrics"],
        &["log"],
    ] {
        case.exits(ME, open, exit_code::DONE);
    }
    assert_eq!(case.get(ME), 200);
    // The daemon opens its record for them, since only root may enter its folder.
    poll::wait_for("the request's line", || {
        let shown = case.exits(ME, &["audit"], exit_code::DONE);
        shown.report().contains("GET /").then_some(())
    });
    let verified = case.exits(ME, &["audit", "verify"], exit_code::DONE);
    assert!(
        !verified.report().contains("no daemon has confirmed"),
        "{}",
        verified.report()
    );
    verified.says("record is whole");
    let exported = case.exits(ME, &["audit", "export"], exit_code::DONE);
    exported.says("\"event\":\"request\"");
    case.exits(OTHER, &["audit"], exit_code::NOT_FOUND);
    case.exits(ROOT, &["allow", "corp", "--for", "5m"], exit_code::DONE);
    assert_eq!(case.put(ME), 200);
    case.exits(ME, &["deny", "corp"], exit_code::DONE);
    assert_eq!(case.put(ME), 403);
    let rotated = case
        .machine
        .ctl_with_input(ME, &["rotate", "corp", "--token-stdin"], NEXT);
    rotated.succeeds();
    assert_eq!(case.get(ME), 200);
    assert_eq!(case.received(), format!("Bearer {NEXT}"));
    let scope = case.registry.url("/mine/");
    let mine = [
        "add-registry",
        "mine",
        "--token-stdin",
        "--no-verify",
        "--scope",
        &scope,
    ];
    case.machine.ctl_with_input(ME, &mine, TOKEN).succeeds();
    case.exits(ME, &["remove-registry", "mine"], exit_code::DONE);
}

#[test]
fn widening_is_refused_to_a_program_of_a_served_user_and_not_to_root() {
    let Some(case) = Case::start() else { return };
    let (scope, mine) = (case.registry.url("/more/"), case.registry.url("/mine/"));
    let definition = ["add-registry", "x", "--no-verify", "--scope", &mine];
    let with = |more: &[&'static str]| -> Vec<String> {
        let words = definition.iter().chain(more);
        words.map(ToString::to_string).collect()
    };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let refused = [
        (words(&format!("add-scope corp {scope}")), "more URLs"),
        (words("set corp scheme raw --no-verify --yes"), "changed configuration"),
        (words("allow corp --for 5m"), "opens writes"),
        (words("grant --registry corp"), "makes grants"),
        (words("reload"), "changed configuration"),
        (words("unlock"), "its store"),
        (words("store move keychain"), "its store"),
        (words("log trace"), "its log"),
        (words("stop"), "stops"),
        (words("remove-registry corp"), "root has defined"),
        (with(&["--credential-of", "corp"]), "another registry"),
        (with(&["--source", "file:/etc/hostname"]), "reads files"),
        (with(&["--source", "env:HOME"]), "reads files"),
        (with(&["--source-command", "cat", "/etc/hostname"]), "reads files"),
        (
            with(&["--token-stdin", "--ca-file", "/etc/hostname"]),
            "trusts more roots",
        ),
        (with(&["--token-stdin", "--writes", "allow"]), "opens writes"),
    ];
    for (arguments, why) in refused {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = case.machine.ctl_with_input(ME, &arguments, TOKEN);
        assert_eq!(
            output.status.code(),
            Some(i32::from(exit_code::REFUSED)),
            "{}",
            output.report()
        );
        output.says("is guarded").says(why).says("the same command with sudo");
    }
    assert_eq!(case.get(ME), 200);
    case.exits(ROOT, &["add-scope", "corp", &scope], exit_code::DONE);
    case.exits(ROOT, &["grant", "--registry", "corp"], exit_code::DONE);
}

#[test]
fn a_name_that_root_has_defined_stays_roots() {
    let Some(mut case) = Case::start() else { return };
    let (corp, mine) = (case.registry.url("/corp/"), case.registry.url("/mine/"));
    let add = |case: &Case, user: u32, name: &str| {
        let add = ["add-registry", name, "--token-stdin", "--no-verify", "--scope", &mine];
        case.machine.ctl_with_input(user, &add, TOKEN)
    };
    case.exits(ME, &["remove-registry", "corp"], exit_code::REFUSED)
        .says("root has defined")
        .says("the same command with sudo");
    assert_eq!(case.get(ME), 200);
    case.exits(ROOT, &["remove-registry", "corp"], exit_code::DONE);
    // Also after a restart, and in another case, which a person would take for the same.
    case.machine.restart();
    for name in ["corp", "CORP"] {
        let refused = add(&case, ME, name).fails();
        refused.says("root has defined").says("the same command with sudo");
    }
    add(&case, ME, "mine").succeeds();
    case.machine.restart();
    case.exits(ME, &["remove-registry", "mine"], exit_code::DONE);
    let add = ["add-registry", "corp", "--token-stdin", "--no-verify", "--scope", &corp];
    case.machine.ctl_with_input(ROOT, &add, TOKEN).succeeds();
}

#[test]
fn a_guarded_daemon_reads_no_file_that_others_than_root_can_change() {
    let Some(case) = Case::start() else { return };
    let (machine, theirs) = (&case.machine, case.machine.home().join("roots.pem"));
    fs::copy(case.root.file(), &theirs).unwrap();
    let (scope, theirs) = (case.registry.url("/x/"), theirs.to_str().unwrap().to_owned());
    let add = ctl::add_scope("x", &scope, &theirs);
    let refused = machine.ctl_with_input(ROOT, &add, TOKEN);
    assert_eq!(
        refused.status.code(),
        Some(i32::from(exit_code::REFUSED)),
        "{}",
        refused.report()
    );
    refused.says("others than root can change").says("sudo install -D");
    // A link to it is no better.
    let link = "/run/etc-regauth/link.pem";
    machine.shell(ROOT, &format!("ln -s {theirs} {link}")).succeeds();
    let add = ctl::add_scope("x", &scope, link);
    machine
        .ctl_with_input(ROOT, &add, TOKEN)
        .fails()
        .says("others than root can change");
    // A served user may ask what a change would do, and the daemon opens no such file for the answer either.
    let set = case.exits(ME, &["set", "corp", "ca-file", &theirs], exit_code::REFUSED);
    set.says("others than root can change");
    // Nor is plain HTTP, for which everybody can listen.
    let service = [
        "--scope",
        &scope,
        "--kind",
        "oci",
        "--token-service",
        "http://127.0.0.1:9/token",
    ];
    for plain in [&["--scope", "http://127.0.0.1:9/x/"], &service[..]] {
        let add = [&["add-registry", "x", "--token-stdin", "--no-verify"], plain].concat();
        let refused = machine.ctl_with_input(ROOT, &add, TOKEN);
        refused.fails().says("every program can listen");
    }
    // By a changed configuration neither, also if its workloads would be those of everybody.
    let config = case.config();
    let reload_with_keys = |jwks: &str| {
        let rule = format!(
            "[[trust]]\nissuer = \"https://issuer.example\"\naudience = \"regauth\"\njwks = \"{jwks}\"\nregistries = \
             [\"corp\"]\n"
        );
        let edit = format!(
            "cp -p {config} {config}.mine; sed -i '1i clients = \"grants\"' {config}; echo '{rule}' >>{config}"
        );
        machine.shell(ROOT, &edit).succeeds();
        let reloaded = machine.ctl(ROOT, &["--json", "reload"]);
        machine.shell(ROOT, &format!("mv {config}.mine {config}")).succeeds();
        reloaded
    };
    reload_with_keys(&theirs).fails().says("others than root can change");
    reload_with_keys("http://127.0.0.1:9/jwks")
        .fails()
        .says("every program can listen");
    assert!(!case.status().contains("issuer.example"), "nothing was put in service");
    machine.shell(ROOT, "echo '{}' >/run/etc-regauth/keys").succeeds();
    reload_with_keys("/run/etc-regauth/keys").succeeds();
    poll::wait_for("the rule's keys", || {
        case.status()
            .contains("the keys of https://issuer.example")
            .then_some(())
    });
    case.exits(ROOT, &["reload"], 0);
    assert!(!case.status().contains("issuer.example"), "the rule is gone");
    let edit = format!("sed -i 's#^ca-file = .*#ca-file = \"{theirs}\"#' {}", case.config());
    machine.shell(ROOT, &edit).succeeds();
    case.exits(ROOT, &["reload"], exit_code::REFUSED)
        .says("others than root can change");
    assert_eq!(case.get(ME), 200);
}

#[test]
fn a_socket_that_a_program_plants_gets_no_token() {
    let Some(case) = Case::start() else { return };
    // Where the user's own daemon would have it, and as if it had started first.
    let plant = r#"mkdir -p $XDG_RUNTIME_DIR/regauth && exec /usr/bin/python3 -c '
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["XDG_RUNTIME_DIR"] + "/regauth/control.sock")
listener.listen()
listener.settimeout(30)
open("planted", "w").close()
try:
    listener.accept()
    open("connected", "w").close()
except OSError:
    pass
'"#;
    let home = case.machine.home();
    let mut command = case.machine.script(ME, plant);
    let _planted = regauth_tests::exec::RunningCommand::start(&mut command, b"");
    regauth_tests::poll::wait_for("the planted socket", || home.join("planted").exists().then_some(()));
    let rotate = ["rotate", "corp", "--token-stdin"];
    case.machine.ctl_with_input(ME, &rotate, NEXT).succeeds();
    assert_eq!(case.get(ME), 200);
    assert_eq!(case.received(), format!("Bearer {NEXT}"));
    assert!(!home.join("connected").exists());
}

#[test]
fn registries_and_tokens_outlast_a_restart() {
    let Some(mut case) = Case::start() else { return };
    case.machine.restart();
    assert_eq!(case.get(ME), 200);
    assert_eq!(case.received(), format!("Bearer {TOKEN}"));
    assert!(!case.machine.log().contains(TOKEN));
}

#[test]
fn a_daemon_does_not_guard_its_own_user_from_itself() {
    let home = tempfile::tempdir().unwrap();
    let own = rustix::process::geteuid().as_raw().to_string();
    let daemon = regauth_tests::daemon::Daemon::builder();
    let refused = daemon.arg("--guarded-for").arg(&own).run(&home.path().join("home"));
    refused
        .fails()
        .says("regauthd itself runs as")
        .says("service install --for");
}

/// Guarded daemon with a registry that root has added.
struct Case {
    machine: Machine,
    registry: MockServer,
    root: Authority,
}

impl Case {
    fn start() -> Option<Self> {
        let root = Authority::new("Corp Root");
        let registry = MockServer::builder(&root, "localhost").start();
        let machine = Machine::start(Mode::Guarded)?;
        let (scope, ca) = (registry.url("/corp/"), machine.install_file(&root.file()));
        let add = ctl::add_scope("corp", &scope, &ca);
        machine.ctl_with_input(ROOT, &add, TOKEN).succeeds();
        Some(Self {
            machine,
            registry,
            root,
        })
    }

    fn get(&self, user: u32) -> u16 {
        self.machine.get(user, &self.registry.url("/corp/"), &[])
    }

    fn put(&self, user: u32) -> u16 {
        let put = ["--request", "PUT"];
        self.machine.get(user, &self.registry.url("/corp/"), &put)
    }

    /// Header of the last request that reached the registry.
    fn received(&self) -> String {
        let last = self.registry.requests().pop().unwrap();
        last.header("authorization").unwrap_or_default()
    }

    fn config(&self) -> String {
        let config: &Value = &self.machine.status()["config"];
        config.as_str().unwrap().to_owned()
    }

    fn status(&self) -> String {
        self.machine.ctl(ROOT, &["--json", "status"]).succeeds().stdout
    }

    #[track_caller]
    fn exits(&self, user: u32, arguments: &[&str], code: u8) -> Output {
        let output = self.machine.ctl(user, arguments);
        assert_eq!(output.status.code(), Some(i32::from(code)), "{}", output.report());
        output
    }
}
