//! `regauthctl store move`: all secrets move between keychain and vault while requests are served. When the daemon or the
//! keychain is killed during a move, no secret is lost and no copy stays behind.
//!
//! The printed seed repeats a run: `REGAUTH_SEED=… cargo test`.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use regauth_shared::exit_code;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, RunningCommand};
use regauth_tests::keyring::Keyring;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use regauth_tests::programs::binary;
use regauth_tests::random::SeededRandom;
use regauth_tests::store_items;

const PASSPHRASE: &str = "correct horse battery staple";

#[test]
fn every_secret_moves_both_ways_while_requests_are_served() {
    let mut fixture = Fixture::start("keychain");
    let bundle = fs::read(fixture.daemon.bundle()).unwrap();
    for (from, to) in [("keychain", "vault"), ("vault", "keychain")] {
        let moved = fixture.under_load(|fixture| fixture.daemon.ctl(&["store", "move", to]).succeeds().json);
        let summary = [&moved["from"], &moved["store"]["kind"], &moved["store"]["state"]];
        assert_eq!(summary, [from, to, "open"], "{moved}");
        assert_eq!(
            (&moved["moved"], &moved["notes"]),
            (&SECRETS.into(), &().into()),
            "{moved}"
        );
        fixture.assert_all_in(to);
        let again = fixture.daemon.ctl(&["store", "move", to]).succeeds().json;
        assert_eq!(again["moved"], 0, "{again}");
        fixture.daemon.restart();
        fixture.assert_all_in(to);
        assert!(
            bundle == fs::read(fixture.daemon.bundle()).unwrap(),
            "the move changed the bundle"
        );
    }
    let mut scan = LeakScan::new(&token("corp"));
    scan.scan("the daemon's log", fixture.daemon.log());
    scan.scan_folder(fixture.daemon.home(), &[]).assert_clean();
}

#[test]
fn a_daemon_killed_during_a_move_leaves_all_secrets_in_one_store() {
    let mut fixture = Fixture::start("vault");
    let (mut random, mut length) = (SeededRandom::from_environment(), fixture.measure());
    let (times, mut moved) = (kills(12), 0);
    for number in 0..times {
        let (from, to) = fixture.direction();
        // Delays from the beginning of the move to after its end, random within each step.
        let delay = (length / times) * 2 * number + random.within(2 * length / times);
        let running = fixture.start_move(to);
        // The random delay is the point of this test, not a wait for a condition.
        thread::sleep(delay);
        fixture.daemon.kill();
        let reported_success = running.finish().status.success();
        fixture.daemon.restart();
        let present = fixture.present();
        assert!(
            present == to || (present == from && !reported_success),
            "{present} after {delay:?}"
        );
        fixture.assert_all_in(&present);
        moved += u32::from(present == to);
        // Adapts to the speed of the machine, so that delays stay around the point of no return.
        length = length
            .mul_f64(if present == to { 0.9 } else { 1.1 })
            .clamp(MIN_DELAY, MAX_DELAY);
    }
    eprintln!("{times} kills, {moved} moves completed");
}

#[test]
fn a_keychain_killed_during_a_move_loses_nothing() {
    let mut fixture = Fixture::start("keychain");
    let (mut random, mut length) = (SeededRandom::from_environment(), fixture.measure());
    for _ in 0..kills(6) {
        let (from, to) = fixture.direction();
        let delay = random.within(length);
        let running = fixture.start_move(to);
        thread::sleep(delay);
        fixture.keyring.kill();
        fixture.assert_served();
        let output = running.finish();
        let refused = output.status.code() == Some(i32::from(exit_code::STORE));
        assert!(output.status.success() || refused, "{}", output.report());
        let present = fixture.present();
        assert_eq!(present, if refused { from } else { to }, "{}", output.report());
        fixture.keyring.restart();
        poll::within(CLEANUP_TIMEOUT, || fixture.is_tidy().then_some(())).expect("copies stay behind");
        fixture.assert_all_in(&present);
        length = length
            .mul_f64(if refused { 1.1 } else { 0.9 })
            .clamp(MIN_DELAY, MAX_DELAY);
    }
    fixture.daemon.restart();
    fixture.assert_all_in(&fixture.present());
}

/// A keychain killed between creating an item and storing its secret leaves an empty item.
#[test]
fn an_empty_keychain_item_is_deleted() {
    let mut fixture = Fixture::start("vault");
    let service = format!("regauth@{}", fixture.daemon.home().display());
    let empty = ["store", "--label", "x", "service", &service, "username", "third"];
    fixture.keyring.secret_tool(&empty, "").succeeds();
    fixture.daemon.stop();
    let journal_file = fixture.daemon.home().join("state/ledger.json");
    let mut journal: serde_json::Value = serde_json::from_str(&fs::read_to_string(&journal_file).unwrap()).unwrap();
    journal["moving"] = serde_json::json!({"from": "vault", "to": "keychain", "whole": false, "items": NAMES});
    fs::write(&journal_file, journal.to_string()).unwrap();
    assert_eq!(store_items::in_keyring(&fixture.keyring, &fixture.daemon), ["third"]);
    fixture.daemon.restart();
    fixture.assert_all_in("vault");
}

