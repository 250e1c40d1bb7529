//! Finds executables: ours, and clients such as git.

use std::path::PathBuf;

/// Path of the program `name` in the folder of the running executable. The file may be missing.
pub(crate) fn sibling(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(name))
}

/// Path of the program `name` in `PATH`.
///
/// Relative folders in `PATH` are skipped: the current folder may be a stranger's checkout.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    which::which_all_global(name)
        .ok()?
        .find(|program| program.is_absolute())
}

/// Path of `regauthd`: next to the running executable, as every package installs it, else in `PATH`.
pub(crate) fn regauthd() -> Option<PathBuf> {
    let sibling = sibling("regauthd").filter(|program| program.is_file());
    sibling.or_else(|| on_path("regauthd"))
}

/// Name of cargo's credential provider; cargo finds `cargo-credential-*` in `PATH` by itself.
pub(crate) const PROVIDER: &str = "cargo-credential-regauth";
