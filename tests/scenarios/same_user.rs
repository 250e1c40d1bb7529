//! Ways of a hostile program of the daemon's own user to a token, as SECURITY.md's table has them. Each fails or succeeds as
//! the table says, so a way that is closed, or a new one, changes this file and the table together.

use std::fs;
use std::process::Stdio;

use regauth_tests::certificates::{Authority, concatenate};
use regauth_tests::ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::mock_server::MockServer;

const TOKEN: &str = "t0ken-that-a-program-wants";
const PASSPHRASE: &str = "correct horse battery staple";

#[test]
fn a_vault_with_its_key_in_a_file_is_read_and_one_under_a_passphrase_is_not() {
    let mut case = Case::start();
    assert!(case.reads_vault());
    let set = ["unlock", "--set-passphrase", "--passphrase-stdin"];
    case.daemon.ctl_with_input(&set, PASSPHRASE).succeeds();
    assert!(!case.reads_vault());
    // The daemon has the vault open, and gives its tokens to no program that lacks the passphrase.
    case.daemon.ctl_with_input(&set, "of the program itself").exits(8);
    case.daemon.ctl(&["store", "move", "keychain"]).exits(8);
    let unlock = ["unlock", "--passphrase-stdin"];
    case.daemon.restart();
    case.daemon.ctl_with_input(&unlock, PASSPHRASE).succeeds();
}

#[test]
fn regauthctl_sends_the_token_to_another_host_only_with_the_token_itself() {
    let case = Case::start();
    let (scope, shared, ca) = (
        case.elsewhere.url("/scope/"),
        case.elsewhere.url("/shared/"),
        case.root.file(),
    );
    let options = ["--no-verify", "--ca-file", ca.to_str().unwrap()];
    let copy = ["add-registry", "copy", "--credential-of", "corp", "--scope", &shared];
    for way in [&["add-scope", "corp", &scope][..], &[&copy[..], &options].concat()] {
        let refused = case.daemon.ctl(way).exits(8);
        assert_eq!(refused.json["err"]["kind"], "presence-needed", "{}", refused.json);
        case.daemon
            .ctl_with_input(&[way, &["--token-stdin"]].concat(), "a-guess")
            .exits(8);
    }
    assert!(!case.sends_token_to("/scope/") && !case.sends_token_to("/shared/"));
    let list = case.daemon.ctl(&["list"]).json["registries"].to_string();
    assert!(!list.contains(&case.elsewhere.authority()), "{list}");
}

#[test]
fn a_changed_configuration_sends_no_token_to_another_host() {
    let mut case = Case::start();
    let file = case.daemon.home().join("config.toml");
    let (mine, theirs) = (case.registry.url("/corp/"), case.elsewhere.url("/edited/"));
    let text = fs::read_to_string(&file).unwrap();
    let copy = format!(
        "\n[registries.copy]\nscopes = [\"{}\"]\ncredential-of = \"corp\"\nca-file = {:?}\n",
        case.elsewhere.url("/copy/"),
        case.root.file()
    );
    let changed = text.replace(&format!("\"{mine}\""), &format!("\"{mine}\", \"{theirs}\"")) + &copy;
    fs::write(&file, changed).unwrap();
    case.daemon.ctl(&["reload"]).succeeds();
    assert!(!case.sends_token_to("/edited/"));
    assert!(!case.is_served("/copy/"), "a registry of its own is refused");
    case.daemon.restart();
    assert!(!case.sends_token_to("/edited/"));
    assert!(!case.is_served("/copy/"));
}

/// A process that can write the store can forge a binding, so the vault's key belongs elsewhere.
#[test]
fn a_vault_with_its_key_in_a_file_takes_a_forged_binding() {
    let mut case = Case::start();
    case.daemon.stop();
    case.rewrite_vault(|plain| plain.replace("/corp/", "/"));
    let file = case.daemon.home().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("/corp/", "/")).unwrap();
    case.daemon.restart();
    let shown = case.daemon.ctl(&["show", "corp"]).succeeds().json;
    assert!(shown["changes"].is_null(), "{shown}");
}

#[test]
fn regauthctl_opens_writes() {
    let case = Case::start();
    let put = || {
        let curl = Curl::new().behind(&case.daemon).with(&["--request", "PUT"]);
        curl.get(&case.registry.url("/corp/")).status
    };
    assert_eq!(put(), 403);
    case.daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    assert_eq!(put(), 200);
}

/// Daemon with its vault, a registry, and a host of the attacker.
struct Case {
    daemon: Daemon,
    registry: MockServer,
    elsewhere: MockServer,
    /// Issues both certificates, as a public authority would.
    root: Authority,
}

impl Case {
    fn start() -> Self {
        let root = Authority::new("Public Root");
        let [registry, elsewhere] = [(); 2].map(|()| MockServer::builder(&root, "localhost").start());
        let daemon = Daemon::builder().store("vault").start();
        let (scope, ca) = (registry.url("/corp/"), root.file());
        let add = ctl::add_scope("corp", &scope, ca.to_str().unwrap());
        daemon.ctl_with_input(&add, TOKEN).succeeds();
        Self {
            daemon,
            registry,
            elsewhere,
            root,
        }
    }

    /// Decrypts the vault with what lies in the state folder.
    fn reads_vault(&self) -> bool {
        let state = self.daemon.home().join("state");
        let mut age = exec::command("age", &state);
        age.args(["-d", "-i"]).arg(state.join("vault-identity.txt"));
        age.arg(state.join("vault.age")).stdin(Stdio::null());
        exec::run(&mut age).stdout.contains(TOKEN)
    }

    /// Decrypts the vault, changes its text, and encrypts it again.
    fn rewrite_vault(&self, change: impl FnOnce(String) -> String) {
        let state = self.daemon.home().join("state");
        let (key, vault, plain) = (
            state.join("vault-identity.txt"),
            state.join("vault.age"),
            state.join("plain"),
        );
        let mut age = exec::command("age", &state);
        age.args(["-d", "-i"]).arg(&key).arg(&vault).stdin(Stdio::null());
        fs::write(&plain, change(exec::run(&mut age).succeeds().stdout)).unwrap();
        let mut age = exec::command("age", &state);
        age.args(["-e", "-i"]).arg(&key).arg("-o").arg(&vault).arg(&plain);
        exec::run(age.stdin(Stdio::null())).succeeds();
        fs::remove_file(plain).unwrap();
    }

    /// True if a request for a page of the attacker's host arrives there.
    fn is_served(&self, path: &str) -> bool {
        let bundle = concatenate(&[&self.daemon.bundle(), &self.root.file()]);
        let curl = Curl::new().proxy(&self.daemon.proxy()).trusts(&bundle);
        curl.get(&self.elsewhere.url(path)).status == 200
    }

    /// Requests a page of the attacker's host through the proxy.
    fn sends_token_to(&self, path: &str) -> bool {
        let bundle = concatenate(&[&self.daemon.bundle(), &self.root.file()]);
        let curl = Curl::new().proxy(&self.daemon.proxy()).trusts(&bundle);
        assert_eq!(curl.get(&self.elsewhere.url(path)).status, 200);
        let sent = self.elsewhere.requests().pop().unwrap().header("authorization");
        sent == Some(format!("Bearer {TOKEN}"))
    }
}
