//! Crash safety: SIGKILL at random points of add, rotate and remove, 200 times. After the restart the registry is entirely
//! the old or the new one with its own token, and no secret of a removed registry is left.
//!
//! The printed seed repeats a run: `REGAUTH_SEED=… cargo test`.

use std::fs;
use std::time::{Duration, Instant};

use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, RunningCommand};
use regauth_tests::keyring::Keyring;
use regauth_tests::mock_server::MockServer;
use regauth_tests::programs::binary;
use regauth_tests::random::SeededRandom;
use regauth_tests::store_items;
use serde_json::Value;

#[test]
fn a_kill_leaves_the_old_or_the_new_registry() {
    let outcomes = Fixture::new(Daemon::builder().store("vault")).kill(70);
    assert!(
        outcomes.old > 0 && outcomes.new > 0,
        "no kill hit a verb in progress: {outcomes:?}"
    );
}

#[test]
fn a_kill_leaves_the_old_or_the_new_registry_without_verification() {
    let mut fixture = Fixture::new(Daemon::builder().store("vault"));
    fixture.verify = false;
    let outcomes = fixture.kill(60);
    assert!(
        outcomes.old > 0 && outcomes.new > 0,
        "no kill hit a verb in progress: {outcomes:?}"
    );
}

#[test]
fn a_kill_leaves_the_old_or_the_new_registry_beside_others() {
    let mut fixture = Fixture::new(Daemon::builder().store("vault"));
    fixture.add_another();
    fixture.kill(50);
}

#[test]
fn a_kill_leaves_no_keychain_item_of_a_removed_registry() {
    let keyring = Keyring::start();
    let daemon = Daemon::builder()
        .store("keychain")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address());
    let mut fixture = Fixture::new(daemon);
    fixture.keyring = Some(keyring);
    fixture.kill(20);
}

/// Registry that accepts and records any token, and the daemon to kill.
struct Fixture {
    registry: MockServer,
    authority: Authority,
    daemon: Daemon,
    keyring: Option<Keyring>,
    verify: bool,
    random: SeededRandom,
    tokens: u32,
    current: Option<Held>,
    another: bool,
    /// Estimated duration of add, rotate and remove.
    lengths: [Duration; 3],
}

/// Token and generation of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    token: String,
    generation: u64,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Add,
    Rotate,
    Remove,
}

/// Number of kills that left the old and the new state.
#[derive(Debug, Default)]
struct KillOutcomes {
    old: u32,
    new: u32,
}

impl Fixture {
    fn new(daemon: regauth_tests::daemon::Builder) -> Self {
        let authority = Authority::new("Corp Root");
        Self {
            registry: MockServer::builder(&authority, "localhost").start(),
            authority,
            daemon: daemon.start(),
            keyring: None,
            verify: true,
            random: SeededRandom::from_environment(),
            tokens: 0,
            current: None,
            another: false,
            lengths: [Duration::ZERO; 3],
        }
    }

    /// Adds a registry on the same host that stays unchanged.
    fn add_another(&mut self) {
        let [scope, ca] = [self.registry.url("/another/"), self.ca()];
        let add = [
            "add-registry",
            "another",
            "--scope",
            &scope,
            "--ca-file",
            &ca,
            "--token-stdin",
        ];
        self.daemon.ctl_with_input(&add, "token-of-another").succeeds();
        self.another = true;
    }

    fn kill(mut self, times: u32) -> KillOutcomes {
        self.measure();
        let mut outcomes = KillOutcomes::default();
        for _ in 0..times {
            self.kill_once(&mut outcomes);
        }
        eprintln!("{times} kills: {outcomes:?}");
        outcomes
    }

    /// Runs each verb once without a kill, to measure and check it.
    fn measure(&mut self) {
        for verb in [Verb::Add, Verb::Rotate, Verb::Remove] {
            let after = self.expected_after(verb);
            let began = Instant::now();
            self.start(verb, after.as_ref()).finish().succeeds();
            self.lengths[verb as usize] = began.elapsed();
            self.current = after;
            assert_eq!(self.found(), self.current, "{verb:?}");
        }
    }

