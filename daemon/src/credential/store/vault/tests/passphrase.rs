//! Tests of passphrases and of the change of keys that each new one is.

use super::*;

#[test]
fn a_passphrase_locks_it_until_it_is_given() {
    let home = Home::new();
    let mut store = home.open();
    store.write(&corp(), &secret("one")).unwrap();
    store.seal(None, &secret("open sesame")).unwrap();
    assert_eq!(home.files(), ["vault-identity.age", "vault.age"]);
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one");

    let mut store = home.open();
    assert!(store.protection().contains("passphrase"));
    assert_eq!(store.check(), Err(StoreError::Locked));
    assert_eq!(store.read(&corp()).unwrap_err(), StoreError::Locked);
    assert_eq!(store.write(&corp(), &secret("two")), Err(StoreError::Locked));
    assert_eq!(store.seal(None, &secret("another")), Err(StoreError::Locked));
    let present = secret("open sesame");
    assert_eq!(store.seal(Some(&present), &secret("another")), Err(StoreError::Locked));
    assert_eq!(store.unlock(None), Err(StoreError::Locked));
    assert_eq!(store.unlock(Some(&secret("guess"))), Err(StoreError::WrongPassphrase));
    assert_eq!(store.check(), Err(StoreError::Locked));
    store.unlock(Some(&secret("open sesame"))).unwrap();
    store.write(&corp(), &secret("two")).unwrap();
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "two");

    store.seal(Some(&present), &secret("another")).unwrap();
    let mut store = home.open();
    assert_eq!(store.unlock(Some(&present)), Err(StoreError::WrongPassphrase));
    store.unlock(Some(&secret("another"))).unwrap();
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "two");
}

/// Any program of the user can ask the daemon, which has the vault open.
#[test]
fn an_open_vault_gets_another_passphrase_only_with_the_present_one() {
    let home = Home::new();
    let mut store = home.open();
    store.write(&corp(), &secret("one")).unwrap();
    assert_eq!(store.verify_passphrase(None), Ok(()), "it has none yet");
    let present = secret("open sesame");
    store.seal(None, &present).unwrap();
    let files = || [home.folders.vault(), home.folders.vault_identity_sealed()].map(|file| fs::read(file).unwrap());
    let before = files();
    for (given, error) in [
        (None, StoreError::PassphraseNeeded),
        (Some(secret("guess")), StoreError::WrongPassphrase),
    ] {
        assert_eq!(store.verify_passphrase(given.as_ref()), Err(error.clone()));
        assert_eq!(store.seal(given.as_ref(), &secret("of a thief")), Err(error));
    }
    assert!(files() == before);
    // A key of the thief's own, in place of the vault's.
    let foreign = Key::generate().seal(&secret("of a thief"), 2).unwrap();
    fs::write(home.folders.vault_identity_sealed(), foreign).unwrap();
    let refused = store.verify_passphrase(Some(&secret("of a thief")));
    assert_eq!(refused, Err(StoreError::WrongPassphrase));
    fs::write(home.folders.vault_identity_sealed(), &before[1]).unwrap();
    assert_eq!(store.verify_passphrase(Some(&present)), Ok(()));
    store.seal(Some(&present), &secret("another")).unwrap();
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one");
}

#[test]
fn a_damaged_sealed_key_is_not_a_wrong_passphrase() {
    let home = Home::new();
    let mut store = home.open();
    store.seal(None, &secret("open sesame")).unwrap();
    let path = home.folders.vault_identity_sealed();
    let sealed = fs::read(&path).unwrap();
    let foreign = Key::encrypt(&[&Key::generate()], b"").unwrap();
    for bytes in [&sealed[..sealed.len() - 1], &sealed[..40], b"", &foreign] {
        fs::write(&path, bytes).unwrap();
        let message = failure(home.open().unlock(Some(&secret("open sesame"))));
        assert!(message.contains("does not open"), "{message}");
    }
}

