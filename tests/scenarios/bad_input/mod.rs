//! Wrong input: each mistake has an exit code and a message with the next step. Nothing changes, and no output has a
//! token.
//!
//! [`arguments`] covers command lines, [`files`] covers configurations, folders, ports and sockets, [`registries`] covers
//! responses of registries, and [`disk`] covers full disks.

mod arguments;
mod disk;
mod files;
mod registries;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use regauth_tests::certificates::Authority;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use serde_json::{Map, Value, json};

/// Token on stdin, and in arguments where it does not belong.
const TOKEN: &str = "sentinel-in-the-wrong-location";

/// Token of `corp`.
const FIRST: &str = "the-first-token";

/// Daemon with a vault and one registry, `corp`, that accepts any token.
struct Fixture {
    daemon: Daemon,
    registry: MockServer,
    authority: Authority,
}

impl Fixture {
    fn start() -> Self {
        let authority = Authority::new("Corp Root");
        let registry = MockServer::builder(&authority, "localhost").start();
        let daemon = Daemon::builder().store("vault").ignore_file_size_signal().start();
        let fixture = Self {
            daemon,
            registry,
            authority,
        };
        let add = format!(
            "add-registry corp --token-stdin --scope {}",
            fixture.registry.url("/corp/")
        );
        fixture.ctl(&fixture.trusting(&add), FIRST).succeeds();
        fixture
    }

    fn home(&self) -> &Path {
        self.daemon.home()
    }

    /// Appends `--ca-file` with the CA of the mock registries.
    fn trusting(&self, line: &str) -> String {
        format!("{line} --ca-file {}", self.authority.file().display())
    }

    /// Runs `regauthctl` with the words of a line.
    fn ctl(&self, line: &str, token: &str) -> Ctl {
        self.daemon.ctl_with_input(&words(line), token)
    }

    /// Asserts that a command with the token on stdin is refused.
    #[track_caller]
    fn refuses(&self, line: &str, exit: u8, says: &str) -> Ctl {
        self.refuses_with(TOKEN, &words(line), exit, says)
    }

    /// Asserts that a command is refused with this exit code, a message and a hint, and that nothing changed.
    #[track_caller]
    fn refuses_with(&self, token: &str, arguments: &[&str], exit: u8, says: &str) -> Ctl {
        let before = self.snapshot();
        let ctl = self.daemon.ctl_with_input(arguments, token);
        let report = ctl.output.report();
        assert_eq!(ctl.exit, i32::from(exit), "{report}");
        let [message, hint] = [message(&ctl), hint(&ctl)];
        assert!(!message.is_empty() && !hint.is_empty(), "{report}");
        assert!(format!("{message}\n{hint}").contains(says), "{says:?}: {report}");
        LeakScan::new(TOKEN)
            .scan("stdout", &ctl.output.stdout)
            .scan("stderr", &ctl.output.stderr)
            .scan("the daemon's log", self.daemon.log())
            .assert_clean();
        assert_same(&before, &self.snapshot(), &format!("after {arguments:?}"));
        ctl
    }

    /// State that a refused command must not change: registries, files and stored items.
    fn snapshot(&self) -> Vec<String> {
        let read = |name: &str| fs::read_to_string(self.home().join(name)).unwrap_or_default();
        let mut list = self.daemon.ctl(&["list"]).succeeds().json;
        for registry in list["registries"].as_array_mut().unwrap() {
            let fields = registry.as_object_mut().unwrap();
            fields
                .retain(|field, _| !["last-used", "last-status", "last-worked", "requests"].contains(&field.as_str()));
            fields["credential"].as_object_mut().unwrap().remove("accepted");
        }
        let mut journal: Value = serde_json::from_str(&read("state/ledger.json")).unwrap();
        let authorities = journal["authorities"].take().to_string();
        let [authorities, bundle] = [authorities, read("state/ca-bundle.pem")].map(|text| digest(&text));
        let state = json!({
            "list": list,
            "config": read("config.toml"),
            "journal": journal,
            "authorities": authorities,
            "items": self.items(),
            "bundle": bundle,
        });
        serde_json::to_string_pretty(&state)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Waits until changes interrupted by a full disk are completed, and returns the state.
    fn settled(&self) -> Vec<String> {
        poll::wait_for("pending changes to complete", || {
            let snapshot = self.snapshot();
            let says = |text: &str| snapshot.iter().any(|line| line.contains(text));
            (says("\"pending\": []") && !says("\"rotations\"")).then_some(snapshot)
        })
    }

    fn names(&self) -> Vec<String> {
        let list = self.daemon.ctl(&["list"]).succeeds().json;
        let registries = list["registries"].as_array().unwrap().iter();
        registries
            .map(|registry| registry["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Items in the vault, decrypted by `age -d`, without the keys of authorities and the bindings of the tokens that it has.
    fn items(&self) -> Value {
        let state = self.home().join("state");
        let mut age = exec::command("age", &state);
        age.args(["-d", "-i", "vault-identity.txt", "vault.age"])
            .current_dir(&state);
        let opened = exec::run(&mut age).succeeds().stdout;
        let mut items: Map<String, Value> = serde_json::from_str(&opened).unwrap();
        let names: Vec<String> = items.keys().cloned().collect();
        let has = |token: &str| names.iter().any(|name| name == token);
        items.retain(|name, _| !name.starts_with("authority:") && !name.strip_prefix("binding:").is_some_and(has));
        Value::Object(items)
    }

    #[track_caller]
    fn assert_served(&self, token: &str) {
        let answer = Curl::new().behind(&self.daemon).get(&self.registry.url("/corp/"));
        assert_eq!(answer.status, 200, "{}", answer.body());
        let sent = self.registry.requests().pop().unwrap().header("authorization");
        assert_eq!(sent, Some(format!("Bearer {token}")));
    }
}

/// Asserts that both are equal and prints the differing lines only.
#[track_caller]
fn assert_same(before: &[String], after: &[String], when: &str) {
    let [lost, come] = [(before, after), (after, before)].map(|(one, other)| {
        let only_in_one = one.iter().filter(|line| !other.contains(line));
        only_in_one.collect::<Vec<_>>()
    });
    assert!(before == after, "{when}: {lost:#?} became {come:#?}");
}

/// Hash of a long text, for comparison without printing it.
fn digest(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:x} of {} bytes", hasher.finish(), text.len())
}

fn message(ctl: &Ctl) -> &str {
    ctl.json["err"]["message"].as_str().unwrap_or_default()
}

fn hint(ctl: &Ctl) -> &str {
    ctl.json["err"]["hint"].as_str().unwrap_or_default()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
