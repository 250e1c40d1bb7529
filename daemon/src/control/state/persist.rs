//! The controller's files: the ledger and the configuration.

use regauth_shared::{ErrorBody, ErrorKind};

use crate::atomic;
use crate::config::{Config, ConfigFile, Problems};
use crate::control::controller::Controller;
use crate::control::error::{read_error, write_error};
use crate::journal::Journal;

impl Controller {
    /// Writes the ledger.
    pub(crate) fn write_journal(&self, journal: &Journal) -> Result<(), ErrorBody> {
        if !self.persistent {
            return Ok(());
        }
        let file = self.folders.ledger();
        journal.write(&file).map_err(|error| write_error(&file, &error))
    }

    /// Changes the configuration file as it is on disk now, a person's edits and comments included. This is the moment
    /// at which an addition or removal has happened.
    pub(crate) fn edit_config(&self, edit: impl FnOnce(&mut ConfigFile)) -> Result<(), ErrorBody> {
        if !self.persistent {
            return Ok(());
        }
        let file = &self.config_file;
        let text = std::fs::read_to_string(file).map_err(|error| read_error(file, &error))?;
        Config::read(&text).map_err(|problems| self.errors_in_file(&problems))?;
        let mut document = ConfigFile::parse(&text).map_err(|problems| self.errors_in_file(&problems))?;
        edit(&mut document);
        // Nothing is written that the next start would refuse.
        Config::read(&document.to_string()).map_err(|problems| {
            let message = format!("the change does not fit into {}:\n{problems}", file.display());
            ErrorBody::new(ErrorKind::Failed, message)
                .hint("`regauthctl reload` takes in what was written there by hand; correct it, then repeat")
        })?;
        atomic::write(file, document.to_string().as_bytes(), 0o600).map_err(|error| write_error(file, &error))
    }

    /// The configuration as it is on disk now.
    pub(crate) fn read_config(&self) -> Result<Config, ErrorBody> {
        let file = &self.config_file;
        let text = std::fs::read_to_string(file).map_err(|error| read_error(file, &error))?;
        Config::read(&text).map_err(|problems| self.errors_in_file(&problems))
    }

    fn errors_in_file(&self, problems: &Problems) -> ErrorBody {
        let message = format!("{} has errors:\n{problems}", self.config_file.display());
        ErrorBody::new(ErrorKind::Invalid, message)
            .hint("the daemon goes on with the configuration it has; correct the file, then `regauthctl reload`")
    }
}
