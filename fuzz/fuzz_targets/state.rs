//! The files of grants and of what the daemon remembers: what is read is what was written, or an error.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use regauthd::grant::Grants;
use regauthd::ledger::Ledger;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let file = FOLDER.path().join("state.json");
    fs::write(&file, bytes).unwrap();
    if let Ok(grants) = Grants::read(&file) {
        assert!(grants.of(b"").is_none() && grants.of(bytes).is_none());
        grants.write(&file).unwrap();
        let again = Grants::read(&file).unwrap();
        let terms = |grants: &Grants| grants.alive().map(|grant| grant.terms.clone()).collect::<Vec<_>>();
        assert_eq!(terms(&again), terms(&grants));
    }
    fs::write(&file, bytes).unwrap();
    if let Ok(ledger) = Ledger::read(&file) {
        ledger.write(&file).unwrap();
        assert_eq!(Ledger::read(&file).unwrap(), ledger);
    }
});
