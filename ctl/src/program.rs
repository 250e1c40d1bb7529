//! Programs, ours and others: where they lie.

use std::path::{Path, PathBuf};

/// The program of this name in the folder of this one.
pub(crate) fn beside_us(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(name))
}

/// The program of this name that a shell would start.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    folders
        .map(|folder| folder.join(name))
        .find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}

/// What cargo calls our provider when it finds it by itself.
pub(crate) const PROVIDER: &str = "cargo-credential-regauth";
