//! What packages and `regauthctl service` put in location, with the real systemd.

use std::fs;
use std::path::{Path, PathBuf};

use regauth_tests::exec::{self, Output};
use regauth_tests::privilege::{require, require_root};
use regauth_tests::programs::binary;
use tempfile::TempDir;

#[test]
fn systemd_understands_every_unit() {
    for (scope, manager) in [("user", "--user"), ("system", "--system")] {
        let units = units(scope);
        let files = fs::read_dir(&units).unwrap().map(|file| file.unwrap().path());
        let mut verify = exec::command("systemd-analyze", units.path());
        verify.env("XDG_RUNTIME_DIR", units.path());
        let verified = exec::run(verify.args([manager, "--man=no", "verify"]).args(files)).succeeds();
        assert_eq!(verified.stderr.trim(), "", "{scope}");
    }
}

#[test]
fn the_machines_service_is_as_closed_as_promised() {
    let units = units("system");
    let mut security = exec::command("systemd-analyze", units.path());
    security.args(["security", "--offline=yes", "--threshold=12"]);
    security.arg(units.path().join("regauthd.service"));
    exec::run(&mut security).succeeds();
}

/// The story tells what is done and expected: `packaging/story`.
#[test]
fn a_service_is_installed_used_restarted_under_load_and_uninstalled_without_a_trace() {
    let can_boot = || boot(&packaging(""), &["/bin/true"]).status.success();
    if !require_root("a throw-away root file system") || !require(can_boot(), "namespaces and control groups") {
        return;
    }
    let stage = TempDir::new().unwrap();
    let bin = stage.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for program in ["regauthd", "regauthctl", "cargo-credential-regauth"] {
        fs::copy(binary(program), bin.join(program)).unwrap();
    }
    fs::copy(packaging("story"), stage.path().join("story")).unwrap();
    let told = boot(stage.path(), &["/bin/bash", "/story/story", "source", "/story/bin"]).succeeds();
    assert!(told.stdout.ends_with("== all is well\n"), "{}", told.report());
}

/// A throw-away copy of this machine's root, with this folder in it as `/story`.
fn boot(folder: &Path, command: &[&str]) -> Output {
    let mut boot = exec::command(packaging("boot"), folder);
    exec::run(boot.arg("/").arg(folder).args(command))
}

/// The units, as they are where the program is where it is.
fn units(scope: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in fs::read_dir(packaging("systemd").join(scope)).unwrap() {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        let program = binary("regauthd").display().to_string();
        fs::write(
            folder.path().join(file.file_name()),
            text.replace("/usr/bin/regauthd", &program),
        )
        .unwrap();
    }
    folder
}

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}
