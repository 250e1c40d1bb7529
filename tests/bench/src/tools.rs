//! Builds and locates the programs of the benchmark: regauthd, the hudsucker program and the load generator.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Builds packages of the workspace in release mode and returns the folder of the programs.
pub(crate) fn release_build(packages: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked"])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .arg("--target-dir")
        .arg(target());
    run(&mut build)?;
    Ok(target().join("release"))
}

/// Builds the regauthd that counts its allocations and returns its path.
pub(crate) fn allocation_counting_daemon() -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "regauth-bench",
            "--bin",
            COUNTED,
        ])
        .arg("--target-dir")
        .arg(target());
    run(&mut build)?;
    Ok(target().join("debug").join(COUNTED))
}

/// Builds the hudsucker program, which is not a member of the workspace, and returns its path.
pub(crate) fn hudsucker() -> anyhow::Result<PathBuf> {
    let folder = cache_folder().join("hudsucker");
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("hudsucker/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder);
    run(&mut build)?;
    Ok(folder.join("release/bench-hudsucker"))
}

/// Finds the load generator in `PATH`, or installs [`OHA_VERSION`] into the target folder.
pub(crate) fn oha() -> anyhow::Result<PathBuf> {
    if let Some(found) = find_in_path("oha") {
        return Ok(found);
    }
    let program = cache_folder().join("bin/oha");
    if !program.exists() {
        let mut install = cargo();
        install
            .args(["install", "oha", "--locked", "--version", OHA_VERSION, "--root"])
            .arg(cache_folder());
        run(&mut install)?;
    }
    Ok(program)
}

/// Finds a program in `PATH`.
pub(crate) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Folder for tools and generated data, which later runs use again.
pub(crate) fn cache_folder() -> PathBuf {
    target().join("bench-tools")
}

/// Target folder of this build: this program is `target/debug/bench-all`.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(2).unwrap().to_owned()
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed with {status}");
    Ok(())
}

const COUNTED: &str = "counted-regauthd";

/// Version of oha that is installed if `PATH` has none.
pub(crate) const OHA_VERSION: &str = "1.16.0";
