//! Keychain store in each state: present, missing, locked, unlocked later, killed, unresponsive. In all of them, tunnels
//! work, requests use tokens in memory, `status` reports the problem, and the daemon never falls back to another store.

use std::fs;
use std::time::{Duration, Instant};

use regauth_shared::exit_code;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::{self, Ctl};
use regauth_tests::curl::{Curl, Response};
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::exec::{self, RunningCommand};
use regauth_tests::keyring::Keyring;
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use regauth_tests::programs::binary;
use regauth_tests::proxy_client::ProxyClient;

const TOKEN: &str = "token-of-the-keychain";

#[test]
fn secret_tool_finds_the_token_until_the_registry_is_removed() {
    let fixture = Fixture::start();
    assert_eq!(fixture.lookup("corp"), TOKEN);
    fixture.daemon.rotate("corp", "the-second-token").succeeds();
    assert_eq!(fixture.lookup("corp"), "the-second-token");
    fixture.daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert_eq!(fixture.lookup("corp"), "");
    let left = fixture
        .keyring
        .secret_tool(&["search", "--all", "service", &fixture.service()], "");
    assert!(!left.report().contains("attribute.username"), "{}", left.report());
}

#[test]
fn a_restarted_daemon_reads_its_token_from_the_keychain() {
    let mut fixture = Fixture::start();
    fixture.daemon.restart();
    assert_eq!(fixture.get().status, 200);
    assert_eq!(fixture.sent(), format!("Bearer {TOKEN}"));
}

#[test]
fn a_first_start_chooses_and_records_a_present_keychain() {
    let keyring = Keyring::start();
    let mut daemon = without_store(&keyring).start();
    assert_eq!(status(&daemon).store["kind"], "keychain");
    assert!(is_store_recorded(&daemon, "keychain"));
    daemon.restart();
    assert_eq!(status(&daemon).store["kind"], "keychain");
}

#[test]
fn a_first_start_without_a_keychain_chooses_and_records_the_vault() {
    let began = Instant::now();
    let daemon = Daemon::builder().without_store_flag().start();
    assert!(began.elapsed() < START_LIMIT, "{:?}", began.elapsed());
    assert_eq!(status(&daemon).store["kind"], "vault");
    assert!(is_store_recorded(&daemon, "vault"));
}

#[test]
fn a_first_start_with_an_unresponsive_keychain_chooses_the_vault() {
    let keyring = Keyring::start();
    keyring.suspend();
    let began = Instant::now();
    let daemon = without_store(&keyring).start();
    assert!(began.elapsed() < START_LIMIT, "{:?}", began.elapsed());
    assert_eq!(status(&daemon).store["kind"], "vault");
    keyring.resume();
}

#[test]
fn a_first_start_with_a_locked_keychain_chooses_it_and_reports_the_lock() {
    let keyring = Keyring::start();
    keyring.lock();
    let daemon = without_store(&keyring).start();
    let status = status(&daemon);
    assert_eq!([&status.store["kind"], &status.store["state"]], ["keychain", "locked"]);
    assert!(status.problems().contains("regauthctl unlock"), "{}", status.problems());
}

#[test]
fn a_missing_recorded_keychain_is_reported_and_not_replaced() {
    let daemon = Daemon::builder()
        .without_store_flag()
        .config("store = \"keychain\"\n")
        .start();
    let status = status(&daemon);
    assert_eq!(
        [&status.store["kind"], &status.store["state"]],
        ["keychain", "unavailable"]
    );
    assert!(status.problems().contains("session bus"), "{}", status.problems());
    assert!(is_store_recorded(&daemon, "keychain") && !daemon.home().join("state/vault.age").exists());

    let registry = Registry::start();
    let added = registry.add_to(&daemon);
    assert_eq!(added.exit, i32::from(exit_code::STORE), "{}", added.output.report());
    assert_eq!(daemon.ctl(&["list"]).json["registries"], serde_json::json!([]));
    assert!(registry.tunnel(&daemon), "a tunnel failed");
}

#[test]
fn a_store_argument_that_differs_from_the_configuration_prevents_the_start() {
    let home = tempfile::tempdir().unwrap();
    let output = Daemon::builder()
        .store("vault")
        .config("store = \"keychain\"\n")
        .run(&home.path().join("home"))
        .fails();
    output.says("the secrets are in the keychain");
}

