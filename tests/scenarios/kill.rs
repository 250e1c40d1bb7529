//! SIGKILL at any moment of add, rotate and remove, 200 times: after the restart the registry is wholly the old or wholly
//! the new one, its token is the one that belongs to it, and no secret is left of one that is gone.
//!
//! The moments are random. What is printed as the seed repeats them: `REGAUTH_SEED=… cargo test`.

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
    let tally = Stage::new(Daemon::builder().store("vault")).kill(70);
    assert!(
        tally.old > 0 && tally.new > 0,
        "no kill hit a verb in its middle: {tally:?}"
    );
}

#[test]
fn a_kill_leaves_the_old_or_the_new_registry_when_nobody_asks_the_registry() {
    let mut stage = Stage::new(Daemon::builder().store("vault"));
    stage.verify = false;
    let tally = stage.kill(60);
    assert!(
        tally.old > 0 && tally.new > 0,
        "no kill hit a verb in its middle: {tally:?}"
    );
}

#[test]
fn a_kill_leaves_the_old_or_the_new_registry_beside_others() {
    let mut stage = Stage::new(Daemon::builder().store("vault"));
    stage.add_another();
    stage.kill(50);
}

#[test]
fn a_kill_leaves_no_item_in_the_keychain_of_a_registry_that_is_gone() {
    let keyring = Keyring::start();
    let daemon = Daemon::builder()
        .store("keychain")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address());
    let mut stage = Stage::new(daemon);
    stage.keyring = Some(keyring);
    stage.kill(20);
}

/// A registry that takes any token and writes down which, and a daemon that is killed.
struct Stage {
    registry: MockServer,
    authority: Authority,
    daemon: Daemon,
    keyring: Option<Keyring>,
    verify: bool,
    random: SeededRandom,
    tokens: u32,
    now: Option<Held>,
    another: bool,
    /// How long add, rotate and remove take when nobody dies.
    lengths: [Duration; 3],
}

/// A registry's token and its generation.
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

/// How the kills came out.
#[derive(Debug, Default)]
struct Tally {
    old: u32,
    new: u32,
}

impl Stage {
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
            now: None,
            another: false,
            lengths: [Duration::ZERO; 3],
        }
    }

    /// A registry on the same host that nobody touches.
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

    fn kill(mut self, times: u32) -> Tally {
        self.measure();
        let mut tally = Tally::default();
        for _ in 0..times {
            self.kill_once(&mut tally);
        }
        eprintln!("{times} kills: {tally:?}");
        tally
    }

    /// One of each verb undisturbed, to know how long they take and that they work.
    fn measure(&mut self) {
        for verb in [Verb::Add, Verb::Rotate, Verb::Remove] {
            let after = self.after(verb);
            let began = Instant::now();
            self.start(verb, after.as_ref()).finish().succeeds();
            self.lengths[verb as usize] = began.elapsed();
            self.now = after;
            assert_eq!(self.found(), self.now, "{verb:?}");
        }
    }

    fn kill_once(&mut self, tally: &mut Tally) {
        let verb = match (&self.now, self.random.below(2)) {
            (None, _) => Verb::Add,
            (Some(_), 0) => Verb::Rotate,
            (Some(_), _) => Verb::Remove,
        };
        let (before, after) = (self.now.clone(), self.after(verb));
        let length = self.lengths[verb as usize];
        let delay = self.random.within(length);
        let running = self.start(verb, after.as_ref());
        // Not a wait for anything: the moment itself is what is tested.
        std::thread::sleep(delay);
        self.daemon.kill();
        let said_done = running.finish().status.success();
        self.daemon.restart();
        let found = self.found();
        let what = format!("{verb:?} killed after {delay:?} of {length:?}; regauthctl said done: {said_done}");
        assert!(
            found == after || (found == before && !said_done),
            "{what}: {found:?}, not {before:?} or {after:?}"
        );
        // A machine is slower at one time than at another: the moments stay around the one that decides.
        let factor = if found == after { 0.9 } else { 1.1 };
        self.lengths[verb as usize] = length.mul_f64(factor).clamp(SHORTEST, LONGEST);
        match found == after {
            true => tally.new += 1,
            false => tally.old += 1,
        }
        self.now = found;
    }

    /// What there is when the verb has been carried out; the token that it needs is a fresh one.
    fn after(&mut self, verb: Verb) -> Option<Held> {
        self.tokens += 1;
        let generation = self.now.as_ref().map_or(1, |held| held.generation + 1);
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

    /// What the daemon has, after everything that it keeps was compared with everything else.
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
            ("corp", corp.is_some()),
        ];
        let wanted: Vec<&str> = wanted
            .into_iter()
            .filter_map(|(item, there)| there.then_some(item))
            .collect();
        assert_eq!(items, wanted, "what the store keeps");
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

    /// The configuration and the ledger tell the same story, and nothing is half done in it.
    fn assert_files_agree(&self, corp: bool) {
        let config = fs::read_to_string(self.daemon.home().join("config.toml")).unwrap();
        assert_eq!(config.contains("\n[registries.corp]\n"), corp, "{config}");
        let ledger = fs::read_to_string(self.daemon.home().join("state/ledger.json")).unwrap_or("{}".to_owned());
        let mut ledger: Value = serde_json::from_str(&ledger).unwrap();
        ledger["authorities"].take();
        assert!(ledger["pending"].as_array().is_none_or(Vec::is_empty), "{ledger}");
        assert!(ledger["rotations"].is_null(), "{ledger}");
        assert_eq!(!ledger["registries"]["corp"].is_null(), corp, "{ledger}");
    }

    /// The names of everything in the store.
    fn items(&self) -> Vec<String> {
        match &self.keyring {
            None => store_items::in_vault(&self.daemon),
            Some(keyring) => store_items::in_keyring(keyring, &self.daemon),
        }
    }

    /// The token that a request through the proxy carries.
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

const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);
