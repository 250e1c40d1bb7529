//! Changes of one registry that overlap: a rotation or a logout while the registry is replaced or the store is moved.
#![cfg(target_os = "linux")]

use std::fs;
use std::thread;

use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::held_server::HeldServer;
use regauth_tests::keyring::Keyring;
use regauth_tests::store_items;
use regauth_tests::system_shim::SystemShim;
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "t0ken-in-use";
const NEW: &str = "t0ken-of-the-rotation";

fn add(daemon: &Daemon, name: &str, server: &HeldServer, path: &str, more: &[&str]) {
    let location = server.location(path);
    let location: Vec<&str> = location.iter().map(String::as_str).collect();
    let arguments = [&["add-registry", name, "--no-verify"], &location[..], more].concat();
    let with_token = more.contains(&"--token-stdin");
    daemon
        .ctl_with_input(&arguments, if with_token { TOKEN } else { "" })
        .succeeds();
}

fn rotate(daemon: &Daemon, name: &str) -> Ctl {
    daemon.ctl_with_input(&["rotate", name, "--token-stdin", "--no-verify"], NEW)
}

fn log_out(daemon: &Daemon, name: &str) -> Value {
    daemon.request(json!({ "method": "logout", "name": name }))
}

fn sent_to(daemon: &Daemon, server: &HeldServer, path: &str) -> Vec<String> {
    Curl::new().behind(daemon).get(&server.url(path));
    server.arrivals(path)
}

#[test]
fn a_registry_that_is_replaced_during_a_rotation_or_a_logout_keeps_its_own_token() {
    let server = HeldServer::start(&[]);
    let shim = SystemShim::new();
    let mut daemon = shim.load_into(Daemon::builder().store("vault")).start();
    daemon.register_secret("t0ken-of-the-file");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "t0ken-of-the-file").unwrap();
    let source = format!("file:{}", file.display());
    for name in ["corp", "kept"] {
        add(&daemon, name, &server, &format!("/{name}/"), &["--token-stdin"]);
    }
    shim.hold_syncs("vault.age");
    thread::scope(|scope| {
        let rotating = scope.spawn(|| rotate(&daemon, "corp"));
        shim.wait_for_held_sync();
        // It waits for the rotation.
        let logged_out = daemon.start_request(json!({ "method": "logout", "name": "corp" }));
        daemon.ctl(&["remove-registry", "corp"]).succeeds();
        add(&daemon, "corp", &server, "/other/", &["--source", &source]);
        shim.release_syncs();
        let refused = rotating.join().unwrap().exits(1).json["err"].clone();
        assert_eq!(refused["message"], "`corp` was replaced meanwhile");
        let refused = logged_out()["err"].clone();
        assert_eq!(refused["message"], "`corp` was replaced meanwhile");
    });
    assert_eq!(sent_to(&daemon, &server, "/other/a"), ["Bearer t0ken-of-the-file"]);
    daemon.restart();
    assert_eq!(sent_to(&daemon, &server, "/other/b"), ["Bearer t0ken-of-the-file"]);
    let items = store_items::in_vault(&daemon);
    assert!(!items.contains(&"corp".to_owned()), "no token is left over: {items:?}");
}

/// Daemon that moves its secrets from the keychain to the vault, while the test holds the first write to the vault.
fn during_a_move(server: &HeldServer, act: impl FnOnce(&Daemon)) -> (Daemon, Keyring) {
    let keyring = Keyring::start();
    let shim = SystemShim::new();
    let daemon = Daemon::builder()
        .without_store_flag()
        .config("store = \"keychain\"\n")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address());
    let mut daemon = shim.load_into(daemon).start();
    for name in ["first", "last"] {
        add(&daemon, name, server, &format!("/{name}/"), &["--token-stdin"]);
    }
    shim.hold_syncs("vault.age");
    thread::scope(|scope| {
        let moving = scope.spawn(|| daemon.ctl(&["store", "move", "vault"]));
        // The token of `first` has been read by now.
        shim.wait_for_held_sync();
        act(&daemon);
        assert!(!moving.is_finished(), "the new store is slow");
        shim.release_syncs();
        moving.join().unwrap().succeeds();
    });
    daemon.restart();
    (daemon, keyring)
}

#[test]
fn a_token_that_is_rotated_after_its_copy_during_a_move_arrives_in_the_new_store() {
    let server = HeldServer::start(&[]);
    let (daemon, keyring) = during_a_move(&server, |daemon| {
        rotate(daemon, "first").succeeds();
    });
    assert_eq!(sent_to(&daemon, &server, "/first/x"), [format!("Bearer {NEW}")]);
    assert_eq!(sent_to(&daemon, &server, "/last/x"), [format!("Bearer {TOKEN}")]);
    assert_eq!(store_items::in_keyring(&keyring, &daemon), [""; 0]);
}

#[test]
fn a_token_that_is_deleted_after_its_copy_during_a_move_is_in_neither_store() {
    let server = HeldServer::start(&[]);
    let (daemon, keyring) = during_a_move(&server, |daemon| {
        assert_eq!(log_out(daemon, "first")["ok"]["name"], "first");
    });
    let shown = daemon.ctl(&["show", "first"]).succeeds().json;
    assert_eq!(shown["credential"]["state"], "missing", "{shown}");
    assert_eq!(sent_to(&daemon, &server, "/last/x"), [format!("Bearer {TOKEN}")]);
    let items = store_items::in_vault(&daemon);
    assert!(!items.contains(&"first".to_owned()), "{items:?}");
    assert_eq!(store_items::in_keyring(&keyring, &daemon), [""; 0]);
}
