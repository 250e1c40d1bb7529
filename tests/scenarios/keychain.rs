//! The desktop's keychain, in all its moods: there, missing, locked, unlocked later, killed, silent. Whatever it does,
//! tunnels go on, requests go on from memory where there is one, `status` says what is wrong, and nothing falls back.

use std::fs;
use std::time::{Duration, Instant};

use regauth_shared::exit_code;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::Ctl;
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
fn secret_tool_finds_the_token_after_add_and_not_after_remove() {
    let stage = Stage::start();
    assert_eq!(stage.lookup("corp"), TOKEN);
    stage.daemon.rotate("corp", "the-second-token").succeeds();
    assert_eq!(stage.lookup("corp"), "the-second-token");
    stage.daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert_eq!(stage.lookup("corp"), "");
    let left = stage
        .keyring
        .secret_tool(&["search", "--all", "service", &stage.service()], "");
    assert!(!left.report().contains("attribute.username"), "{}", left.report());
}

#[test]
fn a_restarted_daemon_has_its_token_from_the_keychain() {
    let mut stage = Stage::start();
    stage.daemon.restart();
    assert_eq!(stage.get().status, 200);
    assert_eq!(stage.sent(), format!("Bearer {TOKEN}"));
}

#[test]
fn a_first_start_chooses_the_keychain_where_there_is_one_and_records_it() {
    let keyring = Keyring::start();
    let mut daemon = beside(&keyring).start();
    assert_eq!(status(&daemon).store["kind"], "keychain");
    assert!(records(&daemon, "keychain"));
    daemon.restart();
    assert_eq!(status(&daemon).store["kind"], "keychain");
}

#[test]
fn a_first_start_without_a_keychain_takes_the_vault_soon_and_records_it() {
    let began = Instant::now();
    let daemon = Daemon::builder().without_store_flag().start();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(status(&daemon).store["kind"], "vault");
    assert!(records(&daemon, "vault"));
}

#[test]
fn a_first_start_beside_a_keychain_that_never_answers_takes_the_vault_soon() {
    let keyring = Keyring::start();
    keyring.suspend();
    let began = Instant::now();
    let daemon = beside(&keyring).start();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(status(&daemon).store["kind"], "vault");
    keyring.resume();
}

#[test]
fn a_first_start_beside_a_locked_keychain_takes_it_and_says_that_it_is_locked() {
    let keyring = Keyring::start();
    keyring.lock();
    let daemon = beside(&keyring).start();
    let status = status(&daemon);
    assert_eq!([&status.store["kind"], &status.store["state"]], ["keychain", "locked"]);
    assert!(status.problems().contains("regauthctl unlock"), "{}", status.problems());
}

#[test]
fn a_recorded_keychain_that_is_not_there_is_said_and_never_replaced() {
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
    assert!(records(&daemon, "keychain") && !daemon.home().join("state/vault.age").exists());

    let registry = Registry::start();
    let added = registry.add_to(&daemon);
    assert_eq!(added.exit, i32::from(exit_code::STORE), "{}", added.output.report());
    assert_eq!(daemon.ctl(&["list"]).json["registries"], serde_json::json!([]));
    assert!(registry.tunnel(&daemon), "tunnels go on");
}

#[test]
fn with_another_store_in_the_arguments_the_daemon_does_not_start() {
    let home = tempfile::tempdir().unwrap();
    let output = Daemon::builder()
        .store("vault")
        .config("store = \"keychain\"\n")
        .run(&home.path().join("home"))
        .fails();
    output.says("the secrets are in the keychain");
}

#[test]
fn a_keychain_that_is_locked_at_start_is_used_as_soon_as_it_opens() {
    let mut stage = Stage::start();
    stage.keyring.lock();
    stage.daemon.restart();
    let refusal = stage.registry.connect(&stage.daemon);
    assert!(
        refusal.starts_with("HTTP/1.1 403 ") && refusal.contains("regauth-error: store-locked"),
        "{refusal}"
    );
    assert!(stage.registry.tunnel(&stage.daemon), "tunnels go on");
    let status = status(&stage.daemon);
    assert_eq!(status.store["state"], "locked");
    assert!(status.problems().contains("regauthctl unlock"), "{}", status.problems());
    let list = stage.daemon.ctl(&["list"]).succeeds().json;
    assert_eq!(list["registries"][0]["credential"]["state"], "locked");
    let rotated = stage.daemon.rotate("corp", "another-token");
    assert_eq!(rotated.exit, i32::from(exit_code::STORE), "{}", rotated.output.report());

    stage.keyring.unlock();
    poll::within(Duration::from_secs(10), || {
        stage
            .registry
            .connect(&stage.daemon)
            .starts_with("HTTP/1.1 200 ")
            .then_some(())
    })
    .expect("the daemon has not noticed that the keychain is open");
    assert_eq!(stage.get().status, 200);
    assert_eq!(stage.sent(), format!("Bearer {TOKEN}"));
    let status = self::status(&stage.daemon);
    assert_eq!(status.store["state"], "open");
    assert_eq!(status.problems(), "null");
}

