//! The keychain store against a real gnome-keyring on a session bus of its own.
//!
//! Each test runs itself again under `dbus-run-session`, with a private bus that activates no services and with temporary
//! folders. `secret-tool` lists the items as a user sees them.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod session;

use std::process::Command;
use std::time::{Duration, Instant};

use regauth_shared::Secret;
use regauthd::credential::store::keychain::KeychainStore;
use regauthd::credential::store::worker::{Deadlines, StoreThread};
use regauthd::credential::store::{Item, Store, StoreError};

use self::session::{
    INSIDE, again, assert_passed, in_session, is_locked, lock_login, lookup, secret_tool, store_by_hand, text,
};

const SERVICE: &str = "regauth@/a/test";
const PASSWORD: &str = "the keyring's";

#[test]
fn stores_items_that_secret_tool_finds() {
    in_session("stores_items_that_secret_tool_finds", |session| {
        let _keyring = session.start_keyring(Some(PASSWORD));
        let mut store = open();
        assert!(store.read(&corp()).unwrap().is_none());
        store.check().unwrap();
        store.write(&corp(), &secret("one")).unwrap();
        store.write(&corp(), &secret("two")).unwrap();
        store.write(&authority(), &secret("key")).unwrap();
        assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "two");
        assert_eq!(lookup("corp"), "two");
        assert_eq!(lookup("authority:corp.example"), "key");
        let all = text(&secret_tool(&["search", "--all", "service", SERVICE]));
        assert_eq!(all.matches("label = ").count(), 2, "{all}");
        assert!(all.contains("label = regauth@/a/test: token for corp"), "{all}");

        store.delete(&corp()).unwrap();
        store.delete(&corp()).unwrap();
        assert!(store.read(&corp()).unwrap().is_none());
        assert_eq!(lookup("corp"), "");
        assert_eq!(lookup("authority:corp.example"), "key");
    });
}

#[test]
fn stores_the_longest_secret_unchanged() {
    in_session("stores_the_longest_secret_unchanged", |session| {
        let _keyring = session.start_keyring(Some(PASSWORD));
        let printable: String = ('!'..='~').cycle().take(16 * 1024).collect();
        open().write(&corp(), &secret(&printable)).unwrap();
        assert_eq!(open().read(&corp()).unwrap().unwrap().expose(), printable);
        assert_eq!(lookup("corp"), printable);
    });
}

#[test]
fn reads_and_replaces_an_item_stored_by_hand_unless_it_is_no_token() {
    in_session(
        "reads_and_replaces_an_item_stored_by_hand_unless_it_is_no_token",
        |session| {
            let _keyring = session.start_keyring(Some(PASSWORD));
            let mut store = open();
            store_by_hand("default", "by hand");
            assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "by hand");
            store.write(&corp(), &secret("ours")).unwrap();
            assert_eq!(lookup("corp"), "ours");
            store_by_hand("default", "canary\nbird");
            let error = store.read(&corp()).unwrap_err().to_string();
            assert!(error.contains("several lines") && !error.contains("canary"), "{error}");
        },
    );
}

#[test]
fn reports_a_locked_keyring_without_a_prompt() {
    in_session("reports_a_locked_keyring_without_a_prompt", |session| {
        let _keyring = session.start_keyring(Some(PASSWORD));
        let prompts = session.watch_prompts();
        let mut used = open();
        used.write(&corp(), &secret("one")).unwrap();
        lock_login();
        for mut store in [used, open()] {
            assert_eq!(store.check(), Err(StoreError::Locked));
            assert_eq!(store.read(&corp()).unwrap_err(), StoreError::Locked);
            assert_eq!(store.read(&authority()).unwrap_err(), StoreError::Locked);
            assert_eq!(store.write(&corp(), &secret("two")), Err(StoreError::Locked));
            assert_eq!(store.write(&authority(), &secret("two")), Err(StoreError::Locked));
            assert_eq!(store.delete(&corp()), Err(StoreError::Locked));
        }
        assert_eq!(prompts.shown(), 0);

        // Nothing on this bus shows prompts; the service treats that as a dismissal.
        assert_eq!(open().unlock(None), Err(StoreError::Locked));
        assert_eq!(prompts.shown(), 1);
    });
}

#[test]
fn opens_a_keyring_without_a_password_unattended() {
    in_session("opens_a_keyring_without_a_password_unattended", |session| {
        session.make_keyring_without_password();
        let keyring = session.start_keyring(None);
        open().write(&corp(), &secret("one")).unwrap();
        drop(keyring);
        for call in ["check", "read", "unlock"] {
            let _keyring = session.start_keyring(None);
            let prompts = session.watch_prompts();
            assert!(is_locked());
            let mut store = open();
            match call {
                "check" => store.check().unwrap(),
                "read" => drop(store.read(&corp()).unwrap()),
                _ => store.unlock(None).unwrap(),
            }
            assert!(!is_locked());
            assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one");
            assert_eq!(prompts.shown(), 0);
        }
    });
}

