//! Names of the items in a store, read without the daemon so that a test need not trust it.

use serde_json::Value;

use crate::daemon::Daemon;
use crate::exec;
use crate::keyring::Keyring;

/// Names of the items in the daemon's vault, decrypted by the `age` command.
///
/// # Panics
/// When `age` cannot decrypt the vault.
pub fn in_vault(daemon: &Daemon) -> Vec<String> {
    let state = daemon.home().join("state");
    if !state.join("vault.age").exists() {
        return Vec::new();
    }
    let mut age = exec::command("age", daemon.home());
    age.args(["-d", "-i", "vault-identity.txt", "vault.age"])
        .current_dir(state);
    let items: Value = serde_json::from_str(&exec::run(&mut age).succeeds().stdout).unwrap();
    items.as_object().unwrap().keys().cloned().collect()
}

/// Names of the daemon's items in the keyring, listed by `secret-tool`.
pub fn in_keyring(keyring: &Keyring, daemon: &Daemon) -> Vec<String> {
    let service = format!("regauth@{}", daemon.home().display());
    let found = keyring.secret_tool(&["search", "--all", "service", &service], "");
    let output = format!("{}{}", found.stdout, found.stderr);
    let mut items: Vec<String> = output
        .lines()
        .filter_map(|line| line.strip_prefix("attribute.username = "))
        .map(str::to_owned)
        .collect();
    items.sort();
    items
}