#[test]
fn a_keychain_that_is_locked_at_start_is_used_once_unlocked() {
    let mut fixture = Fixture::start();
    fixture.keyring.lock();
    fixture.daemon.restart();
    let refusal = fixture.registry.connect(&fixture.daemon);
    assert!(
        refusal.starts_with("HTTP/1.1 403 ") && refusal.contains("regauth-error: store-locked"),
        "{refusal}"
    );
    assert!(fixture.registry.tunnel(&fixture.daemon), "a tunnel failed");
    let status = status(&fixture.daemon);
    assert_eq!(status.store["state"], "locked");
    assert!(status.problems().contains("regauthctl unlock"), "{}", status.problems());
    let list = fixture.daemon.ctl(&["list"]).succeeds().json;
    assert_eq!(list["registries"][0]["credential"]["state"], "locked");
    let rotated = fixture.daemon.rotate("corp", "another-token");
    assert_eq!(rotated.exit, i32::from(exit_code::STORE), "{}", rotated.output.report());

    fixture.keyring.unlock();
    poll::within(Duration::from_secs(10), || {
        fixture
            .registry
            .connect(&fixture.daemon)
            .starts_with("HTTP/1.1 200 ")
            .then_some(())
    })
    .expect("the daemon did not notice the unlocked keychain");
    assert_eq!(fixture.get().status, 200);
    assert_eq!(fixture.sent(), format!("Bearer {TOKEN}"));
    let status = self::status(&fixture.daemon);
    assert_eq!(status.store["state"], "open");
    assert_eq!(status.problems(), "null");
}

#[test]
fn an_unreadable_item_is_named_as_such_and_concerns_its_registry_alone() {
    let mut fixture = Fixture::start();
    fixture.daemon.stop();
    let service = fixture.service();
    let store = ["store", "--label=x", "service", &service, "username", "corp"];
    fixture.keyring.secret_tool(&store, "two\nlines").succeeds();
    fixture.daemon.restart();
    assert_eq!(fixture.get().status, 502);
    let shown = fixture.daemon.ctl(&["show", "corp"]).succeeds().json;
    assert_eq!(shown["credential"]["state"], "missing", "{shown}");
    let reason = shown["credential"]["reason"].to_string();
    assert!(reason.contains("cannot be used"), "{shown}");
    assert_eq!(status(&fixture.daemon).store["state"], "open");
    fixture.daemon.rotate("corp", "another-token").succeeds();
    assert_eq!(fixture.get().status, 200);
    assert_eq!(fixture.sent(), "Bearer another-token");
}

#[test]
fn a_token_removed_while_the_keychain_is_locked_is_deleted_once_unlocked() {
    let fixture = Fixture::start();
    fixture.keyring.lock();
    let removed = fixture.daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert!(
        removed.json["notes"][0]
            .as_str()
            .unwrap()
            .contains("deleted as soon as"),
        "{}",
        removed.json
    );
    assert_eq!(fixture.daemon.ctl(&["list"]).json["registries"], serde_json::json!([]));
    fixture.keyring.unlock();
    poll::within(Duration::from_secs(10), || {
        fixture.lookup("corp").is_empty().then_some(())
    })
    .expect("the token is still in the keychain");
}

#[test]
fn requests_use_tokens_in_memory_when_the_keychain_is_killed() {
    let mut fixture = Fixture::start();
    fixture.keyring.kill();
    assert_eq!(fixture.get().status, 200);
    let status = status(&fixture.daemon);
    assert_eq!(status.store["state"], "unavailable");
    assert!(status.problems().contains("Secret Service"), "{}", status.problems());
    let rotated = fixture.daemon.rotate("corp", "another-token");
    assert_eq!(rotated.exit, i32::from(exit_code::STORE), "{}", rotated.output.report());
    assert_eq!(fixture.get().status, 200);
    assert_eq!(
        fixture.sent(),
        format!("Bearer {TOKEN}"),
        "the failed rotation changed the token"
    );

    fixture.keyring.restart();
    assert_eq!(self::status(&fixture.daemon).store["state"], "open");
    fixture.daemon.rotate("corp", "another-token").succeeds();
    assert_eq!(fixture.get().status, 200);
    assert_eq!(fixture.sent(), "Bearer another-token");
}

#[test]
fn a_restarted_session_bus_is_used_again() {
    let mut fixture = Fixture::start();
    fixture.keyring.restart_with_bus();
    assert_eq!(fixture.get().status, 200);
    assert_eq!(status(&fixture.daemon).store["state"], "open");
    fixture.daemon.rotate("corp", "another-token").succeeds();
    assert_eq!(fixture.get().status, 200);
    assert_eq!(fixture.sent(), "Bearer another-token");
}

#[test]
fn an_unresponsive_keychain_delays_neither_start_tunnels_status_nor_stop() {
    let mut fixture = Fixture::start();
    fixture.keyring.suspend();
    fixture.daemon.stop();
    let began = Instant::now();
    fixture.daemon.restart();
    assert!(began.elapsed() < START_LIMIT, "start took {:?}", began.elapsed());
    assert!(
        fixture
            .registry
            .connect(&fixture.daemon)
            .contains("regauth-error: store-locked")
    );
    assert!(fixture.registry.tunnel(&fixture.daemon), "a tunnel failed");

    let rotation = fixture.start_rotation();
    let began = Instant::now();
    let status = status(&fixture.daemon);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "status took {:?}",
        began.elapsed()
    );
    assert_eq!(status.store["state"], "unavailable");
    assert!(status.problems().contains("did not answer"), "{}", status.problems());
    fixture.daemon.ctl(&["list"]).succeeds();

    let began = Instant::now();
    assert!(fixture.daemon.stop().success());
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "stop took {:?}",
        began.elapsed()
    );
    rotation.finish().fails();
    fixture.keyring.resume();
}

