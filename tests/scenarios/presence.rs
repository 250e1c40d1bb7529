//! Presence: polkit has a person confirm what widens where a token goes or what it may do. Real polkitd, pkttyagent and PAM.

use std::fs;

use regauth_shared::exit_code;
use regauth_tests::certificates::Authority;
use regauth_tests::exec::Output;
use regauth_tests::machine::{ME, Machine, Mode, OTHER, ROOT};
use regauth_tests::mock_server::MockServer;
use regauth_tests::nginx::Nginx;
use regauth_tests::polkit::{PASSWORD, Polkit};
use regauth_tests::poll;
use regauth_tests::terminal::Terminal;

const TOKEN: &str = "t0ken-that-a-person-guards";

#[test]
fn polkits_rules_decide_for_a_served_user() {
    let Some(case) = Case::start(Mode::Guarded, RULES) else {
        return;
    };
    assert_eq!(case.machine.status()["presence"], "always");
    // Yes.
    case.exits(ME, &["allow", "corp", "--for", "5m"], exit_code::DONE);
    assert_eq!(case.put(ME), 200);
    // No.
    case.exits(ME, &["reload"], exit_code::REFUSED)
        .says("takes in a changed configuration only if a person confirms")
        .says("a rule of polkit forbids it (org.regauth.manage)")
        .says("nothing was changed; see /etc/polkit-1/rules.d, or repeat the same command with sudo");
    // A question, and nobody who shows it.
    let scope = case.registry.url("/more/");
    case.exits(ME, &["add-scope", "corp", &scope], exit_code::REFUSED)
        .says("sends a token to more URLs only if a person confirms")
        .says("your session has no authentication agent of polkit")
        .says("run it in a terminal");
    assert!(!case.show().contains("/more/"));
    // Nobody would read the last of sixty URLs.
    let many: Vec<String> = (0..60).map(|number| format!("{scope}{number}/")).collect();
    let add: Vec<&str> = ["add-scope", "corp"]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    case.exits(ME, &add, exit_code::REFUSED)
        .says("the change is too long for a question that shows all of it")
        .says("make the change in smaller parts, or repeat the same command with sudo");
    case.exits(ME, &["remove-registry", "corp"], exit_code::REFUSED)
        .says("removes a registry that root has defined only if a person confirms");
    // Root needs no polkit, an open request neither, and a stranger does not come as far.
    case.exits(ROOT, &["add-scope", "corp", &scope], exit_code::DONE);
    case.exits(ME, &["deny", "corp"], exit_code::DONE);
    case.exits(OTHER, &["allow", "corp"], exit_code::UNREACHABLE);
    assert_eq!(case.get(ME), 200);
    // The `add-scope` of the user had nobody to ask, so there is no answer.
    case.records(&[
        r#""registry":"corp","uid":61001,"effect":"opens writes","by":"polkit","confirmed":true}"#,
        r#""uid":61001,"effect":"takes in a changed configuration","by":"polkit","confirmed":false,"reason":"a rule of"#,
        r#""registry":"corp","uid":61001,"effect":"removes a registry that root has defined","by":"polkit","confirmed":false"#,
        r#""registry":"corp","uid":0,"effect":"sends a token to more URLs","by":"root","confirmed":true}"#,
    ]);
}

