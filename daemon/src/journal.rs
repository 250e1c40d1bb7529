//! Journal of the daemon: generations, authorities, and changes that have begun. The file is `ledger.json`; it holds no
//! secret.
//!
//! A secret and the configuration cannot be written in one step, so the journal records the intent first:
//!
//! - A name is pending before its secret is written or its registry is removed. After a kill, the configuration
//!   decides: a pending name in it is done, a pending name not in it is undone, with its secret.
//! - A rotation is recorded before its secret is written. After a kill, the secret in the store decides.
//! - A migration to another store is recorded before the first secret is copied, until the last copy is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use regauth_shared::{RegistryName, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use crate::authority::Certificates;
use crate::credential::Value;
use crate::credential::fingerprint::{Fingerprint, KnownGeneration};
use crate::credential::store::{Item, StoreKind};
use crate::schema::{OutdatedFile, SchemaVersion, StateError};

/// Content of the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Registries whose addition or removal has begun.
    #[serde(default)]
    pub pending: BTreeSet<RegistryName>,
    /// Generation of each stored credential.
    #[serde(default)]
    pub registries: BTreeMap<RegistryName, JournalEntry>,
    /// Rotations that have begun. The fingerprint shows if the store has the new credential.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rotations: BTreeMap<RegistryName, Rotation>,
    /// Stored credentials of a release without bindings. Each is bound to the configuration once, when it is read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unbound: BTreeSet<RegistryName>,
    /// Last generation of each credential from a file or command, so that its number survives a restart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sourced: BTreeMap<RegistryName, Rotation>,
    /// Definers of a guarded daemon's registries. A name that root has defined stays after its removal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub definers: BTreeMap<RegistryName, Definer>,
    /// Certificates of each host's authority. The key is in the store.
    #[serde(default)]
    pub authorities: BTreeMap<String, Certificates>,
    /// Migration to another store, until all secrets are in one store only.
    #[serde(default, rename = "moving", skip_serializing_if = "Option::is_none")]
    pub store_migration: Option<StoreMigration>,
}

/// Generation of a credential, without its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// Number, from 1; each rotation adds one.
    pub generation: u64,
    /// Time when it was stored.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

impl JournalEntry {
    /// Entry of a first credential, stored now.
    pub fn first() -> Self {
        Self {
            generation: 1,
            since: OffsetDateTime::now_utc(),
        }
    }

    /// Entry of a credential value.
    pub(crate) fn of(value: &Value) -> Self {
        Self {
            generation: value.number,
            since: value.since,
        }
    }

    /// Credential value of this entry and its secret.
    pub(crate) fn value(self, secret: Secret) -> Value {
        Value {
            number: self.generation,
            since: self.since,
            secret,
            lifetime: None,
        }
    }
}

/// Definer of a guarded daemon's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Definer {
    /// Root, by a command or in the configuration file.
    Root,
    /// A served user, whose programs can do the same.
    User,
}

/// Generation that is about to be stored, or that a source returned last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Entry of the generation.
    #[serde(rename = "record")]
    pub entry: JournalEntry,
    /// Fingerprint of the secret, salted with the time of the entry.
    #[serde(rename = "mark")]
    pub fingerprint: Fingerprint,
}

impl From<&Rotation> for KnownGeneration {
    fn from(rotation: &Rotation) -> Self {
        Self {
            number: rotation.entry.generation,
            since: rotation.entry.since,
            fingerprint: rotation.fingerprint,
        }
    }
}

/// Migration from one store to another. The configuration says which of the two is current.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreMigration {
    /// Old store.
    pub from: StoreKind,
    /// New store.
    pub to: StoreKind,
    /// True once the new store has every secret, each compared with the old one.
    #[serde(rename = "whole")]
    pub copied: bool,
    /// Items to delete from the store that is not current.
    pub items: BTreeSet<Item>,
}

impl Journal {
    /// Reads the journal; a missing file gives an empty one. The second value is the file's old text if it was
    /// migrated.
    ///
    /// # Errors
    /// [`StateError`] if the file cannot be read, is damaged, or is of a newer release.
    pub fn read(file: &Path) -> Result<(Self, Option<OutdatedFile>), StateError> {
        let (journal, outdated) = SCHEMA.read(file)?;
        Ok((journal.unwrap_or_default(), outdated))
    }