#[test]
fn a_move_to_a_missing_keychain_changes_nothing() {
    let mut fixture = Fixture::start("vault");
    fixture.keyring.kill();
    let refused = fixture.daemon.ctl(&["store", "move", "keychain"]);
    assert_eq!(refused.exit, i32::from(exit_code::STORE), "{}", refused.output.report());
    refused.output.says("nothing was changed");
    fixture.keyring.restart();
    fixture.assert_all_in("vault");
}

#[test]
fn secrets_move_out_of_a_passphrase_vault_and_back_with_the_passphrase() {
    let mut fixture = Fixture::start("vault");
    let set = ["unlock", "--set-passphrase", "--passphrase-stdin"];
    fixture.daemon.ctl_with_input(&set, PASSPHRASE).succeeds();
    let without = fixture.daemon.ctl(&["store", "move", "keychain"]).exits(8);
    assert_eq!(without.json["err"]["kind"], "presence-needed", "{}", without.json);
    let out = ["store", "move", "keychain", "--passphrase-stdin"];
    let wrong = fixture.daemon.ctl_with_input(&out, "another passphrase");
    assert_eq!(wrong.exit, i32::from(exit_code::STORE), "{}", wrong.output.report());
    assert_eq!(fixture.present(), "vault");
    assert_eq!(store_items::in_keyring(&fixture.keyring, &fixture.daemon), [""; 0]);
    fixture.daemon.ctl_with_input(&out, PASSPHRASE).succeeds();
    fixture.daemon.restart();
    fixture.assert_served();
    let locked = fixture.daemon.ctl(&["store", "move", "vault"]);
    assert_eq!(locked.exit, i32::from(exit_code::STORE), "{}", locked.output.report());
    locked.output.says("--passphrase-stdin");
    assert_eq!(fixture.present(), "keychain");
    let back = ["store", "move", "vault", "--passphrase-stdin"];
    fixture.daemon.ctl_with_input(&back, PASSPHRASE).succeeds();
    fixture.assert_served();
    assert_eq!(store_items::in_keyring(&fixture.keyring, &fixture.daemon), [""; 0]);
}

#[test]
fn changing_the_store_in_the_configuration_by_hand_loses_no_newer_token() {
    let mut fixture = Fixture::start("vault");
    let home = fixture.daemon.home().to_owned();
    let [vault, journal_file, config] =
        ["state/vault.age", "state/ledger.json", "config.toml"].map(|file| home.join(file));
    let copies = fs::read(&vault).unwrap();
    fixture.daemon.ctl(&["store", "move", "keychain"]).succeeds();
    fixture.daemon.rotate("corp", "the-newer-token").succeeds();
    // Simulates a vault that could not be opened since the move and still has its copies.
    fixture.daemon.stop();
    fs::write(&vault, copies).unwrap();
    let mut journal: serde_json::Value = serde_json::from_str(&fs::read_to_string(&journal_file).unwrap()).unwrap();
    journal["moving"] = serde_json::json!({"from": "vault", "to": "keychain", "whole": true, "items": NAMES});
    fs::write(&journal_file, journal.to_string()).unwrap();
    let set = |from: &str, to: &str| {
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace(from, to)).unwrap();
    };
    set("\"keychain\"", "\"vault\"");
    fixture.daemon.restart();
    fixture.assert_served();
    assert_eq!(
        store_items::in_keyring(&fixture.keyring, &fixture.daemon),
        ["corp"],
        "the keychain keeps the newer token only"
    );
    let lookup = ["lookup", "username", "corp"];
    assert_eq!(fixture.keyring.secret_tool(&lookup, "").stdout, "the-newer-token");
}

#[test]
fn secrets_move_from_memory_to_the_vault_and_not_back() {
    let keyring = Keyring::start();
    let fixture = Fixture::with_keyring(keyring, "memory");
    fixture
        .daemon
        .ctl(&["store", "move", "memory"])
        .exits(i32::from(exit_code::USAGE));
    fixture.daemon.ctl(&["store", "move", "vault"]).succeeds();
    fixture.assert_all_in("vault");
    let shown = fixture.daemon.ctl(&["store"]).succeeds().json;
    assert_eq!(
        [&shown["store"]["kind"], &shown["moving"]],
        [&"vault".into(), &serde_json::Value::Null]
    );
}