#[test]
fn a_person_confirms_with_a_password_at_a_terminal_and_a_wrong_one_confirms_nothing() {
    let Some(case) = Case::start(Mode::Guarded, "") else {
        return;
    };
    let (scope, other) = (case.registry.url("/more/"), case.registry.url("/other/"));
    case.add_with_two_questions();
    case.reload_what_was_shown();
    let mut terminal = case.terminal(&["add-scope", "corp", &scope]);
    terminal.read_until("waiting for your confirmation (polkit)");
    terminal.read_until(&format!("Send the token of corp to {scope} as well?"));
    terminal.read_until("Password: ");
    terminal.type_without_echo(PASSWORD);
    let (output, status) = terminal.finish();
    assert!(status.success() && output.contains("/more/"), "{output}");
    assert_eq!(case.machine.get(ME, &scope, &[]), 200);

    let mut terminal = case.terminal(&["add-scope", "corp", &other]);
    terminal.read_until("Password: ");
    terminal.type_without_echo("not the password");
    let (output, status) = terminal.finish();
    assert_eq!(status.code(), Some(i32::from(exit_code::REFUSED)), "{output}");
    assert!(output.contains("polkit's question was answered with no"), "{output}");
    assert!(!case.show().contains("/other/"));
    // A program that asks again and again waits, also for the terminal of the person.
    case.exits(ME, &["add-scope", "corp", &other], exit_code::REFUSED)
        .says("the last question was refused, so the next one is in");
    case.records(&[
        r#""registry":"corp","uid":61001,"effect":"sends a token to more URLs","by":"polkit","confirmed":true}"#,
        r#""confirmed":false,"reason":"polkit's question was answered with no"}"#,
    ]);
    assert!(!case.machine.log().contains(PASSWORD) && !case.machine.log().contains(TOKEN));
}

#[test]
fn a_question_that_nobody_answers_delays_no_other_verb_and_ends_with_the_program_that_asked() {
    let Some(case) = Case::start(Mode::Guarded, "") else {
        return;
    };
    let mut terminal = case.terminal(&["grant", "--registry", "corp", "--for", "1h"]);
    terminal.read_until("Let others read from corp with a grant for 1h?");
    terminal.read_until("Password: ");
    case.exits(ME, &["show", "corp"], exit_code::DONE);
    case.exits(ROOT, &["allow", "corp", "--for", "5m"], exit_code::DONE);
    case.exits(ME, &["allow", "corp"], exit_code::REFUSED)
        .says("another question of polkit for you is still open");
    assert_eq!(case.get(ME), 200);
    // Ctrl-C, for regauthctl and its agent. Without the agent, polkit says no.
    terminal.type_line("\u{3}");
    terminal.finish();
    poll::wait_for("the end of the question", || {
        case.machine.log().contains("a request was not confirmed").then_some(())
    });
    let grants = case.machine.ctl(ME, &["grants", "--json"]);
    assert_eq!(grants.succeeds().stdout.trim(), r#"{"grants":[]}"#);
    poll::wait_for("the end of the agent", || {
        case.machine.shell(ROOT, AGENTS).stdout.is_empty().then_some(())
    });
}

#[test]
fn a_users_own_daemon_asks_as_its_configuration_says_and_a_program_cannot_weaken_that() {
    let Some(mut case) = Case::start(Mode::OwnUser, RULES) else {
        return;
    };
    assert_eq!(case.machine.status()["presence"], "auto");
    case.exits(ME, &["allow", "corp", "--for", "5m"], exit_code::DONE);
    case.exits(ME, &["reload"], exit_code::REFUSED)
        .says("a rule of polkit forbids it");
    // Where polkit cannot ask, the token permits what widens.
    let scope = case.registry.url("/more/");
    let add = ["add-scope", "corp", &scope];
    case.exits(ME, &add, exit_code::REFUSED)
        .says("so it needs that token again");
    let with_token = [&add[..], &["--token-stdin"]].concat();
    case.machine.ctl_with_input(ME, &with_token, "another-token").fails();
    case.machine.ctl_with_input(ME, &with_token, TOKEN).succeeds();
    case.records(&[
        r#""by":"token","confirmed":false,"reason":"it is not the present token"}"#,
        r#""registry":"corp","uid":61001,"effect":"sends a token to more places","by":"token","confirmed":true}"#,
    ]);

    case.configure("always");
    case.machine.restart();
    assert_eq!(case.machine.status()["presence"], "always");
    case.exits(ME, &["upstream", "--remove"], exit_code::REFUSED)
        .says("a rule of polkit forbids it");
    // A program of the user edits the file and sends a signal.
    case.configure("never");
    let signal = format!("kill -HUP {}", case.machine.daemon_pid());
    case.machine.shell(ME, &signal).succeeds();
    poll::wait_for("the reload", || {
        case.machine.log().contains("reloaded configuration").then_some(())
    });
    // The mode in service is the old one, so the next question is about the file's mode, too.
    let mut terminal = case.terminal(&["reload"]);
    terminal.read_until("settings: presence");
    let (output, status) = terminal.finish();
    assert_eq!(status.code(), Some(i32::from(exit_code::REFUSED)), "{output}");
    assert!(output.contains("a rule of polkit forbids it"), "{output}");
    assert_eq!(case.machine.status()["presence"], "always");
}

/// Lists agents of this machine, which is a mount namespace.
const AGENTS: &str = r#"for agent in $(pgrep -x pkttyagent); do
  [ "$(readlink /proc/$agent/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ] || echo $agent
done"#;

/// Writes may be opened, the configuration may not change, and the rest is asked.
const RULES: &str = r#"polkit.addRule(function(action, subject) {
    if (action.id == "org.regauth.allow-writes") return polkit.Result.YES;
    if (action.id == "org.regauth.manage") return polkit.Result.NO;
});"#;

