//! The user's home and configuration folders.
//!
//! Own code instead of `etcetera`: git, pip, npm and cargo accept relative paths in these variables, and `etcetera`
//! ignores them.

use std::path::PathBuf;

use regauth_shared::ErrorBody;

use crate::error;

/// Home folder, from `HOME`.
///
/// # Errors
/// `HOME` is not set.
pub(crate) fn home() -> Result<PathBuf, ErrorBody> {
    path_variable("HOME").ok_or_else(|| {
        error::usage("HOME is not set, so the configuration of your programs cannot be found")
            .hint("set HOME to your home folder")
    })
}

/// Configuration folder: `XDG_CONFIG_HOME`, or `~/.config`.
///
/// # Errors
/// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
pub(crate) fn xdg_config() -> Result<PathBuf, ErrorBody> {
    path_variable("XDG_CONFIG_HOME").map_or_else(|| Ok(home()?.join(".config")), Ok)
}

/// Cargo's home folder: `CARGO_HOME`, or `~/.cargo`.
///
/// # Errors
/// Neither `CARGO_HOME` nor `HOME` is set.
pub(crate) fn cargo_home() -> Result<PathBuf, ErrorBody> {
    path_variable("CARGO_HOME").map_or_else(|| Ok(home()?.join(".cargo")), Ok)
}

/// The user's `.npmrc`: `NPM_CONFIG_USERCONFIG`, or `~/.npmrc`.
///
/// # Errors
/// Neither `NPM_CONFIG_USERCONFIG` nor `HOME` is set.
pub(crate) fn npmrc() -> Result<PathBuf, ErrorBody> {
    path_variable("NPM_CONFIG_USERCONFIG").map_or_else(|| Ok(home()?.join(".npmrc")), Ok)
}

/// Absolute path from an environment variable; `None` if the variable is unset or empty.
pub(crate) fn path_variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    std::path::absolute(value).ok()
}
