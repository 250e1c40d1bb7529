//! The user's home and configuration folders.
//!
//! Own code instead of `etcetera`: git, pip, npm and cargo accept relative paths in these variables, and `etcetera`
//! ignores them.

use std::ffi::OsStr;
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

/// The user's `.npmrc`: `npm_config_userconfig`, or `~/.npmrc`.
///
/// # Errors
/// Neither `npm_config_userconfig` nor `HOME` is set.
pub(crate) fn npmrc() -> Result<PathBuf, ErrorBody> {
    npm_variable("userconfig").map_or_else(|| Ok(home()?.join(".npmrc")), Ok)
}

/// Absolute path from a variable of npm. npm reads `npm_config_…` in any case; the last non-empty one counts.
fn npm_variable(setting: &str) -> Option<PathBuf> {
    let names = |name: &OsStr| {
        let name = name.to_string_lossy().to_ascii_lowercase();
        name.strip_prefix("npm_config_") == Some(setting)
    };
    let variables = std::env::vars_os().filter(|(name, value)| names(name) && !value.is_empty());
    std::path::absolute(variables.last()?.1).ok()
}

/// Absolute path from an environment variable; `None` if the variable is unset or empty.
pub(crate) fn path_variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    std::path::absolute(value).ok()
}