#[test]
fn a_keychain_that_hangs_fails_no_request_and_is_used_again_when_it_responds() {
    let fixture = Fixture::start();
    fixture.keyring.suspend();
    let rotation = fixture.start_rotation();
    for _ in 0..5 {
        assert_eq!(fixture.get().status, 200);
        assert_eq!(fixture.sent(), format!("Bearer {TOKEN}"));
    }
    assert_eq!(status(&fixture.daemon).store["state"], "unavailable");
    let rotation = rotation.finish();
    assert_eq!(
        rotation.status.code(),
        Some(i32::from(exit_code::STORE)),
        "{}",
        rotation.report()
    );
    fixture.keyring.resume();
    poll::within(Duration::from_secs(15), || {
        (status(&fixture.daemon).store["state"] == "open").then_some(())
    })
    .expect("status does not report the responsive keychain");
    fixture.daemon.rotate("corp", "another-token").succeeds();
    assert_eq!(fixture.get().status, 200);
    assert_eq!(fixture.sent(), "Bearer another-token");
    assert_eq!(fixture.lookup("corp"), "another-token");
}

/// Keychain, a daemon that uses it, and a registry whose token is in it.
struct Fixture {
    daemon: Daemon,
    registry: Registry,
    keyring: Keyring,
}

impl Fixture {
    fn start() -> Self {
        let keyring = Keyring::start();
        let daemon = without_store(&keyring).start();
        let registry = Registry::start();
        registry.add_to(&daemon).succeeds();
        Self {
            daemon,
            registry,
            keyring,
        }
    }

    fn get(&self) -> Response {
        Curl::new()
            .behind(&self.daemon)
            .get(&self.registry.inside.url("/corp/"))
    }

    /// `Authorization` of the last request at the registry.
    fn sent(&self) -> String {
        let last = self.registry.inside.requests().pop().unwrap();
        last.header("authorization").unwrap()
    }

    fn start_rotation(&self) -> RunningCommand {
        let mut ctl = exec::command(binary("regauthctl"), self.daemon.home());
        ctl.arg("--home").arg(self.daemon.home());
        ctl.args(["rotate", "corp", "--token-stdin", "--no-verify"]);
        RunningCommand::start(&mut ctl, b"another-token")
    }

    fn service(&self) -> String {
        format!("regauth@{}", self.daemon.home().display())
    }

    fn lookup(&self, username: &str) -> String {
        let lookup = ["lookup", "service", &self.service(), "username", username];
        self.keyring.secret_tool(&lookup, "").stdout
    }
}

/// Registry, and an unconfigured host beside it.
struct Registry {
    inside: MockServer,
    outside: MockServer,
    authority: Authority,
}

impl Registry {
    fn start() -> Self {
        let authority = Authority::new("Corp Root");
        Self {
            inside: MockServer::builder(&authority, "localhost").start(),
            outside: MockServer::builder(&authority, "127.0.0.1").start(),
            authority,
        }
    }

    fn add_to(&self, daemon: &Daemon) -> Ctl {
        let (scope, ca) = (self.inside.url("/corp/"), self.authority.file());
        daemon.ctl_with_input(&ctl::add_scope("corp", &scope, ca.to_str().unwrap()), TOKEN)
    }

    fn tunnel(&self, daemon: &Daemon) -> bool {
        let curl = Curl::new().proxy(&daemon.proxy()).trusts(&self.authority.file());
        curl.get(&self.outside.url("/")).status == 200
    }

    /// Response to a CONNECT; curl does not print it.
    fn connect(&self, daemon: &Daemon) -> String {
        let connect = format!("CONNECT {} HTTP/1.1\r\n\r\n", self.inside.authority());
        ProxyClient::new(daemon).exchange(&connect)
    }
}

struct Status {
    json: serde_json::Value,
    store: serde_json::Value,
}

impl Status {
    fn problems(&self) -> String {
        self.json["problems"].to_string()
    }
}

fn status(daemon: &Daemon) -> Status {
    let json = daemon.ctl(&["status"]).succeeds().json;
    let store = json["store"].clone();
    Status { json, store }
}

/// Builder of a daemon on the keyring's session bus without a configured store.
fn without_store(keyring: &Keyring) -> Builder {
    Daemon::builder()
        .without_store_flag()
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
}

fn is_store_recorded(daemon: &Daemon, store: &str) -> bool {
    let config = fs::read_to_string(daemon.home().join("config.toml")).unwrap();
    config.lines().any(|line| line == format!("store = \"{store}\""))
}

/// Limit for a start: two seconds for the keychain, and a margin for a busy machine.
const START_LIMIT: Duration = Duration::from_secs(5);