    fn kill_once(&mut self, outcomes: &mut KillOutcomes) {
        let verb = match (&self.current, self.random.below(2)) {
            (None, _) => Verb::Add,
            (Some(_), 0) => Verb::Rotate,
            (Some(_), _) => Verb::Remove,
        };
        let (before, after) = (self.current.clone(), self.expected_after(verb));
        let length = self.lengths[verb as usize];
        let delay = self.random.within(length);
        let running = self.start(verb, after.as_ref());
        // The random delay is the point of this test, not a wait for a condition.
        std::thread::sleep(delay);
        self.daemon.kill();
        let reported_success = running.finish().status.success();
        self.daemon.restart();
        let found = self.found();
        let what =
            format!("{verb:?} killed after {delay:?} of {length:?}; regauthctl reported success: {reported_success}");
        assert!(
            found == after || (found == before && !reported_success),
            "{what}: {found:?}, not {before:?} or {after:?}"
        );
        // Adapts to the speed of the machine, so that delays stay around the point of no return.
        let factor = if found == after { 0.9 } else { 1.1 };
        self.lengths[verb as usize] = length.mul_f64(factor).clamp(MIN_DELAY, MAX_DELAY);
        match found == after {
            true => outcomes.new += 1,
            false => outcomes.old += 1,
        }
        self.current = found;
    }

    /// Expected registry after the verb, with a new token.
    fn expected_after(&mut self, verb: Verb) -> Option<Held> {
        self.tokens += 1;
        let generation = self.current.as_ref().map_or(1, |held| held.generation + 1);
        let token = format!("token-number-{}", self.tokens);
        (!matches!(verb, Verb::Remove)).then_some(Held { token, generation })
    }

    fn start(&self, verb: Verb, after: Option<&Held>) -> RunningCommand {
        let [scope, ca] = [self.registry.url("/corp/"), self.ca()];
        let mut ctl = exec::command(binary("regauthctl"), self.daemon.home());
        ctl.arg("--home").arg(self.daemon.home());
        match verb {
            Verb::Add => ctl.args(["add-registry", "corp", "--scope", &scope, "--ca-file", &ca]),
            Verb::Rotate => ctl.args(["rotate", "corp"]),
            Verb::Remove => ctl.args(["remove-registry", "corp"]),
        };
        if after.is_some() {
            ctl.arg("--token-stdin").args((!self.verify).then_some("--no-verify"));
        }
        let token = after.map(|held| held.token.as_str()).unwrap_or_default();
        RunningCommand::start(&mut ctl, token.as_bytes())
    }

    /// Current registry; asserts that configuration, journal, store and requests agree.
    fn found(&self) -> Option<Held> {
        let list = self.daemon.ctl(&["list"]).succeeds().json;
        let registries = list["registries"].as_array().unwrap();
        let corp = registries.iter().find(|registry| registry["name"] == "corp");
        assert_eq!(
            registries.len(),
            usize::from(corp.is_some()) + usize::from(self.another),
            "{list}"
        );
        self.assert_files_agree(corp.is_some());
        let items = self.items();
        let wanted = [
            ("another", self.another),
            ("authority:localhost", !registries.is_empty()),
            ("binding:another", self.another),
            ("binding:corp", corp.is_some()),
            ("corp", corp.is_some()),
        ];
        let wanted: Vec<&str> = wanted
            .into_iter()
            .filter_map(|(item, there)| there.then_some(item))
            .collect();
        assert_eq!(items, wanted, "items in the store");
        if self.another {
            assert_eq!(self.token_at("/another/"), "token-of-another");
        }
        let corp = corp?;
        assert_eq!(corp["credential"]["state"], "ready", "{corp}");
        Some(Held {
            token: self.token_at("/corp/"),
            generation: corp["credential"]["generation"].as_u64().unwrap(),
        })
    }

    /// Asserts that the configuration and the journal agree and no change is pending.
    fn assert_files_agree(&self, corp: bool) {
        let config = fs::read_to_string(self.daemon.home().join("config.toml")).unwrap();
        assert_eq!(config.contains("\n[registries.corp]\n"), corp, "{config}");
        let journal = fs::read_to_string(self.daemon.home().join("state/ledger.json")).unwrap_or("{}".to_owned());
        let mut journal: Value = serde_json::from_str(&journal).unwrap();
        journal["authorities"].take();
        assert!(journal["pending"].as_array().is_none_or(Vec::is_empty), "{journal}");
        assert!(journal["rotations"].is_null(), "{journal}");
        assert_eq!(!journal["registries"]["corp"].is_null(), corp, "{journal}");
    }

    /// Names of the items in the store.
    fn items(&self) -> Vec<String> {
        match &self.keyring {
            None => store_items::in_vault(&self.daemon),
            Some(keyring) => store_items::in_keyring(keyring, &self.daemon),
        }
    }

    /// Token of a request through the proxy.
    fn token_at(&self, path: &str) -> String {
        let answer = Curl::new().behind(&self.daemon).get(&self.registry.url(path));
        assert_eq!(answer.status, 200, "{}", answer.body());
        let authorization = self.registry.requests().pop().unwrap().header("authorization");
        authorization.unwrap().strip_prefix("Bearer ").unwrap().to_owned()
    }

    fn ca(&self) -> String {
        self.authority.file().to_str().unwrap().to_owned()
    }
}

const MIN_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1);
