//! The flagship: a sentinel secret is at the registry and nowhere else, whatever happens and whoever asks.

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
const REJECTED: &str = "s3ntinel-that-nobody-accepts";

/// A daemon with one registry, its clients, and everything that any of them said.
struct Day<'a> {
    daemon: &'a mut Daemon,
    registry: Registry,
    elsewhere: Authority,
    stranger: MockServer,
    cargo: Cargo,
    said: String,
}

impl<'a> Day<'a> {
    fn begin(daemon: &'a mut Daemon) -> Self {
        let registry = Registry::builder(Scheme::basic(USERNAME), FIRST).start();
        let elsewhere = Authority::new("Elsewhere");
        let stranger = MockServer::builder(&elsewhere, "localhost").echo().start();
        let said = daemon.add("corp", &registry).output.report();
        let cargo = Cargo::new()
            .registry("corp", &registry.index())
            .behind(daemon)
            .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
        Self {
            daemon,
            registry,
            elsewhere,
            stranger,
            cargo,
            said,
        }
    }

    fn hear(&mut self, text: &str) {
        self.said.push_str(text);
    }

    fn hear_ctl(&mut self, arguments: &[&str], input: &str, code: i32) {
        let ctl = self.daemon.ctl_with_input(arguments, input).exits(code);
        self.hear(&(ctl.output.stdout + &ctl.output.stderr));
    }

    /// A name that exists, a token that the registry rejects, a token as an argument, two tokens at once.
    fn wrong_input(&mut self) {
        let (index, ca) = (self.registry.index(), self.registry.ca());
        let scope = self.registry.nginx.url("/api/cargo/index/sh/");
        for (name, location, code) in [("corp", ["--index", &index], 7), ("wrong", ["--scope", &scope], 4)] {
            let refused = self
                .daemon
                .try_add(name, &location, &Scheme::bearer(), &ca, REJECTED)
                .exits(code);
            self.hear(&refused.output.report());
        }
        self.hear_ctl(&["rotate", "corp", "--token", REJECTED], "", 2);
        self.hear_ctl(
            &["rotate", "corp", "--token-stdin"],
            &format!("{REJECTED}\n{REJECTED}"),
            2,
        );
    }

