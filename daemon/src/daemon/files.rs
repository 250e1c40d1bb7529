//! The files of ours and of a person's, as a start finds them.

use std::io;
use std::path::Path;

use regauth_shared::paths::Folders;

use crate::atomic;
use crate::config::{Config, ConfigFile, INITIAL};
use crate::credential::store::StoreKind;
use crate::daemon::error::StartError;
use crate::grant::Grants;
use crate::home;
use crate::journal::Journal;
use crate::schema::StateError;

/// What is remembered.
pub(super) struct Remembered {
    pub(super) ledger: Journal,
    pub(super) grants: Grants,
}

/// Reads the files of ours; older forms are moved on once all of them are understood.
pub(super) fn remembered(folders: &Folders, ephemeral: bool) -> Result<Remembered, StartError> {
    if ephemeral {
        return Ok(Remembered {
            ledger: Journal::default(),
            grants: Grants::default(),
        });
    }
    let (ledger_file, grants_file) = (folders.journal(), folders.grants());
    let (ledger, old_ledger) = Journal::read(&ledger_file)?;
    let (grants, old_grants) = Grants::read(&grants_file)?;
    if let Some(old) = old_ledger {
        let moved = old.keep().and_then(|()| ledger.write(&ledger_file));
        moved.map_err(|error| StateError::Unreadable(ledger_file, error))?;
    }
    if let Some(old) = old_grants {
        let moved = old.keep().and_then(|()| grants.write(&grants_file));
        moved.map_err(|error| StateError::Unreadable(grants_file, error))?;
    }
    Ok(Remembered { ledger, grants })
}

/// Reads the configuration; where there is none, a first one is written.
pub(super) fn read_config(file: &Path, ephemeral: bool) -> Result<Config, StartError> {
    let unusable = |error| StartError::ConfigFile(file.to_path_buf(), error);
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !ephemeral {
                atomic::write(file, INITIAL.as_bytes(), 0o600).map_err(unusable)?;
            }
            INITIAL.to_owned()
        }
        Err(error) => return Err(unusable(error)),
    };
    home::check_file(file)?;
    Config::read(&text).map_err(|problems| StartError::Config(file.to_path_buf(), problems))
}

/// The choice of the first start stays until a person changes it.
pub(super) fn record_store(file: &Path, config: &Config, kind: StoreKind, ephemeral: bool) -> Result<(), StartError> {
    if ephemeral || config.store.is_some() {
        return Ok(());
    }
    let unusable = |error| StartError::ConfigFile(file.to_path_buf(), error);
    let text = std::fs::read_to_string(file).map_err(unusable)?;
    let mut document = ConfigFile::parse(&text).map_err(|problems| StartError::Config(file.to_path_buf(), problems))?;
    document.set_store(kind);
    atomic::write(file, document.to_string().as_bytes(), 0o600).map_err(unusable)
}