/// Machine with polkit, and a registry.
struct Case {
    // Drop order: polkit before the machine whose namespace it is in.
    _polkit: Polkit,
    machine: Machine,
    registry: MockServer,
    /// Authority that the registry is under, and its file on the machine.
    root: Authority,
    ca: String,
}

impl Case {
    fn start(mode: Mode, rules: &str) -> Option<Self> {
        let root = Authority::new("Corp Root");
        let registry = MockServer::builder(&root, "localhost").start();
        let machine = Machine::start(mode)?;
        let (scope, ca) = (registry.url("/corp/"), machine.install_file(&root.file()));
        let add = [
            "add-registry",
            "corp",
            "--token-stdin",
            "--scope",
            &scope,
            "--ca-file",
            &ca,
        ];
        machine.ctl_with_input(mode.admin(), &add, TOKEN).succeeds();
        Some(Self {
            _polkit: Polkit::start(&machine, rules)?,
            machine,
            registry,
            root,
            ca,
        })
    }

    /// `regauthctl` of [`ME`] at a terminal.
    fn terminal(&self, arguments: &[&str]) -> Terminal {
        let mut command = self.machine.command(ME, self.machine.program("regauthctl"));
        command.args(arguments).env("TERM", "xterm").env("CRATES_TOKEN", TOKEN);
        Terminal::start(&command)
    }

    /// Adds a registry whose index names more URLs. polkit asks about the registry, and then about these URLs.
    fn add_with_two_questions(&self) {
        let config = r#"return 200 '{"dl":"https://localhost:$server_port/files"}';"#;
        let index = Nginx::builder(&self.root.issue(&["localhost"]))
            .location("/index/", config)
            .start();
        let sparse = format!("sparse+{}", index.url("/index/"));
        let add = ["add-registry", "crates", "--token-env", "CRATES_TOKEN"];
        let mut terminal = self.terminal(&[&add[..], &["--index", &sparse, "--ca-file", &self.ca]].concat());
        terminal.read_until("Add the registry crates, with trust in the certificates in");
        terminal.read_until("Password: ");
        terminal.type_without_echo(PASSWORD);
        let files = index.url("/files/");
        let seen = terminal.read_until(&format!("Send the token of crates to {files} as well?"));
        assert!(seen.contains("The index of crates names more URLs"), "{seen}");
        assert!(!seen.contains("(y/N)"), "polkit asks: {seen}");
        terminal.read_until("Password: ");
        terminal.type_without_echo(PASSWORD);
        let (output, status) = terminal.finish();
        assert!(status.success() && output.contains(&files), "{output}");
    }

