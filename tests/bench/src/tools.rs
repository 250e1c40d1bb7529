//! The programs that take part: regauthd and its peers, built from source where they are not here yet.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The folder with the release builds of these packages, such as `regauthctl`.
pub(crate) fn released(packages: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked"])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .arg("--target-dir")
        .arg(target());
    run(&mut build)?;
    Ok(target().join("release"))
}

/// The regauthd that counts its allocations, which is built beside us.
pub(crate) fn counted() -> anyhow::Result<PathBuf> {
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

/// The hudsucker program. Its package is no member of the workspace.
pub(crate) fn hudsucker() -> anyhow::Result<PathBuf> {
    let folder = tools().join("hudsucker");
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("hudsucker/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder);
    run(&mut build)?;
    Ok(folder.join("release/bench-hudsucker"))
}

/// The load generator: the one in `PATH`, or one of a known version that is installed below the target folder.
pub(crate) fn oha() -> anyhow::Result<PathBuf> {
    if let Some(found) = in_path("oha") {
        return Ok(found);
    }
    let program = tools().join("bin/oha");
    if !program.exists() {
        let mut install = cargo();
        install
            .args(["install", "oha", "--locked", "--version", OHA, "--root"])
            .arg(tools());
        run(&mut install)?;
    }
    Ok(program)
}

/// A program of this name in `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Where tools and generated data are kept from run to run.
pub(crate) fn tools() -> PathBuf {
    target().join("bench-tools")
}

/// The folder that this program was built in: target/debug/bench-all.
fn target() -> PathBuf {
    let ours = std::env::current_exe().unwrap();
    ours.ancestors().nth(2).unwrap().to_owned()
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

const COUNTED: &str = "counted-regauthd";

/// The version that is installed where there is none.
pub(crate) const OHA: &str = "1.16.0";