#[test]
fn a_registry_that_is_removed_while_the_keychain_is_locked_loses_its_token_when_it_opens() {
    let stage = Stage::start();
    stage.keyring.lock();
    let removed = stage.daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert!(
        removed.json["notes"][0]
            .as_str()
            .unwrap()
            .contains("deleted as soon as"),
        "{}",
        removed.json
    );
    assert_eq!(stage.daemon.ctl(&["list"]).json["registries"], serde_json::json!([]));
    stage.keyring.unlock();
    poll::within(Duration::from_secs(10), || {
        stage.lookup("corp").is_empty().then_some(())
    })
    .expect("the token is still in the keychain");
}

#[test]
fn requests_go_on_from_memory_when_the_keychain_is_killed() {
    let mut stage = Stage::start();
    stage.keyring.kill();
    assert_eq!(stage.get().status, 200);
    let status = status(&stage.daemon);
    assert_eq!(status.store["state"], "unavailable");
    assert!(status.problems().contains("Secret Service"), "{}", status.problems());
    let rotated = stage.daemon.rotate("corp", "another-token");
    assert_eq!(rotated.exit, i32::from(exit_code::STORE), "{}", rotated.output.report());
    assert_eq!(stage.get().status, 200);
    assert_eq!(stage.sent(), format!("Bearer {TOKEN}"), "nothing was changed");

    stage.keyring.restart();
    assert_eq!(self::status(&stage.daemon).store["state"], "open");
    stage.daemon.rotate("corp", "another-token").succeeds();
    assert_eq!(stage.get().status, 200);
    assert_eq!(stage.sent(), "Bearer another-token");
}

#[test]
fn a_session_bus_that_is_restarted_is_used_again() {
    let mut stage = Stage::start();
    stage.keyring.restart_with_bus();
    assert_eq!(stage.get().status, 200);
    assert_eq!(status(&stage.daemon).store["state"], "open");
    stage.daemon.rotate("corp", "another-token").succeeds();
    assert_eq!(stage.get().status, 200);
    assert_eq!(stage.sent(), "Bearer another-token");
}

#[test]
fn a_keychain_that_never_answers_holds_up_neither_start_nor_tunnels_nor_status_nor_the_end() {
    let mut stage = Stage::start();
    stage.keyring.suspend();
    stage.daemon.stop();
    let began = Instant::now();
    stage.daemon.restart();
    assert!(began.elapsed() < SOON, "start took {:?}", began.elapsed());
    assert!(
        stage
            .registry
            .connect(&stage.daemon)
            .contains("regauth-error: store-locked")
    );
    assert!(stage.registry.tunnel(&stage.daemon), "tunnels go on");

    let rotation = stage.start_rotation();
    let began = Instant::now();
    let status = status(&stage.daemon);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "status took {:?}",
        began.elapsed()
    );
    assert_eq!(status.store["state"], "unavailable");
    assert!(status.problems().contains("did not answer"), "{}", status.problems());
    stage.daemon.ctl(&["list"]).succeeds();

    let began = Instant::now();
    assert!(stage.daemon.stop().success());
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "the end took {:?}",
        began.elapsed()
    );
    rotation.finish().fails();
    stage.keyring.resume();
}

#[test]
fn a_keychain_that_falls_silent_costs_no_request_and_is_used_again_when_it_speaks() {
    let stage = Stage::start();
    stage.keyring.suspend();
    let rotation = stage.start_rotation();
    for _ in 0..5 {
        assert_eq!(stage.get().status, 200);
        assert_eq!(stage.sent(), format!("Bearer {TOKEN}"));
    }
    assert_eq!(status(&stage.daemon).store["state"], "unavailable");
    let rotation = rotation.finish();
    assert_eq!(
        rotation.status.code(),
        Some(i32::from(exit_code::STORE)),
        "{}",
        rotation.report()
    );
    stage.keyring.resume();
    poll::within(Duration::from_secs(15), || {
        (status(&stage.daemon).store["state"] == "open").then_some(())
    })
    .expect("the keychain answers and status does not say so");
    stage.daemon.rotate("corp", "another-token").succeeds();
    assert_eq!(stage.get().status, 200);
    assert_eq!(stage.sent(), "Bearer another-token");
    assert_eq!(stage.lookup("corp"), "another-token");
}

/// A keychain, a daemon that uses it, and a registry whose token is in it.
struct Stage {
    daemon: Daemon,
    registry: Registry,
    keyring: Keyring,
}

impl Stage {
    fn start() -> Self {
        let keyring = Keyring::start();
        let daemon = beside(&keyring).start();
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

    /// The credential of the registry's last request.
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

/// A registry, and a host beside it that nobody configured.
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
        let arguments = ["add-registry", "corp", "--token-stdin", "--scope", &scope, "--ca-file"];
        daemon.ctl_with_input(&[&arguments[..], &[ca.to_str().unwrap()]].concat(), TOKEN)
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

/// A daemon in the keyring's session that nobody has told what to keep secrets in.
fn beside(keyring: &Keyring) -> Builder {
    Daemon::builder()
        .without_store_flag()
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
}

fn records(daemon: &Daemon, store: &str) -> bool {
    let config = fs::read_to_string(daemon.home().join("config.toml")).unwrap();
    config.lines().any(|line| line == format!("store = \"{store}\""))
}

/// Two seconds for a keychain to answer, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(5);