    /// What a person does once: sets clients up, asks whether all is well, lets a container in; and cargo asks for a token.
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
            let said = user.ctl(words).report();
            self.hear(&said);
        }
        let question = format!(
            r#"{{"v":1,"registry":{{"index-url":"{}","name":"corp"}},"kind":"get","operation":"read","args":[]}}"#,
            self.registry.index()
        );
        let mut provider = user.command(binary("cargo-credential-regauth"));
        let answer = exec::run_with_input(provider.arg("--cargo-plugin"), question + "\n").says("\"token\"");
        self.hear(&answer.report());
        for secret in [FIRST, SECOND, REJECTED] {
            LeakScan::new(secret).scan_folder(user.home(), &[]).assert_clean();
        }
    }

    fn build_and_publish(&mut self) {
        self.cargo.clear_downloads();
        let built = self.cargo.build().succeeds().report();
        let refused = self.cargo.publish("corp").fails().report();
        self.hear(&(built + &refused));
    }

    /// Places outside the scope, ambiguous ones, a stranger that echoes, requests that contradict themselves.
    fn odd_requests(&mut self) {
        let roots = concatenate(&[&self.daemon.bundle(), &self.elsewhere.file(), &self.registry.ca()]);
        let curl = Curl::new()
            .proxy(&self.daemon.proxy())
            .trusts(&roots)
            .with(&["--path-as-is"]);
        let inside = self.registry.nginx.url("/api/cargo/index/config.json");
        for (url, odd) in [
            (self.registry.nginx.url("/elsewhere"), &[][..]),
            (self.registry.nginx.url("/api/cargo-evil/index/"), &[]),
            (self.registry.nginx.url("/api/cargo/../cargo-evil"), &[]),
            (self.registry.nginx.url("/api/cargo/%2e%2e/cargo-evil"), &[]),
            (self.stranger.url("/api/cargo/index/config.json"), &[]),
            (inside.clone(), &["--request", "TRACE"]),
            (inside.clone(), &["--header", "Host: other.example"]),
            (inside, &["--header", "Authorization: mine"]),
        ] {
            let answer = curl.clone().with(odd).get(&url);
            self.hear(&(answer.headers.clone() + &answer.body()));
        }
    }

    fn rotate(&mut self) {
        self.registry.accept(&[FIRST, SECOND]);
        self.hear_ctl(&["rotate", "corp", "--token-stdin"], SECOND, 0);
        self.hear_ctl(&["rotate", "corp", "--token-stdin"], REJECTED, 4);
        self.registry.accept(&[SECOND]);
    }

    fn questions(&mut self) {
        for (verb, code) in [("list", 0), ("status", 0), ("verify", 0), ("reload", 0)] {
            self.hear_ctl(&[verb], "", code);
        }
        self.hear_ctl(&["show", "corp"], "", 0);
        self.hear_ctl(&["show", "nobody"], "", 6);
    }

    /// Looks everywhere the day left something.
    fn scan(&mut self, scans: &mut [LeakScan], log_before: &str) {
        for scan in scans {
            scan.scan_process(self.daemon.pid())
                .scan("what was said", &self.said)
                .scan("the log", log_before)
                .scan("the log after the restart", self.daemon.log())
                .scan("what a stranger saw", format!("{:?}", self.stranger.requests()))
                .scan_folder(self.daemon.home(), &[])
                .scan_folder(self.cargo.home(), &[]);
        }
    }

    /// What left for the registry's host outside the registry's locations carried nothing.
    fn assert_nothing_outside_the_scopes(&self) {
        for seen in self.registry.nginx.requests() {
            let inside = seen.uri.starts_with("/api/cargo/") || seen.uri.starts_with("/api/v1/");
            let mut scan = LeakScan::new(FIRST);
            scan.scan("a request", format!("{seen:?}"));
            assert!(inside || scan.found().is_empty(), "{seen:?}");
        }
    }
}

/// Everything a day brings: builds, refusals, redirects, strangers, rotations, wrong input, a restart.
fn a_day(daemon: &mut Daemon) {
    let mut scans = [FIRST, SECOND, REJECTED].map(LeakScan::new);
    let mut day = Day::begin(daemon);
    day.wrong_input();
    day.set_up();
    day.build_and_publish();
    day.odd_requests();
    day.rotate();
    day.build_and_publish();
    day.questions();
    for scan in &mut scans {
        scan.scan_process(day.daemon.pid());
    }
    let log = day.daemon.log();
    assert!(log.len() > 10_000, "the log is at trace");
    day.daemon.restart();
    day.build_and_publish();
    day.registry.accept(&["none-of-these"]);
    day.odd_requests();
    day.scan(&mut scans, &log);
    scans.iter().for_each(LeakScan::assert_clean);
    day.assert_nothing_outside_the_scopes();
}

#[test]
fn the_sentinel_is_nowhere_but_at_the_registry_with_the_vault() {
    let mut daemon = Daemon::builder().store("vault").start();
    a_day(&mut daemon);
}

#[test]
fn the_sentinel_is_nowhere_but_at_the_registry_with_the_keychain() {
    let keyring = Keyring::start();
    let mut daemon = Daemon::builder()
        .store("keychain")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
        .start();
    a_day(&mut daemon);
}

#[test]
fn the_hunt_finds_what_is_there() {
    let registry = Registry::builder(Scheme::basic(USERNAME), FIRST).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    Curl::new()
        .behind(&daemon)
        .get(&registry.nginx.url("/api/cargo/index/config.json"));
    let seen = registry.nginx.wait_for_request(|seen| seen.authorization().is_some());
    let mut scan = LeakScan::new(FIRST);
    scan.scan("what the registry saw", format!("{seen:?}"));
    assert_eq!(scan.found().len(), 1);
}
