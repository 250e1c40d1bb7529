//! What the daemon remembers besides the configuration: generations, authorities, and what it was about to do.
//!
//! No secret is in it. A secret and the configuration cannot be written in one step, so the ledger holds the intent: a
//! name is noted as pending before its secret is written or its registry forgotten, and the configuration decides. After
//! a kill, a pending name that the configuration has is done, and one that it has not is undone, secret and all. A rotation
//! is noted likewise, and the secret that the store has decides. A move to another store is noted before the first secret
//! is copied, and until the last copy is deleted from the store that lost them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use regauth_shared::{RegistryName, Secret};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::authority::Certificates;
use crate::credential::Value;
use crate::credential::fingerprint::{Fingerprint, KnownGeneration};
use crate::credential::store::{Item, StoreKind};
use crate::schema::{Old, SchemaVersion, StateError};

/// The ledger's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Registries whose addition or removal has begun.
    #[serde(default)]
    pub pending: BTreeSet<RegistryName>,
    /// The generation of each registry's stored credential.
    #[serde(default)]
    pub registries: BTreeMap<RegistryName, JournalEntry>,
    /// Rotations that have begun: whether the store has the new credential, its mark tells.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rotations: BTreeMap<RegistryName, Rotation>,
    /// The last generation of each credential that comes from a file or a program, so that its number goes on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sourced: BTreeMap<RegistryName, Rotation>,
    /// The certificates of each host's authority; its key is in the store.
    #[serde(default)]
    pub authorities: BTreeMap<String, Certificates>,
    /// Until all secrets are in one store and in no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Moving>,
}

/// What is remembered of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// Counts up at every rotation, from 1.
    pub generation: u64,
    /// When it was stored.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

impl JournalEntry {
    /// That of a first credential.
    pub fn first() -> Self {
        Self {
            generation: 1,
            since: OffsetDateTime::now_utc(),
        }
    }

    /// What is remembered of a value.
    pub(crate) fn of(value: &Value) -> Self {
        Self {
            generation: value.number,
            since: value.since,
        }
    }

    /// The value that it is the record of, given its secret.
    pub(crate) fn value(self, secret: Secret) -> Value {
        Value {
            number: self.generation,
            since: self.since,
            secret,
            lifetime: None,
        }
    }
}

/// A generation that is about to be stored, or that a source gave last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// What its record is, or will be.
    pub record: JournalEntry,
    /// Of the credential, salted with the record's moment.
    pub mark: Fingerprint,
}

impl From<&Rotation> for KnownGeneration {
    fn from(rotation: &Rotation) -> Self {
        Self {
            number: rotation.record.generation,
            since: rotation.record.since,
            fingerprint: rotation.mark,
        }
    }
}

/// A move from one store to another that has begun. Which of the two is the store, the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moving {
    /// Where the secrets were.
    pub from: StoreKind,
    /// Where they go.
    pub to: StoreKind,
    /// Whether the new store has them all, each compared with the old one's.
    pub whole: bool,
    /// What one of the two is going to lose.
    pub items: BTreeSet<Item>,
}

impl Journal {
    /// Reads the ledger; a missing one is empty. What was of an older form comes with it.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be read, is damaged, or is from a newer release.
    pub fn read(file: &Path) -> Result<(Self, Option<Old>), StateError> {
        let (ledger, old) = FORM.read(file)?;
        Ok((ledger.unwrap_or_default(), old))
    }

    /// The record of a credential that the store gave back. Where a rotation was interrupted, it tells which one this is.
    pub fn settle(&mut self, name: &RegistryName, secret: &Secret) -> Option<JournalEntry> {
        if let Some(rotation) = self.rotations.remove(name)
            && rotation.mark == Fingerprint::of(secret, rotation.record.since)
        {
            self.registries.insert(name.clone(), rotation.record);
        }
        self.registries.get(name).copied()
    }

    /// Writes it; a kill leaves the old one or the new one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        FORM.write(file, self)
    }
}

const FORM: SchemaVersion = SchemaVersion {
    // The second form names the release that wrote it, and is otherwise the first.
    steps: &[|_| {}],
    without: "clients that run now must be started again",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.json");
        assert_eq!(Journal::read(&file).unwrap().0, Journal::default());
        let mut ledger = Journal::default();
        let name: RegistryName = "corp".parse().unwrap();
        ledger.pending.insert(name.clone());
        ledger.registries.insert(
            name,
            JournalEntry {
                generation: 3,
                since: OffsetDateTime::UNIX_EPOCH,
            },
        );
        ledger.write(&file).unwrap();
        assert_eq!(Journal::read(&file).unwrap().0, ledger);
    }

    #[test]
    fn the_secret_decides_whether_an_interrupted_rotation_has_happened() {
        let name: RegistryName = "corp".parse().unwrap();
        let [old, new] = ["old", "new"].map(|text| Secret::parse(text).unwrap());
        let since = OffsetDateTime::UNIX_EPOCH;
        for (stored, generation) in [(&old, 1), (&new, 2)] {
            let mut ledger = Journal::default();
            let record = JournalEntry { generation: 1, since };
            ledger.registries.insert(name.clone(), record);
            let record = JournalEntry { generation: 2, since };
            let mark = Fingerprint::of(&new, since);
            ledger.rotations.insert(name.clone(), Rotation { record, mark });
            assert_eq!(ledger.settle(&name, stored).unwrap().generation, generation);
            assert!(ledger.rotations.is_empty());
        }
    }

    #[test]
    fn a_newer_or_damaged_ledger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.json");
        for (text, says) in [
            (r#"{"version":3,"new":1}"#, "newer"),
            ("{", "damaged"),
            (r#"{"version":2,"x":1}"#, "damaged"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = Journal::read(&file).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
