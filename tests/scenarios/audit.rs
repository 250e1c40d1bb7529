//! Audit record: its contents, its chain after kills and tampering, full disks, and its export.

mod chain;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::held_server::HeldServer;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::{exec, ocsf, poll};
use serde_json::Value;

const TOKEN: &str = "t0ken-of-the-company";

struct Fixture {
    daemon: Daemon,
    registry: Registry,
}

impl Fixture {
    fn start(config: &str) -> Self {
        Self::start_with(Daemon::builder().config(config))
    }

    fn start_with(daemon: Builder) -> Self {
        let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
        let daemon = daemon.start();
        daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
        Self { daemon, registry }
    }

    fn index(&self) -> String {
        self.registry.nginx.url("/api/cargo/index/config.json")
    }

    fn get(&self) -> u16 {
        Curl::new().behind(&self.daemon).get(&self.index()).status
    }

    fn folder(&self) -> PathBuf {
        self.daemon.home().join("state/audit")
    }

    /// Lines that `regauthctl audit` chooses, once `enough` of them are there.
    fn lines(&self, arguments: &[&str], enough: usize) -> Vec<Value> {
        let arguments: Vec<&str> = ["audit", "--limit", "0"].iter().chain(arguments).copied().collect();
        poll::wait_for(&format!("{enough} lines for {arguments:?}"), || {
            let lines = self.daemon.ctl(&arguments);
            let lines = lines.json["lines"].as_array().cloned().unwrap_or_default();
            (lines.len() >= enough).then_some(lines)
        })
    }

    fn verify(&self) -> Ctl {
        self.daemon.ctl(&["audit", "verify"])
    }

    #[track_caller]
    fn assert_whole(&self) -> Value {
        self.verify().succeeds().json
    }

    fn restart_after_kill(&mut self) {
        self.daemon.start_again();
        poll::wait_for("the daemon", || self.daemon.ctl(&["status"]).succeeded().then_some(()));
    }

    /// Text of the newest file.
    fn text(&self) -> String {
        fs::read_to_string(self.folder().join("audit.jsonl")).unwrap_or_default()
    }

    /// Lets the daemon write no file longer than `bytes`, as on a full disk.
    fn limit_file_size(&self, bytes: &str) {
        let mut prlimit = exec::command("prlimit", self.daemon.home());
        prlimit
            .arg(format!("--fsize={bytes}:unlimited"))
            .args(["--pid", &self.daemon.pid().to_string()]);
        exec::run(&mut prlimit).succeeds();
    }
}

