//! The programs of this workspace, as they are built from the sources that are here, and those that `tests/run` gets from
//! package registries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::exec;

/// Where `regauthd` or `regauthctl` is. It is built first: an old one would prove nothing. Those of another build, such as a
/// release, are in the folder that `REGAUTH_PROGRAMS` names.
///
/// # Panics
/// With cargo's words, when it cannot be built.
pub fn binary(name: &str) -> PathBuf {
    let given = || std::env::var_os("REGAUTH_PROGRAMS").map(PathBuf::from);
    let program = FOLDER.get_or_init(|| given().unwrap_or_else(build)).join(name);
    assert!(program.exists(), "{} has not been built", program.display());
    program
}

/// From now on the programs are those in this folder, which somebody else has built.
///
/// # Panics
/// When a program has been asked for already.
pub fn use_those_in(folder: &Path) {
    FOLDER.set(folder.to_owned()).expect("the first to name a folder");
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Where a program is that Debian does not have, such as `python/bin/uv`.
///
/// # Panics
/// When it has not been installed.
pub fn tool(path: &str) -> PathBuf {
    let program = built().with_file_name("test-tools").join(path);
    assert!(
        program.exists(),
        "{} is not there: `tests/run provide` installs it",
        program.display()
    );
    program
}

/// Builds the programs beside us, where they mostly are already, and says where that is.
fn build() -> PathBuf {
    let folder = built();
    let mut build = Command::new(env!("CARGO"));
    build
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--exclude",
            "regauth-bench",
            "--target-dir",
        ])
        .arg(folder.parent().unwrap())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    exec::run(&mut build).succeeds();
    folder
}

/// The folder of what is built: we are target/debug/deps/scenarios-….
fn built() -> PathBuf {
    let ours = std::env::current_exe().unwrap();
    ours.ancestors().nth(2).unwrap().to_owned()
}