    /// Entry of a secret that the store returned. Settles an interrupted rotation by the secret's fingerprint.
    pub fn settle_rotation(&mut self, name: &RegistryName, secret: &Secret) -> Option<JournalEntry> {
        if let Some(rotation) = self.rotations.remove(name)
            && rotation.fingerprint == Fingerprint::of(secret, rotation.entry.since)
        {
            self.registries.insert(name.clone(), rotation.entry);
        }
        self.registries.get(name).copied()
    }

    /// Records a stored credential whose entry was lost, and returns the entry. Its number was lost as well. The time in
    /// seconds is above every number that rotations can have reached, so numbers never go back.
    pub fn recover(&mut self, name: &RegistryName) -> JournalEntry {
        let entry = JournalEntry {
            generation: recovered_number(),
            ..JournalEntry::first()
        };
        self.registries.insert(name.clone(), entry);
        entry
    }

    /// Writes the journal atomically.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        SCHEMA.write(file, self)
    }
}

/// Number of a generation whose predecessors are unknown.
pub(crate) fn recovered_number() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(1)
}

const SCHEMA: SchemaVersion = SchemaVersion {
    // Version 2 added the release, which is outside the content.
    migrations: &[|_| {}, list_unbound],
    if_lost: "clients that run now must be started again",
};

/// Version 3 added the bindings, which older releases have not stored.
fn list_unbound(content: &mut Map<String, Json>) {
    let named = ["registries", "sourced"].map(|key| content.get(key).and_then(Json::as_object));
    let names = named.into_iter().flatten().flat_map(Map::keys).cloned();
    let unbound: BTreeSet<String> = names.collect();
    content.insert("unbound".to_owned(), unbound.into_iter().map(Json::from).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_journal_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.json");
        assert_eq!(Journal::read(&file).unwrap().0, Journal::default());
        let mut journal = Journal::default();
        let name: RegistryName = "corp".parse().unwrap();
        journal.pending.insert(name.clone());
        journal.registries.insert(
            name,
            JournalEntry {
                generation: 3,
                since: OffsetDateTime::UNIX_EPOCH,
            },
        );
        journal.write(&file).unwrap();
        assert_eq!(Journal::read(&file).unwrap().0, journal);
    }

    #[test]
    fn the_stored_secret_settles_an_interrupted_rotation() {
        let name: RegistryName = "corp".parse().unwrap();
        let [old, new] = ["old", "new"].map(|text| Secret::parse(text).unwrap());
        let since = OffsetDateTime::UNIX_EPOCH;
        for (stored, generation) in [(&old, 1), (&new, 2)] {
            let mut journal = Journal::default();
            let entry = JournalEntry { generation: 1, since };
            journal.registries.insert(name.clone(), entry);
            let entry = JournalEntry { generation: 2, since };
            let fingerprint = Fingerprint::of(&new, since);
            journal.rotations.insert(name.clone(), Rotation { entry, fingerprint });
            assert_eq!(journal.settle_rotation(&name, stored).unwrap().generation, generation);
            assert!(journal.rotations.is_empty());
        }
    }

    #[test]
    fn the_credentials_of_an_older_release_are_to_be_bound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.json");
        let entry = r#"{"generation":1,"since":"1970-01-01T00:00:00Z"}"#;
        let old = format!(
            r#"{{"version":2,"registries":{{"corp":{entry}}},"sourced":{{"login":{{"record":{entry},"mark":7}}}}}}"#
        );
        std::fs::write(&file, old).unwrap();
        let names = ["corp", "login"].map(|name| name.parse().unwrap());
        assert_eq!(Journal::read(&file).unwrap().0.unbound, names.into());
    }

    #[test]
    fn refuses_a_newer_or_damaged_journal() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.json");
        for (text, says) in [
            (r#"{"version":4,"new":1}"#, "newer"),
            ("{", "damaged"),
            (r#"{"version":2,"x":1}"#, "damaged"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = Journal::read(&file).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