fn messages(verified: &Ctl) -> Vec<String> {
    let faults = verified.json["faults"].as_array().cloned().unwrap_or_default();
    faults
        .iter()
        .map(|fault| fault["message"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_record_has_changes_refusals_and_each_programs_first_use() {
    let fixture = Fixture::start("");
    for _ in 0..3 {
        assert_eq!(fixture.get(), 200);
    }
    let upload = Curl::new()
        .behind(&fixture.daemon)
        .upload(&fixture.registry.upload(), 10);
    assert_eq!(upload.status, 403);
    fixture.daemon.rotate("corp", TOKEN).succeeds();

    let curl = fixture.lines(&["--registry", "corp", "--op", "read"], 1);
    assert_eq!(curl.len(), 1, "one first use: {curl:?}");
    assert_eq!(curl[0]["event"]["path"], "/api/cargo/index/config.json");
    let refused = fixture.lines(&["--refused", "--op", "write", "--since", "1h"], 1);
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["event"]["code"], "write-denied");
    let all = fixture.lines(&[], 5);
    let kinds: Vec<&str> = all
        .iter()
        .map(|line| line["event"]["event"].as_str().unwrap())
        .collect();
    for kind in ["started", "registry-added", "request", "refusal", "rotation"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let verified = fixture.assert_whole();
    assert_eq!(verified["lines"], all.len());
    assert_eq!(verified["compared-with-daemon"], true);
}

#[test]
fn the_mode_says_which_requests_are_recorded() {
    let all = Fixture::start("audit = \"all\"\n");
    let off = Fixture::start("audit = \"off\"\n");
    for fixture in [&all, &off] {
        (0..5).for_each(|_| assert_eq!(fixture.get(), 200));
    }
    assert_eq!(all.lines(&["--registry", "corp", "--op", "read"], 5).len(), 5);
    let nothing = off.daemon.ctl(&["audit"]).exits(6);
    assert!(
        nothing.output.stdout.contains("there is no audit record"),
        "{}",
        nothing.output.report()
    );
    assert!(!off.folder().exists());
    assert_eq!(off.daemon.ctl(&["status"]).json["audit"]["mode"], "off");
}

#[test]
fn a_full_disk_stops_no_request_and_shows_in_status_until_there_is_space() {
    let fixture = Fixture::start_with(Daemon::builder().config("audit = \"all\"\n").ignore_file_size_signal());
    assert_eq!(fixture.get(), 200);
    fixture.lines(&["--op", "read"], 1);
    fixture.limit_file_size("10");
    (0..3).for_each(|_| assert_eq!(fixture.get(), 200));
    let problem = |status: &Value| {
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let messages = problems
            .iter()
            .map(|problem| problem["message"].as_str().unwrap().to_owned());
        messages.into_iter().find(|message| message.contains("audit record"))
    };
    let message = poll::wait_for("the problem", || problem(&fixture.daemon.ctl(&["status"]).json));
    assert!(
        message.contains("cannot be written") && message.contains("requests go on"),
        "{message}"
    );
    fixture.limit_file_size("unlimited");
    assert_eq!(fixture.lines(&["--op", "read"], 4).len(), 4, "events wait for the disk");
    poll::wait_for("the end of the problem", || {
        problem(&fixture.daemon.ctl(&["status"]).json).is_none().then_some(())
    });
    fixture.assert_whole();
}

#[test]
fn a_required_record_is_written_before_the_answer_or_the_request_is_refused() {
    let config = "audit = \"all\"\naudit-required = true\n";
    let fixture = Fixture::start_with(Daemon::builder().config(config).ignore_file_size_signal());
    for number in 0..20 {
        let name = format!("name-{number}");
        let url = fixture.registry.nginx.url(&format!("/api/cargo/index/{name}"));
        Curl::new().behind(&fixture.daemon).get(&url);
        assert!(fixture.text().contains(&name), "no line when the client had its answer");
    }
    fixture.assert_whole();
    fixture.limit_file_size("10");
    let refused = |status: u16| status == 503;
    let answer = Curl::new().behind(&fixture.daemon).get(&fixture.index());
    assert!(refused(answer.status), "{}", answer.headers);
    assert!(
        answer.headers.contains("regauth-error: audit-unavailable"),
        "{}",
        answer.headers
    );
    let before = fixture.registry.nginx.requests().len();
    assert!(refused(fixture.get()));
    assert_eq!(
        fixture.registry.nginx.requests().len(),
        before,
        "a refused request went to the registry"
    );
    fixture.limit_file_size("unlimited");
    poll::wait_for("an answer", || (fixture.get() == 200).then_some(()));
    let codes = fixture.lines(&["--refused"], 1);
    assert!(
        codes.iter().any(|line| line["event"]["code"] == "audit-unavailable"),
        "{codes:?}"
    );
    fixture.assert_whole();
}

#[test]
fn a_required_record_has_the_write_of_a_client_that_left_before_its_answer() {
    let server = HeldServer::start(&["/publish"]);
    let config = "audit-required = true\n";
    let daemon = Daemon::builder().config(config).start();
    let location = server.location("/");
    let location: Vec<&str> = location.iter().map(String::as_str).collect();
    let add = [&["add-registry", "corp", "--no-verify", "--token-stdin"], &location[..]].concat();
    daemon.ctl_with_input(&add, TOKEN).succeeds();
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    let leaving = Curl::new()
        .behind(&daemon)
        .with(&["--request", "DELETE"])
        .start(&server.url("/publish"));
    server.wait_for_arrivals("/publish", 1);
    drop(leaving);
    let recorded = poll::wait_for("the write in the record", || {
        let lines = daemon.ctl(&["audit", "--op", "write", "--registry", "corp"]).json;
        lines["lines"].get(0).cloned()
    });
    assert_eq!(recorded["event"]["method"], "DELETE", "{recorded}");
    assert_eq!(recorded["event"]["status"], Value::Null, "{recorded}");
    server.release();
}

#[test]
fn a_folder_that_others_may_enter_stops_the_start_with_the_command_that_helps() {
    let mut fixture = Fixture::start("");
    fixture.daemon.stop();
    let home = fixture.daemon.home().to_owned();
    fs::set_permissions(fixture.folder(), Permissions::from_mode(0o755)).unwrap();
    let refused = Daemon::builder().run(&home).fails();
    let hint = format!("chmod 700 {}", fixture.folder().display());
    let refused = refused.says(&hint);
    assert!(!refused.report().contains("panicked"));
    fs::set_permissions(fixture.folder(), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(fixture.folder().join("audit.jsonl"), Permissions::from_mode(0o640)).unwrap();
    Daemon::builder().run(&home).fails().says("chmod 600");
    fs::set_permissions(fixture.folder().join("audit.jsonl"), Permissions::from_mode(0o600)).unwrap();
    fixture.restart_after_kill();
    fixture.assert_whole();
}

#[test]
fn the_export_is_valid_ocsf_and_jsonl_is_the_record_itself() {
    let fixture = Fixture::start("audit = \"all\"\n");
    let curl = Curl::new().behind(&fixture.daemon);
    curl.get(&fixture.index());
    curl.upload(&fixture.registry.upload(), 10);
    curl.clone().with(&["--request", "PATCH"]).get(&fixture.index());
    fixture.daemon.rotate("corp", TOKEN).succeeds();
    fixture.daemon.ctl(&["allow", "corp"]).succeeds();
    fixture.daemon.ctl(&["deny", "corp"]).succeeds();
    let grant = fixture.daemon.ctl(&["grant", "--registry", "corp"]).succeeds().json;
    fixture
        .daemon
        .ctl(&["revoke", grant["grant"]["id"].as_str().unwrap()])
        .succeeds();
    fixture.daemon.ctl(&["verify"]).succeeds();
    fixture.daemon.ctl(&["reload"]).succeeds();
    fixture.daemon.ctl(&["remove-registry", "corp"]).succeeds();
    fixture.lines(&["--registry", "corp"], 9);
    let export = |format: &str| {
        let mut ctl = exec::command(binary("regauthctl"), fixture.daemon.home());
        ctl.arg("--home")
            .arg(fixture.daemon.home())
            .args(["audit", "export", "--format", format]);
        exec::run(&mut ctl).succeeds().stdout
    };
    let checked = ocsf::validate(&export("ocsf")).succeeds().report();
    assert!(
        checked.contains("http_activity") && checked.contains("api_activity"),
        "{checked}"
    );
    assert_eq!(export("jsonl"), fixture.text());
    // A value that the schema does not know must not pass.
    let wrong = export("ocsf").replace("\"category_uid\":4", "\"category_uid\":77");
    ocsf::validate(&wrong).fails();
}

#[test]
fn wrong_filters_and_closed_pipes_have_an_answer() {
    let fixture = Fixture::start("");
    for (arguments, text) in [
        (&["audit", "--op", "delete"][..], "read, write"),
        (&["audit", "--since", "yesterday"], "2h or 7d"),
        (&["audit", "--registry", "no registry"], "registry"),
        (&["audit", "--program", ""], "--program"),
        (&["audit", "export", "--program", ""], "--program"),
        (&["audit", "export", "--format", "xml"], "jsonl, ocsf"),
    ] {
        let refused = fixture.daemon.ctl(arguments).exits(2);
        assert!(refused.output.stdout.contains(text), "{}", refused.output.report());
    }
    assert_eq!(fixture.lines(&["--program", "nobody"], 0).len(), 0);
    let mut shell = exec::command("bash", fixture.daemon.home());
    shell.args(["-o", "pipefail", "-c", "\"$0\" --home \"$1\" audit export | head -c 1"]);
    exec::run(shell.arg(binary("regauthctl")).arg(fixture.daemon.home())).succeeds();
}
