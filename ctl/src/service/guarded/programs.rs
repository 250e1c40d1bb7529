//! Programs that the guarded service runs, and that the installation runs as users.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use crate::error;
use crate::service::find_regauthd;

/// Programs that only root can change.
pub(super) struct Programs {
    pub(super) regauthd: PathBuf,
    pub(super) regauthctl: PathBuf,
}

impl Programs {
    /// Finds both programs.
    ///
    /// # Errors
    /// `refused` if a user other than root can change one. A changed daemon can give away its tokens.
    pub(super) fn find() -> Result<Self, ErrorBody> {
        let regauthctl = std::env::current_exe().map_err(error::io("cannot find regauthctl's own program"))?;
        let programs = Self {
            regauthd: safe_program(&find_regauthd()?)?,
            regauthctl: safe_program(&regauthctl)?,
        };
        Ok(programs)
    }
}

/// Canonical path of a program.
fn safe_program(program: &Path) -> Result<PathBuf, ErrorBody> {
    let path = program
        .canonicalize()
        .map_err(error::io(format!("cannot find {}", program.display())))?;
    let is_changeable = |part: &&Path| {
        let metadata = part.symlink_metadata();
        metadata.is_ok_and(|metadata| metadata.uid() != 0 || metadata.mode() & OTHERS_WRITE != 0)
    };
    match path.ancestors().find(is_changeable) {
        None => Ok(path),
        Some(part) => Err(error::refused(format!(
            "users other than root can change {}, and a changed daemon can give away its tokens",
            part.display()
        ))
        .hint(format!(
            "install the programs where only root can write: sudo install --mode=755 --target-directory=/usr/local/bin {}; \
             then repeat with /usr/local/bin/regauthctl",
            path.parent().unwrap_or(Path::new("/")).join("{regauthd,regauthctl,cargo-credential-regauth}").display()
        ))),
    }
}

const OTHERS_WRITE: u32 = 0o022;