#[test]
fn a_new_passphrase_makes_a_new_key_and_old_keys_open_no_later_vault() {
    let home = Home::new();
    let mut store = home.open();
    store.write(&corp(), &secret("one")).unwrap();
    let mut old = vec![home.open().load_key().unwrap().unwrap()];
    for (present, new) in [(None, "open sesame"), (Some(secret("open sesame")), "another")] {
        store.seal(present.as_ref(), &secret(new)).unwrap();
        old.push(store.load_key().unwrap().unwrap());
        let (current, former) = old.split_last().unwrap();
        let vault = fs::read(home.folders.vault()).unwrap();
        assert!(current.decrypt(&vault).is_ok());
        assert_eq!(key::recipients(&vault), 1);
        for key in former {
            assert!(matches!(key.decrypt(&vault), Err(DecryptError::NoMatchingKeys)));
        }
    }
    // A copy of the first key beside the vault changes nothing.
    atomic::write(&home.folders.vault_identity(), old[0].to_text().as_bytes(), PRIVATE).unwrap();
    let mut store = home.open();
    store.unlock(Some(&secret("another"))).unwrap();
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one");
}

#[test]
fn an_empty_vault_gets_its_passphrase_before_its_first_secret() {
    let home = Home::new();
    home.open().seal(None, &secret("open sesame")).unwrap();
    assert_eq!(home.files(), ["vault-identity.age"]);
    let mut store = home.open();
    store.unlock(Some(&secret("open sesame"))).unwrap();
    store.write(&corp(), &secret("one")).unwrap();
    assert_eq!(home.files(), ["vault-identity.age", "vault.age"]);
}

/// A change of keys has four steps; each case has done this many of them.
#[test]
fn a_change_of_keys_that_was_killed_opens_with_one_key_and_the_next_unlock_finishes_it() {
    for steps in 0..=4 {
        let home = Home::new();
        home.open().write(&corp(), &secret("one")).unwrap();
        let first = home.open().load_key().unwrap().unwrap();
        let plain = fs::read(home.folders.vault()).unwrap();
        let second = Key::generate();
        let secrets = first.decrypt(&plain).unwrap();
        if steps > 0 {
            let both = Key::encrypt(&[&first, &second], &secrets).unwrap();
            atomic::write(&home.folders.vault(), &both, PRIVATE).unwrap();
        }
        if steps > 1 {
            let sealed = second.seal(&secret("open sesame"), 2).unwrap();
            atomic::write(&home.folders.vault_identity_sealed(), &sealed, PRIVATE).unwrap();
        }
        if steps > 2 {
            atomic::remove(&home.folders.vault_identity()).unwrap();
        }
        if steps > 3 {
            let one = Key::encrypt(&[&second], &secrets).unwrap();
            atomic::write(&home.folders.vault(), &one, PRIVATE).unwrap();
        }
        let mut store = home.open();
        store.unlock(Some(&secret("open sesame"))).unwrap();
        assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one", "{steps}");
        if steps > 1 {
            assert_eq!(home.files(), ["vault-identity.age", "vault.age"], "{steps}");
            let vault = fs::read(home.folders.vault()).unwrap();
            assert_eq!(key::recipients(&vault), 1, "{steps}");
            assert!(first.decrypt(&vault).is_err(), "{steps}");
        }
        store.write(&corp(), &secret("two")).unwrap();
        assert_eq!(key::recipients(&fs::read(home.folders.vault()).unwrap()), 1, "{steps}");
    }
}

#[test]
fn a_plain_key_of_another_vault_stays() {
    let home = Home::new();
    let mut store = home.open();
    store.write(&corp(), &secret("one")).unwrap();
    store.seal(None, &secret("open sesame")).unwrap();
    let foreign = Key::generate().to_text();
    atomic::write(&home.folders.vault_identity(), foreign.as_bytes(), PRIVATE).unwrap();
    home.open().unlock(Some(&secret("open sesame"))).unwrap();
    assert_eq!(home.files(), ["vault-identity.age", "vault-identity.txt", "vault.age"]);
}