#[test]
fn works_again_after_the_keyring_was_killed_and_restarted() {
    in_session("works_again_after_the_keyring_was_killed_and_restarted", |session| {
        let keyring = session.start_keyring(Some(PASSWORD));
        let mut store = open();
        store.write(&corp(), &secret("one")).unwrap();

        drop(keyring);
        for error in [store.check().unwrap_err(), store.read(&corp()).unwrap_err()] {
            assert_unavailable(&error, "no Secret Service");
        }

        let keyring = session.start_keyring(Some(PASSWORD));
        assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one");

        // The same without a call between kill and restart that could notice the kill.
        drop(keyring);
        let keyring = session.start_keyring(Some(PASSWORD));
        store.write(&corp(), &secret("two")).unwrap();
        drop(keyring);
        let _keyring = session.start_keyring(Some(PASSWORD));
        assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "two");
    });
}

#[test]
fn reports_a_hung_keyring_and_recovers() {
    in_session("reports_a_hung_keyring_and_recovers", |session| {
        let keyring = session.start_keyring(Some(PASSWORD));
        let mut used = open();
        used.write(&corp(), &secret("one")).unwrap();
        let mut fresh = open();
        keyring.signal("STOP");
        for store in [&mut used, &mut fresh] {
            assert_eq!(store.read(&corp()).unwrap_err(), StoreError::NoAnswer);
        }
        keyring.signal("CONT");
        for store in [&mut used, &mut fresh] {
            assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one");
        }
    });
}

#[test]
fn does_not_block_the_runtime_when_the_keyring_hangs() {
    in_session("does_not_block_the_runtime_when_the_keyring_hangs", |session| {
        let keyring = session.start_keyring(Some(PASSWORD));
        let deadlines = Deadlines {
            usual: Duration::from_secs(1),
            ..Deadlines::default()
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = StoreThread::new(|| Box::new(open()), deadlines);
        runtime.block_on(async {
            store.write(&corp(), &secret("one")).await.unwrap();
            assert_eq!(store.read(&corp()).await.unwrap().unwrap().expose(), "one");
            keyring.signal("STOP");
            assert_eq!(store.read(&corp()).await.unwrap_err(), StoreError::NoAnswer);
        });
        let began = Instant::now();
        drop((store, runtime));
        assert!(began.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn reports_a_keyring_without_a_default_collection() {
    in_session("reports_a_keyring_without_a_default_collection", |session| {
        let _keyring = session.start_keyring(None);
        assert_unavailable(&open().check().unwrap_err(), "no default collection");
        assert_unavailable(
            &open().write(&corp(), &secret("one")).unwrap_err(),
            "no default collection",
        );
    });
}

#[test]
fn reports_two_items_of_one_name_and_deletes_both() {
    in_session("reports_two_items_of_one_name_and_deletes_both", |session| {
        let _keyring = session.start_keyring(Some(PASSWORD));
        let mut store = open();
        store.write(&corp(), &secret("one")).unwrap();
        store_by_hand("session", "two");
        let error = store.read(&corp()).unwrap_err().to_string();
        assert!(error.contains("2 items"), "{error}");
        store.delete(&corp()).unwrap();
        assert!(store.read(&corp()).unwrap().is_none());
        assert_eq!(lookup("corp"), "");
    });
}

#[test]
fn reports_a_missing_bus_as_unavailable() {
    let name = "reports_a_missing_bus_as_unavailable";
    if std::env::var_os(INSIDE).is_some() {
        return assert_unavailable(&open().check().unwrap_err(), "no D-Bus session bus");
    }
    let folder = tempfile::tempdir().unwrap();
    for address in [None, Some("unix:path=/nowhere/bus"), Some("nonsense")] {
        let mut itself = again(name, Command::new(std::env::current_exe().unwrap()), folder.path());
        itself.env_remove("DBUS_SESSION_BUS_ADDRESS");
        itself.envs(address.map(|address| ("DBUS_SESSION_BUS_ADDRESS", address)));
        assert_passed(&itself.output().unwrap());
    }
}

fn open() -> KeychainStore {
    KeychainStore::new(SERVICE.to_owned())
}

fn corp() -> Item {
    Item::Credential("corp".parse().unwrap())
}

fn authority() -> Item {
    Item::AuthorityKey("corp.example".parse().unwrap())
}

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

fn assert_unavailable(error: &StoreError, why: &str) {
    assert!(
        matches!(error, StoreError::Unavailable(what) if what.contains(why)),
        "{error}"
    );
}
