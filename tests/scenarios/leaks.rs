//! Leak test: during a day of builds, refusals, rotations, wrong input and a restart, sentinel tokens reach the registry
//! and nothing else. The test scans output, logs at `trace`, files, environments and other hosts.

use std::fs;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::{Authority, concatenate};
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::keyring::Keyring;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::user::User;

const FIRST: &str = "s3ntinel-before-the-rotation";
const SECOND: &str = "s3ntinel-after-the-rotation";
const RECORDED: &str = "audit = \"all\"\n";
const REJECTED: &str = "s3ntinel-that-is-rejected";

/// Daemon with one registry, clients, and their collected output.
struct Day<'a> {
    daemon: &'a mut Daemon,
    registry: Registry,
    other_authority: Authority,
    unconfigured: MockServer,
    cargo: Cargo,
    output: String,
}

impl<'a> Day<'a> {
    fn begin(daemon: &'a mut Daemon) -> Self {
        let registry = Registry::builder(Scheme::basic(USERNAME), FIRST).start();
        let other_authority = Authority::new("Elsewhere");
        let unconfigured = MockServer::builder(&other_authority, "localhost").echo().start();
        let output = daemon.add("corp", &registry).output.report();
        let cargo = Cargo::new()
            .registry("corp", &registry.index())
            .behind(daemon)
            .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
        Self {
            daemon,
            registry,
            other_authority,
            unconfigured,
            cargo,
            output,
        }
    }

    fn collect(&mut self, text: &str) {
        self.output.push_str(text);
    }

    fn run_ctl(&mut self, arguments: &[&str], input: &str, code: i32) {
        let ctl = self.daemon.ctl_with_input(arguments, input).exits(code);
        self.collect(&(ctl.output.stdout + &ctl.output.stderr));
    }

    /// Tries an existing name, a rejected token, a token as an argument, and two tokens.
    fn wrong_input(&mut self) {
        let (index, ca) = (self.registry.index(), self.registry.ca());
        let scope = self.registry.nginx.url("/api/cargo/index/sh/");
        for (name, location, code) in [("corp", ["--index", &index], 7), ("wrong", ["--scope", &scope], 4)] {
            let refused = self
                .daemon
                .try_add(name, &location, &Scheme::bearer(), &ca, REJECTED)
                .exits(code);
            self.collect(&refused.output.report());
        }
        self.run_ctl(&["rotate", "corp", "--token", REJECTED], "", 2);
        self.run_ctl(
            &["rotate", "corp", "--token-stdin"],
            &format!("{REJECTED}\n{REJECTED}"),
            2,
        );
    }

    /// Sets clients up, runs doctor, creates a grant, and requests a token as cargo does.
    fn set_up(&mut self) {
        let user = User::new(self.daemon);
        for words in [
            &["setup", "cargo"][..],
            &["setup", "git"],
            &["doctor"],
            &["env"],
            &["grant", "--registry", "corp"],
            &["grants"],
        ] {
            let output = user.ctl(words).report();
            self.collect(&output);
        }
        let request = format!(
            r#"{{"v":1,"registry":{{"index-url":"{}","name":"corp"}},"kind":"get","operation":"read","args":[]}}"#,
            self.registry.index()
        );
        let mut provider = user.command(binary("cargo-credential-regauth"));
        let answer = exec::run_with_input(provider.arg("--cargo-plugin"), request + "\n").says("\"token\"");
        self.collect(&answer.report());
        for secret in [FIRST, SECOND, REJECTED] {
            LeakScan::new(secret).scan_folder(user.home(), &[]).assert_clean();
        }
    }

    fn build_and_publish(&mut self) {
        self.cargo.clear_downloads();
        let built = self.cargo.build().succeeds().report();
        let refused = self.cargo.publish("corp").fails().report();
        self.collect(&(built + &refused));
    }

    /// Requests URLs outside the scope, ambiguous paths, an echoing host, and contradictory requests.
    fn odd_requests(&mut self) {
        let roots = concatenate(&[&self.daemon.bundle(), &self.other_authority.file(), &self.registry.ca()]);
        let curl = Curl::new()
            .proxy(&self.daemon.proxy())
            .trusts(&roots)
            .with(&["--path-as-is"]);
        let inside = self.registry.nginx.url("/api/cargo/index/config.json");
        for (url, odd) in [
            (self.registry.nginx.url("/other_authority"), &[][..]),
            (self.registry.nginx.url("/api/cargo-evil/index/"), &[]),
            (self.registry.nginx.url("/api/cargo/../cargo-evil"), &[]),
            (self.registry.nginx.url("/api/cargo/%2e%2e/cargo-evil"), &[]),
            (self.unconfigured.url("/api/cargo/index/config.json"), &[]),
            (inside.clone(), &["--request", "TRACE"]),
            (inside.clone(), &["--header", "Host: other.example"]),
            (inside, &["--header", "Authorization: mine"]),
        ] {
            let answer = curl.clone().with(odd).get(&url);
            self.collect(&(answer.headers.clone() + &answer.body()));
        }
    }