    /// Confirms a reload. A value that root changes in the file while the question is open is not part of it.
    fn reload_what_was_shown(&self) {
        let file = self.machine.status()["config"].as_str().unwrap();
        let add = |line: &str| {
            let script = format!("sed -i '1i {line}' {file}");
            self.machine.shell(ROOT, &script).succeeds();
        };
        let ask = |changes: &str| {
            let mut terminal = self.terminal(&["reload"]);
            terminal.read_until(&format!("Let regauth apply its changed configuration: {changes}?"));
            terminal.read_until("Password: ");
            terminal
        };
        add("notify = false");
        add("drain-timeout = \"6s\"");
        let mut terminal = ask("the setting notify, the setting drain-timeout");
        let script = format!("sed -i 's/^drain-timeout = .*/drain-timeout = \"7s\"/' {file}");
        self.machine.shell(ROOT, &script).succeeds();
        terminal.type_without_echo(PASSWORD);
        let (output, status) = terminal.finish();
        assert_eq!(status.code(), Some(i32::from(exit_code::FAILED)), "{output}");
        assert!(output.contains("changed since its changes were confirmed"), "{output}");
        let program = self.registry.url("/corp/");
        let script = format!("sed -i 's|^\\(scopes = .*{program}.*\\)$|\\1\\nprograms = [\"cargo\"]|' {file}");
        self.machine.shell(ROOT, &script).succeeds();
        let mut terminal = ask("the setting notify, the setting drain-timeout, corp: programs = cargo");
        terminal.type_without_echo(PASSWORD);
        let (output, status) = terminal.finish();
        assert!(status.success() && output.contains("Reloaded"), "{output}");
        let script = format!("sed -i '/^programs = /d' {file}");
        self.machine.shell(ROOT, &script).succeeds();
        self.exits(ROOT, &["reload"], exit_code::DONE)
            .says("corp  programs  [\"cargo\"] -> (default)");
    }

    fn configure(&self, presence: &str) {
        let file = self.machine.status()["config"].as_str().unwrap();
        let text = fs::read_to_string(file).unwrap();
        let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with("presence")).collect();
        let text = format!("presence = \"{presence}\"\n{}\n", rest.join("\n"));
        let mut write = self.machine.command(ME, "tee");
        regauth_tests::exec::run_with_input(write.arg(file), text).succeeds();
    }

    /// Waits until the last confirmations in the audit record are these, in this order.
    #[track_caller]
    fn records(&self, expected: &[&str]) {
        let record = self.machine.state().join("audit/audit.jsonl");
        let text = poll::wait_for("the confirmations in the audit record", || {
            let text = fs::read_to_string(&record).ok()?;
            let is_confirmation = |line: &&str| line.contains(r#""event":"confirmation""#);
            let mut last_first = text.lines().rev().filter(is_confirmation);
            let are_these = expected
                .iter()
                .rev()
                .all(|text| last_first.next().is_some_and(|line| line.contains(text)));
            are_these.then_some(text)
        });
        assert!(!text.contains(TOKEN) && !text.contains(PASSWORD));
    }

    fn show(&self) -> String {
        self.machine.ctl(ME, &["show", "corp"]).succeeds().stdout.clone()
    }

    fn get(&self, user: u32) -> u16 {
        self.machine.get(user, &self.registry.url("/corp/"), &[])
    }

    fn put(&self, user: u32) -> u16 {
        let put = ["--request", "PUT"];
        self.machine.get(user, &self.registry.url("/corp/"), &put)
    }

    #[track_caller]
    fn exits(&self, user: u32, arguments: &[&str], code: u8) -> Output {
        let output = self.machine.ctl(user, arguments);
        assert_eq!(output.status.code(), Some(i32::from(code)), "{}", output.report());
        output
    }
}
