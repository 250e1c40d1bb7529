//! The names of everything that a store keeps, as others than the daemon find them: it need not be believed.

use serde_json::Value;

use crate::daemon::Daemon;
use crate::exec;
use crate::keyring::Keyring;

/// Those in the daemon's vault, by the `age` command.
///
/// # Panics
/// When it does not open the vault.
pub fn in_vault(daemon: &Daemon) -> Vec<String> {
    let state = daemon.home().join("state");
    if !state.join("vault.age").exists() {
        return Vec::new();
    }
    let mut age = exec::command("age", daemon.home());
    age.args(["-d", "-i", "vault-identity.txt", "vault.age"])
        .current_dir(state);
    let opened: Value = serde_json::from_str(&exec::run(&mut age).succeeds().stdout).unwrap();
    opened.as_object().unwrap().keys().cloned().collect()
}

/// Those of the daemon in the keyring, by `secret-tool`.
pub fn in_keyring(keyring: &Keyring, daemon: &Daemon) -> Vec<String> {
    let service = format!("regauth@{}", daemon.home().display());
    let found = keyring.secret_tool(&["search", "--all", "service", &service], "");
    let said = format!("{}{}", found.stdout, found.stderr);
    let mut items: Vec<String> = said
        .lines()
        .filter_map(|line| line.strip_prefix("attribute.username = "))
        .map(str::to_owned)
        .collect();
    items.sort();
    items
}
