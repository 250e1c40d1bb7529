//! Files that a start reads: journal, grants, configuration.

use std::io;
use std::path::{Path, PathBuf};

use regauth_shared::paths::Folders;

use crate::atomic;
use crate::config::{Config, ConfigFile, INITIAL};
use crate::control::state::StateLock;
use crate::credential::store::StoreKind;
use crate::daemon::error::StartError;
use crate::grant::Grants;
use crate::home;
use crate::journal::Journal;
use crate::schema::StateError;

/// State of earlier runs.
pub(super) struct PersistedState {
    pub(super) state: StateLock,
    pub(super) grants: Grants,
}

/// Reads journal and grants. Writes migrated files only after both were read, so that a file of a newer release leaves
/// everything unchanged.
pub(super) fn read_state(folders: &Folders, ephemeral: bool) -> Result<PersistedState, StartError> {
    if ephemeral {
        return Ok(PersistedState {
            state: StateLock::new(Journal::default(), false),
            grants: Grants::default(),
        });
    }
    let (journal_file, grants_file) = (folders.journal(), folders.grants());
    // Every start writes both.
    let journal_was_lost = !journal_file.exists() && folders.bundle().exists();
    let (journal, outdated_journal) = Journal::read(&journal_file)?;
    let (grants, outdated_grants) = Grants::read(&grants_file)?;
    if let Some(outdated) = outdated_journal {
        let migrated = outdated.back_up().and_then(|()| journal.write(&journal_file));
        migrated.map_err(|error| StateError::Unreadable(journal_file, error))?;
    }
    if let Some(outdated) = outdated_grants {
        let migrated = outdated.back_up().and_then(|()| grants.write(&grants_file));
        migrated.map_err(|error| StateError::Unreadable(grants_file, error))?;
    }
    Ok(PersistedState {
        state: StateLock::new(journal, journal_was_lost),
        grants,
    })
}

/// Reads the configuration of the folders, or of `--config`. Creates the file if it is missing, unless the daemon is
/// ephemeral.
pub(super) fn read_config(
    folders: &Folders,
    named: Option<PathBuf>,
    ephemeral: bool,
) -> Result<(PathBuf, Config), StartError> {
    let file = named.unwrap_or_else(|| folders.config_file());
    let config = read_config_file(&file, ephemeral)?;
    Ok((file, config))
}

fn read_config_file(file: &Path, ephemeral: bool) -> Result<Config, StartError> {
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

/// Records the kind of store in the configuration, so that later starts use the same one.
pub(super) fn record_store(file: &Path, config: &Config, kind: StoreKind, ephemeral: bool) -> Result<bool, StartError> {
    if ephemeral || config.store.is_some() {
        return Ok(false);
    }
    let unusable = |error| StartError::ConfigFile(file.to_path_buf(), error);
    let text = std::fs::read_to_string(file).map_err(unusable)?;
    let mut document = ConfigFile::parse(&text).map_err(|problems| StartError::Config(file.to_path_buf(), problems))?;
    document.set_store(kind);
    atomic::write(file, document.to_string().as_bytes(), 0o600).map_err(unusable)?;
    Ok(true)
}