    fn rotate(&mut self) {
        self.registry.accept(&[FIRST, SECOND]);
        self.run_ctl(&["rotate", "corp", "--token-stdin"], SECOND, 0);
        self.run_ctl(&["rotate", "corp", "--token-stdin"], REJECTED, 4);
        self.registry.accept(&[SECOND]);
    }

    fn query_commands(&mut self) {
        for (verb, code) in [("list", 0), ("status", 0), ("verify", 0), ("reload", 0)] {
            self.run_ctl(&[verb], "", code);
        }
        for words in [
            &["audit", "--limit", "0"][..],
            &["audit", "verify"],
            &["audit", "export", "--format", "ocsf"],
        ] {
            self.run_ctl(words, "", 0);
        }
        // Below the daemon's home, which is scanned as a whole.
        let record = fs::read_to_string(self.daemon.home().join("state/audit/audit.jsonl")).unwrap();
        assert!(record.lines().count() > 10, "the day is not recorded: {record}");
        self.run_ctl(&["show", "corp"], "", 0);
        self.run_ctl(&["show", "nobody"], "", 6);
    }

    /// Scans everything that the day left.
    fn scan_everything(&mut self, scans: &mut [LeakScan], log_before: &str) {
        for scan in scans {
            scan.scan_process(self.daemon.pid())
                .scan("output of the clients", &self.output)
                .scan("the log", log_before)
                .scan("the log after the restart", self.daemon.log())
                .scan(
                    "requests at the unconfigured host",
                    format!("{:?}", self.unconfigured.requests()),
                )
                .scan_folder(self.daemon.home(), &[])
                .scan_folder(self.cargo.home(), &[]);
        }
    }

    /// Asserts that requests to the registry's host outside its scopes carried no token.
    fn assert_nothing_outside_the_scopes(&self) {
        for request in self.registry.nginx.requests() {
            let inside = request.uri.starts_with("/api/cargo/") || request.uri.starts_with("/api/v1/");
            let mut scan = LeakScan::new(FIRST);
            scan.scan("a request", format!("{request:?}"));
            assert!(inside || scan.found().is_empty(), "{request:?}");
        }
    }
}

/// Runs a day with every kind of request and command, and asserts that no token leaked.
fn run_day(daemon: &mut Daemon) {
    let mut scans = [FIRST, SECOND, REJECTED].map(LeakScan::new);
    let mut day = Day::begin(daemon);
    day.wrong_input();
    day.set_up();
    day.build_and_publish();
    day.odd_requests();
    day.rotate();
    day.build_and_publish();
    day.query_commands();
    for scan in &mut scans {
        scan.scan_process(day.daemon.pid());
    }
    let log = day.daemon.log();
    assert!(log.len() > 10_000, "the log is not at level trace");
    day.daemon.restart();
    day.build_and_publish();
    day.registry.accept(&["none-of-these"]);
    day.odd_requests();
    day.scan_everything(&mut scans, &log);
    scans.iter().for_each(LeakScan::assert_clean);
    day.assert_nothing_outside_the_scopes();
}

#[test]
fn tokens_in_the_vault_reach_only_the_registry() {
    let mut daemon = Daemon::builder().config(RECORDED).store("vault").start();
    run_day(&mut daemon);
}

#[test]
fn tokens_in_the_keychain_reach_only_the_registry() {
    let keyring = Keyring::start();
    let mut daemon = Daemon::builder()
        .config(RECORDED)
        .store("keychain")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
        .start();
    run_day(&mut daemon);
}

#[test]
fn the_leak_scan_finds_a_token_that_is_there() {
    let registry = Registry::builder(Scheme::basic(USERNAME), FIRST).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    Curl::new()
        .behind(&daemon)
        .get(&registry.nginx.url("/api/cargo/index/config.json"));
    let request = registry
        .nginx
        .wait_for_request(|request| request.authorization().is_some());
    let mut scan = LeakScan::new(FIRST);
    scan.scan("a request at the registry", format!("{request:?}"));
    assert_eq!(scan.found().len(), 1);
}
