//! All secrets go from one store to the other, both ways, and whoever is killed meanwhile, the daemon or the keychain:
//! nothing is lost, nothing stays behind, and requests go on.
//!
//! The moments are random. What is printed as the seed repeats them: `REGAUTH_SEED=… cargo test`.

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
fn every_secret_moves_both_ways_while_requests_go_on() {
    let mut stage = Stage::start("keychain");
    let bundle = fs::read(stage.daemon.bundle()).unwrap();
    for (from, to) in [("keychain", "vault"), ("vault", "keychain")] {
        let moved = stage.under_load(|stage| stage.daemon.ctl(&["store", "move", to]).succeeds().json);
        let said = [&moved["from"], &moved["store"]["kind"], &moved["store"]["state"]];
        assert_eq!(said, [from, to, "open"], "{moved}");
        assert_eq!(
            (&moved["moved"], &moved["notes"]),
            (&NAMES.len().into(), &().into()),
            "{moved}"
        );
        stage.assert_whole_in(to);
        let again = stage.daemon.ctl(&["store", "move", to]).succeeds().json;
        assert_eq!(again["moved"], 0, "{again}");
        stage.daemon.restart();
        stage.assert_whole_in(to);
        assert!(
            bundle == fs::read(stage.daemon.bundle()).unwrap(),
            "clients trust the same authorities"
        );
    }
    let mut scan = LeakScan::new(&token("corp"));
    scan.scan("the daemon's log", stage.daemon.log());
    scan.scan_folder(stage.daemon.home(), &[]).assert_clean();
}

#[test]
fn a_daemon_killed_in_the_middle_leaves_one_store_whole_and_the_other_empty() {
    let mut stage = Stage::start("vault");
    let (mut random, mut length) = (SeededRandom::from_environment(), stage.measure());
    let (times, mut moved) = (kills(12), 0);
    for number in 0..times {
        let (from, to) = stage.direction();
        // From the very beginning to well after the end, and anywhere in between.
        let delay = (length / times) * 2 * number + random.within(2 * length / times);
        let running = stage.start_move(to);
        // Not a wait for anything: the moment itself is what is tested.
        thread::sleep(delay);
        stage.daemon.kill();
        let said_done = running.finish().status.success();
        stage.daemon.restart();
        let present = stage.present();
        assert!(
            present == to || (present == from && !said_done),
            "{present} after {delay:?}"
        );
        stage.assert_whole_in(&present);
        moved += u32::from(present == to);
        // A machine is slower at one time than at another: the moments stay around the one that decides.
        length = length
            .mul_f64(if present == to { 0.9 } else { 1.1 })
            .clamp(SHORTEST, LONGEST);
    }
    eprintln!("{times} kills, in spite of which {moved} moves were done");
}

#[test]
fn a_keychain_killed_in_the_middle_loses_nothing() {
    let mut stage = Stage::start("keychain");
    let (mut random, mut length) = (SeededRandom::from_environment(), stage.measure());
    for _ in 0..kills(6) {
        let (from, to) = stage.direction();
        let delay = random.within(length);
        let running = stage.start_move(to);
        thread::sleep(delay);
        stage.keyring.kill();
        stage.assert_served();
        let output = running.finish();
        let refused = output.status.code() == Some(i32::from(exit_code::STORE));
        assert!(output.status.success() || refused, "{}", output.report());
        let present = stage.present();
        assert_eq!(present, if refused { from } else { to }, "{}", output.report());
        stage.keyring.restart();
        poll::within(TIMEOUT, || stage.is_tidy().then_some(())).expect("copies stay behind");
        stage.assert_whole_in(&present);
        length = length.mul_f64(if refused { 1.1 } else { 0.9 }).clamp(SHORTEST, LONGEST);
    }
    stage.daemon.restart();
    stage.assert_whole_in(&stage.present());
}

/// What a keychain leaves that is killed between making an item and filling it.
#[test]
fn an_item_that_was_not_filled_does_not_stay_behind() {
    let mut stage = Stage::start("vault");
    let service = format!("regauth@{}", stage.daemon.home().display());
    let empty = ["store", "--label", "x", "service", &service, "username", "third"];
    stage.keyring.secret_tool(&empty, "").succeeds();
    stage.daemon.stop();
    let ledger = stage.daemon.home().join("state/ledger.json");
    let mut noted: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ledger).unwrap()).unwrap();
    noted["moving"] = serde_json::json!({"from": "vault", "to": "keychain", "whole": false, "items": NAMES});
    fs::write(&ledger, noted.to_string()).unwrap();
    assert_eq!(store_items::in_keyring(&stage.keyring, &stage.daemon), ["third"]);
    stage.daemon.restart();
    stage.assert_whole_in("vault");
}

#[test]
fn a_move_to_a_keychain_that_is_not_there_changes_nothing() {
    let mut stage = Stage::start("vault");
    stage.keyring.kill();
    let refused = stage.daemon.ctl(&["store", "move", "keychain"]);
    assert_eq!(refused.exit, i32::from(exit_code::STORE), "{}", refused.output.report());
    refused.output.says("nothing was changed");
    stage.keyring.restart();
    stage.assert_whole_in("vault");
}