/// Keychain, a daemon that uses it, and registries.
struct Fixture {
    daemon: Daemon,
    registry: MockServer,
    keyring: Keyring,
    _authority: Authority,
}

impl Fixture {
    fn start(store: &str) -> Self {
        Self::with_keyring(Keyring::start(), store)
    }

    /// Starts a daemon whose store is set in config.toml, so that a move can change it.
    fn with_keyring(keyring: Keyring, store: &str) -> Self {
        let daemon = Daemon::builder()
            .without_store_flag()
            .config(&format!("# which store\nstore = \"{store}\" # as chosen\n"))
            .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
            .start();
        let authority = Authority::new("Corp Root");
        let registry = MockServer::builder(&authority, "localhost").start();
        for name in registries() {
            let scope = registry.url(&format!("/{name}/"));
            let ca = authority.file();
            let add = ["add-registry", name, "--token-stdin", "--scope", &scope, "--ca-file"];
            let add = [&add[..], &[ca.to_str().unwrap()]].concat();
            daemon.ctl_with_input(&add, &token(name)).succeeds();
        }
        Self {
            daemon,
            registry,
            keyring,
            _authority: authority,
        }
    }

    /// Average duration of a move, from one there and one back.
    fn measure(&self) -> Duration {
        let began = Instant::now();
        for _ in 0..2 {
            self.start_move(self.direction().1).finish().succeeds();
        }
        began.elapsed() / 2
    }

    fn start_move(&self, to: &str) -> RunningCommand {
        let mut ctl = exec::command(binary("regauthctl"), self.daemon.home());
        ctl.arg("--home").arg(self.daemon.home()).args(["store", "move", to]);
        RunningCommand::start(&mut ctl, b"")
    }

    fn direction(&self) -> (&'static str, &'static str) {
        match self.present().as_str() {
            "vault" => ("vault", "keychain"),
            _ => ("keychain", "vault"),
        }
    }

    fn present(&self) -> String {
        let shown = self.daemon.ctl(&["store", "show"]).succeeds().json;
        shown["store"]["kind"].as_str().unwrap().to_owned()
    }

    /// True if no deletion is pending.
    fn is_tidy(&self) -> bool {
        let journal = fs::read_to_string(self.daemon.home().join("state/ledger.json")).unwrap();
        !journal.contains("\"moving\"")
    }

    /// Sends requests during `during`; each must be served with its token.
    fn under_load<T>(&self, during: impl FnOnce(&Self) -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    self.assert_served();
                }
            });
            let output = during(self);
            over.store(true, Ordering::Relaxed);
            output
        })
    }

    /// Asserts that configuration, daemon and both stores agree that all secrets are in `store`.
    #[track_caller]
    fn assert_all_in(&self, store: &str) {
        assert_eq!(self.present(), store);
        let config = fs::read_to_string(self.daemon.home().join("config.toml")).unwrap();
        assert!(
            config.contains(&format!("# which store\nstore = \"{store}\" # as chosen\n")),
            "{config}"
        );
        let (vault, keychain) = (
            store_items::in_vault(&self.daemon),
            store_items::in_keyring(&self.keyring, &self.daemon),
        );
        let (full, empty) = if store == "vault" {
            (vault, keychain)
        } else {
            (keychain, vault)
        };
        assert_eq!(full, NAMES, "items in the {store}");
        assert_eq!(empty, [""; 0], "items in the other store");
        assert!(self.is_tidy());
        self.assert_served();
    }

    #[track_caller]
    fn assert_served(&self) {
        for name in registries() {
            let answer = Curl::new()
                .behind(&self.daemon)
                .get(&self.registry.url(&format!("/{name}/")));
            assert_eq!(answer.status, 200, "{}", answer.body());
            let sent = self.registry.requests().into_iter().rev();
            let sent = sent.map(|request| request.header("authorization").unwrap());
            let wanted = format!("Bearer {}", token(name));
            assert!(sent.take(RECENT).any(|sent| sent == wanted), "{name}");
        }
    }
}

fn registries() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().filter(|name| !name.contains(':'))
}

fn token(name: &str) -> String {
    format!("the-token-of-{name}")
}

/// Number of kills: twenty times as many with `REGAUTH_LONG`.
fn kills(usual: u32) -> u32 {
    if std::env::var_os("REGAUTH_LONG").is_some() {
        20 * usual
    } else {
        usual
    }
}

/// Names of the stored items, sorted.
const NAMES: [&str; 7] = [
    "another",
    "authority:localhost",
    "binding:another",
    "binding:corp",
    "binding:third",
    "corp",
    "third",
];
/// Number of [`NAMES`] that are secrets.
const SECRETS: usize = 4;
/// Number of recent requests to search, since other threads send requests too.
const RECENT: usize = 6;
const MIN_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(2);
/// Limit for the cleanup of the other store, which runs every five seconds.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);
