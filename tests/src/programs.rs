//! Paths of the programs of this workspace, and of the tools that `tests/run` installs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::exec;

/// Path of a program of this workspace, such as `regauthd`. The first call builds all of them from the current sources.
///
/// The environment variable `REGAUTH_PROGRAMS` names a folder of programs to test instead, such as a release.
///
/// # Panics
/// When the build fails; the message has cargo's output.
pub fn binary(name: &str) -> PathBuf {
    let given = || std::env::var_os("REGAUTH_PROGRAMS").map(PathBuf::from);
    let program = FOLDER.get_or_init(|| given().unwrap_or_else(build)).join(name);
    assert!(program.exists(), "{} is not built", program.display());
    program
}

/// Uses the programs in this folder and builds none.
///
/// # Panics
/// After the first call of [`binary`].
pub fn use_those_in(folder: &Path) {
    FOLDER
        .set(folder.to_owned())
        .expect("the folder is set before its first use");
}

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Path of an installed tool that Debian does not package, such as `python/bin/uv`.
///
/// # Panics
/// When it is not installed.
pub fn tool(path: &str) -> PathBuf {
    let program = built().with_file_name("test-tools").join(path);
    assert!(
        program.exists(),
        "{} is missing; install it: tests/run provide",
        program.display()
    );
    program
}

/// Builds the programs into the target folder of this test and returns their folder.
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

/// Folder of the built programs, two levels above this test: `target/debug/deps/scenarios-…`.
fn built() -> PathBuf {
    let ours = std::env::current_exe().unwrap();
    ours.ancestors().nth(2).unwrap().to_owned()
}