#[test]
fn a_vault_under_a_passphrase_gives_its_secrets_away_and_takes_them_back_by_its_passphrase() {
    let mut stage = Stage::start("vault");
    let set = ["unlock", "--set-passphrase", "--passphrase-stdin"];
    stage.daemon.ctl_with_input(&set, PASSPHRASE).succeeds();
    stage.daemon.ctl(&["store", "move", "keychain"]).succeeds();
    stage.daemon.restart();
    stage.assert_served();
    let locked = stage.daemon.ctl(&["store", "move", "vault"]);
    assert_eq!(locked.exit, i32::from(exit_code::STORE), "{}", locked.output.report());
    locked.output.says("--passphrase-stdin");
    assert_eq!(stage.present(), "keychain");
    let back = ["store", "move", "vault", "--passphrase-stdin"];
    stage.daemon.ctl_with_input(&back, PASSPHRASE).succeeds();
    stage.assert_served();
    assert_eq!(store_items::in_keyring(&stage.keyring, &stage.daemon), [""; 0]);
}

#[test]
fn a_configuration_that_is_set_back_by_hand_costs_no_newer_token() {
    let mut stage = Stage::start("vault");
    let home = stage.daemon.home().to_owned();
    let [vault, ledger, config] = ["state/vault.age", "state/ledger.json", "config.toml"].map(|file| home.join(file));
    let copies = fs::read(&vault).unwrap();
    stage.daemon.ctl(&["store", "move", "keychain"]).succeeds();
    stage.daemon.rotate("corp", "the-newer-token").succeeds();
    // As if the vault could not be opened since the move, and so has its copies still.
    stage.daemon.stop();
    fs::write(&vault, copies).unwrap();
    let mut noted: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ledger).unwrap()).unwrap();
    noted["moving"] = serde_json::json!({"from": "vault", "to": "keychain", "whole": true, "items": NAMES});
    fs::write(&ledger, noted.to_string()).unwrap();
    let set = |from: &str, to: &str| {
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace(from, to)).unwrap();
    };
    set("\"keychain\"", "\"vault\"");
    stage.daemon.restart();
    stage.assert_served();
    assert_eq!(
        store_items::in_keyring(&stage.keyring, &stage.daemon),
        ["corp"],
        "only the newer one is left there"
    );
    let lookup = ["lookup", "username", "corp"];
    assert_eq!(stage.keyring.secret_tool(&lookup, "").stdout, "the-newer-token");
}

#[test]
fn secrets_leave_memory_for_a_store_that_lasts_and_never_go_back() {
    let keyring = Keyring::start();
    let stage = Stage::beside(keyring, "memory");
    stage
        .daemon
        .ctl(&["store", "move", "memory"])
        .exits(i32::from(exit_code::USAGE));
    stage.daemon.ctl(&["store", "move", "vault"]).succeeds();
    stage.assert_whole_in("vault");
    let shown = stage.daemon.ctl(&["store"]).succeeds().json;
    assert_eq!(
        [&shown["store"]["kind"], &shown["moving"]],
        [&"vault".into(), &serde_json::Value::Null]
    );
}

/// A keychain, a daemon beside it, and registries whose tokens it keeps.
struct Stage {
    daemon: Daemon,
    registry: MockServer,
    keyring: Keyring,
    _authority: Authority,
}

impl Stage {
    fn start(store: &str) -> Self {
        Self::beside(Keyring::start(), store)
    }

    /// The store is what the configuration says, so that a restart finds another one there.
    fn beside(keyring: Keyring, store: &str) -> Self {
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

    /// One move there and one back, undisturbed: how long one takes.
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

    /// Nobody has anything left to delete.
    fn is_tidy(&self) -> bool {
        let ledger = fs::read_to_string(self.daemon.home().join("state/ledger.json")).unwrap();
        !ledger.contains("\"moving\"")
    }

    /// Requests while something happens; each must be served with its token.
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

    /// The configuration, the daemon, and both stores tell the same story, in which nothing is missing.
    #[track_caller]
    fn assert_whole_in(&self, store: &str) {
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
        assert_eq!(full, NAMES, "what the {store} keeps");
        assert_eq!(empty, [""; 0], "what the other keeps");
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

/// As many as a run has time for; `REGAUTH_LONG` is for those who have more.
fn kills(usual: u32) -> u32 {
    if std::env::var_os("REGAUTH_LONG").is_some() {
        20 * usual
    } else {
        usual
    }
}

/// What the stores keep, sorted.
const NAMES: [&str; 4] = ["another", "authority:localhost", "corp", "third"];
/// Others may ask at the same time.
const RECENT: usize = 6;
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(2);
/// The other store is looked at every five seconds.
const TIMEOUT: Duration = Duration::from_secs(20);
