//! systemd units of the packages and of `regauthctl service`, checked by the real systemd.

use std::fs;
use std::path::{Path, PathBuf};

use regauth_tests::exec::{self, Output};
use regauth_tests::privilege::{require, require_root};
use regauth_tests::programs::binary;
use tempfile::TempDir;

#[test]
fn systemd_accepts_every_unit() {
    for (scope, manager) in [("user", "--user"), ("system", "--system"), ("guarded", "--system")] {
        let units = units(scope);
        let files = fs::read_dir(&units).unwrap().map(|file| file.unwrap().path());
        let mut verify = exec::command("systemd-analyze", units.path());
        verify.env("XDG_RUNTIME_DIR", units.path());
        let verified = exec::run(verify.args([manager, "--man=no", "verify"]).args(files)).succeeds();
        assert_eq!(verified.stderr.trim(), "", "{scope}");
    }
}

#[test]
fn the_services_of_the_machine_meet_their_security_scores() {
    for (scope, threshold) in [("system", 12), ("guarded", 14)] {
        let units = units(scope);
        let mut security = exec::command("systemd-analyze", units.path());
        security.args(["security", "--offline=yes", &format!("--threshold={threshold}")]);
        security.arg(units.path().join("regauthd.service"));
        exec::run(&mut security).succeeds();
    }
}

#[test]
fn a_service_is_installed_restarted_under_load_and_uninstalled_without_leftovers() {
    run_lifecycle("source");
}

#[test]
fn a_guarded_service_takes_over_the_registries_of_its_users_and_leads_back() {
    run_lifecycle("guarded");
}

/// Runs a case of the script `packaging/lifecycle`, which has the steps and the expected results.
fn run_lifecycle(case: &str) {
    let can_boot = || boot(&packaging(""), &["/bin/true"]).status.success();
    if !require_root("a throw-away root file system") || !require(can_boot(), "namespaces and control groups") {
        return;
    }
    let fixture = TempDir::new().unwrap();
    let bin = fixture.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for program in ["regauthd", "regauthctl", "cargo-credential-regauth"] {
        exec::copy_program(&binary(program), &bin.join(program));
    }
    fs::copy(packaging("lifecycle"), fixture.path().join("lifecycle")).unwrap();
    let output = boot(fixture.path(), &["/bin/bash", "/test/lifecycle", case, "/test/bin"]).succeeds();
    assert!(
        output.stdout.ends_with("== lifecycle test passed\n"),
        "{}",
        output.report()
    );
}

/// Runs a command in a booted throw-away copy of this machine's root, with `folder` as `/test`.
fn boot(folder: &Path, command: &[&str]) -> Output {
    let mut boot = exec::command(packaging("boot"), folder);
    exec::run(boot.arg("/").arg(folder).args(command))
}

/// Units with the path of the program under test.
fn units(scope: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in fs::read_dir(packaging("systemd").join(scope)).unwrap() {
        let file = file.unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        let text = text.replace("@USERS@", "1000");
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
