//! Files of grants and of the journal: any content gives an error or a value that survives a write and a read.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use regauthd::grant::Grants;
use regauthd::journal::Journal;
use tempfile::TempDir;

/// Folder in memory if possible, so that the disk does not limit the rate.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap());

fuzz_target!(|bytes: &[u8]| {
    let file = FOLDER.path().join("state.json");
    fs::write(&file, bytes).unwrap();
    if let Ok((grants, _)) = Grants::read(&file) {
        assert!(grants.find_by_token(b"").is_none() && grants.find_by_token(bytes).is_none());
        grants.write(&file).unwrap();
        let (again, old) = Grants::read(&file).unwrap();
        assert!(old.is_none());
        let terms = |grants: &Grants| grants.valid().map(|grant| grant.terms.clone()).collect::<Vec<_>>();
        assert_eq!(terms(&again), terms(&grants));
    }
    fs::write(&file, bytes).unwrap();
    if let Ok((ledger, _)) = Journal::read(&file) {
        ledger.write(&file).unwrap();
        let (again, old) = Journal::read(&file).unwrap();
        assert!(again == ledger && old.is_none());
    }
});
