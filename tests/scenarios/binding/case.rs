//! Daemon with a registry whose token is bound, and the edits of its configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use regauth_tests::certificates::{Authority, concatenate};
use regauth_tests::ctl::{self, Ctl};
use regauth_tests::curl::{Curl, Response};
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::keyring::Keyring;
use regauth_tests::mock_server::MockServer;
use regauth_tests::terminal::Terminal;
use regauth_tests::{exec, poll};
use serde_json::{Value, json};

use super::{PASSPHRASE, TOKEN};

/// Settings of a daemon whose store is this keychain.
pub(super) fn in_keyring(daemon: Builder, keyring: &Keyring) -> Builder {
    daemon
        .without_store_flag()
        .config("store = \"keychain\"\n")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
}

/// Daemon with a registry, whose token is stored, and another host.
pub(super) struct Case {
    pub(super) daemon: Daemon,
    pub(super) registry: MockServer,
    pub(super) elsewhere: MockServer,
    /// Issues both certificates.
    pub(super) root: Authority,
    pub(super) ca_file: PathBuf,
}

impl Case {
    pub(super) fn start() -> Self {
        Self::start_with(|daemon| daemon.store("vault"))
    }

    pub(super) fn start_with(build: impl FnOnce(Builder) -> Builder) -> Self {
        let root = Authority::new("Public Root");
        let [registry, elsewhere] = [(); 2].map(|()| MockServer::builder(&root, "localhost").start());
        let daemon = build(Daemon::builder()).start();
        let ca_file = daemon.home().join("root.pem");
        fs::copy(root.file(), &ca_file).unwrap();
        let (scope, ca) = (registry.url("/corp/"), ca_file.to_str().unwrap().to_owned());
        let add = ctl::add_scope("corp", &scope, &ca);
        daemon.ctl_with_input(&add, TOKEN).succeeds();
        registry.clear_requests();
        Self {
            daemon,
            registry,
            elsewhere,
            root,
            ca_file,
        }
    }

    /// The registry's own scope, as a change.
    pub(super) fn scope(&self) -> String {
        format!("it sends its token to {}", self.registry.url("/corp/"))
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.daemon.home().join("config.toml")
    }

    pub(super) fn config(&self) -> String {
        fs::read_to_string(self.config_file()).unwrap()
    }

    /// Replaces the last occurrence of a text in the configuration's part about registries.
    pub(super) fn edit(&self, from: &str, to: &str) {
        let text = self.config();
        let (before, after) = text.rsplit_once(from).unwrap();
        fs::write(self.config_file(), format!("{before}{to}{after}")).unwrap();
    }

    pub(super) fn replace_line(&self, key: &str, line: &str) {
        let text = self.config();
        let lines = text.lines().map(|old| if old.starts_with(key) { line } else { old });
        fs::write(
            self.config_file(),
            lines.map(|line| format!("{line}\n")).collect::<String>(),
        )
        .unwrap();
    }

    /// A file with the root and another one.
    pub(super) fn two_roots(&self) -> PathBuf {
        let file = self.daemon.home().join("two-roots.pem");
        let both = concatenate(&[&self.root.file(), &Authority::new("Other").file()]);
        fs::copy(&both, &file).unwrap();
        file
    }

    pub(super) fn reload_finds(&self, changes: &[&str]) -> Value {
        self.daemon.ctl(&["reload"]).succeeds();
        assert_eq!(self.changes(), json!(changes));
        json!(changes)
    }

    pub(super) fn changes(&self) -> Value {
        let changes = self.daemon.ctl(&["show", "corp"]).json["changes"].clone();
        if changes.is_null() { json!([]) } else { changes }
    }

    pub(super) fn confirm(&self, token: &str) -> Ctl {
        self.daemon.ctl_with_input(&["confirm", "corp", "--token-stdin"], token)
    }

    pub(super) fn confirm_after_reload(&self, token: &str) {
        self.daemon.ctl(&["reload"]).succeeds();
        self.confirm(token).succeeds();
    }

    pub(super) fn get(&self, path: &str) -> Response {
        Curl::new().behind(&self.daemon).get(&self.registry.url(path))
    }

    pub(super) fn put(&self) -> Response {
        let curl = Curl::new().behind(&self.daemon).with(&["--request", "PUT"]);
        curl.get(&self.registry.url("/corp/"))
    }

    /// Authorization header that the registry gets.
    pub(super) fn sent(&self, path: &str) -> Option<String> {
        assert_eq!(self.get(path).status, 200);
        self.registry.requests().pop().unwrap().header("authorization")
    }

    /// Authorization header that the other host gets.
    pub(super) fn received(&self, path: &str) -> Option<String> {
        let bundle = concatenate(&[&self.daemon.bundle(), &self.root.file()]);
        let curl = Curl::new().proxy(&self.daemon.proxy()).trusts(&bundle);
        assert_eq!(curl.get(&self.elsewhere.url(path)).status, 200);
        let last = self.elsewhere.requests().pop().unwrap();
        self.elsewhere.clear_requests();
        assert_eq!(last.header("x-key"), None);
        last.header("authorization")
    }

    pub(super) fn wait_for_state(&self, state: &str) {
        poll::wait_for(state, || {
            let shown = self.daemon.ctl(&["show", "corp"]).json["credential"]["state"].clone();
            (shown == state).then_some(())
        });
    }

    /// Makes the journal that of a release without bindings.
    pub(super) fn make_journal_old(&self) {
        let journal = self.daemon.home().join("state/ledger.json");
        let text = fs::read_to_string(&journal)
            .unwrap()
            .replace("\"version\": 3", "\"version\": 2");
        assert!(text.contains("\"version\": 2"));
        fs::write(&journal, text).unwrap();
    }

    /// Writes the vault's key, as the person could with the passphrase.
    pub(super) fn write_key_of_passphrase(&self) {
        let state = self.daemon.home().join("state");
        let mut decrypt = exec::command("age", &state);
        decrypt
            .args(["-d", "-o", "vault-identity.txt", "vault-identity.age"])
            .current_dir(&state);
        let mut terminal = Terminal::start(&decrypt);
        terminal.read_until("passphrase");
        terminal.type_without_echo(PASSPHRASE);
        let (output, status) = terminal.finish();
        assert!(status.success(), "{output}");
        fs::set_permissions(state.join("vault-identity.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Decrypts the vault, changes its items, encrypts it again.
    pub(super) fn change_vault(&self, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
        let state = self.daemon.home().join("state");
        let (key, vault) = (state.join("vault-identity.txt"), state.join("vault.age"));
        let mut decrypt = exec::command("age", &state);
        decrypt.args(["-d", "-i"]).arg(&key).arg(&vault).stdin(Stdio::null());
        let mut items = serde_json::from_str(&exec::run(&mut decrypt).succeeds().stdout).unwrap();
        change(&mut items);
        let plain = state.join("plain.json");
        fs::write(&plain, serde_json::to_string(&items).unwrap()).unwrap();
        let mut encrypt = exec::command("age", &state);
        encrypt.args(["-e", "-i"]).arg(&key).arg("-o").arg(&vault).arg(&plain);
        exec::run(encrypt.stdin(Stdio::null())).succeeds();
        fs::remove_file(plain).unwrap();
    }
}
