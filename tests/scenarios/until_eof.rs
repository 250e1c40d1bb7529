//! `regauthd --until-eof` removes what it made and nothing else, however it ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::programs::binary;
use tempfile::TempDir;

/// Runs a daemon whose standard input is at its end.
fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut daemon = exec::command(binary("regauthd"), home);
    daemon
        .args(["--ephemeral", "--until-eof", "--home"])
        .arg(home)
        .args(arguments);
    exec::run(&mut daemon)
}

/// Private folder with a file of its owner.
fn precious() -> TempDir {
    let home = TempDir::new().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(home.path().join("precious"), "mine").unwrap();
    home
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_failed_start_leaves_the_home_as_it_was() {
    for arguments in [
        &["--listen", "192.0.2.1:1"][..],
        &["--listen", "127.0.0.1:0", "--config", "/dev/null/missing"],
    ] {
        let home = precious();
        run(home.path(), arguments).fails();
        assert_eq!(entries(home.path()), ["precious"], "{arguments:?}");
    }
    let home = precious();
    fs::write(home.path().join("config.toml"), "no TOML").unwrap();
    run(home.path(), &["--listen", "127.0.0.1:0"]).fails();
    assert_eq!(entries(home.path()), ["config.toml", "precious"]);
}

#[test]
fn a_folder_that_the_daemon_refuses_stays() {
    let home = precious();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    run(home.path(), &["--listen", "127.0.0.1:0"]).fails().says("chmod 700");
    assert_eq!(entries(home.path()), ["precious"]);
}

#[test]
fn a_run_that_ends_leaves_files_of_others_and_takes_its_own() {
    let home = precious();
    fs::create_dir(home.path().join("state")).unwrap();
    fs::set_permissions(home.path().join("state"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(home.path().join("state/ca-bundle.pem"), "of another time").unwrap();
    run(home.path(), &["--listen", "127.0.0.1:0"]).succeeds();
    assert_eq!(entries(home.path()), ["precious", "state"]);
    assert_eq!(entries(&home.path().join("state")), ["ca-bundle.pem"]);
    assert_eq!(
        fs::read_to_string(home.path().join("state/ca-bundle.pem")).unwrap(),
        "of another time"
    );

    let empty = TempDir::new().unwrap();
    fs::set_permissions(empty.path(), fs::Permissions::from_mode(0o700)).unwrap();
    run(empty.path(), &["--listen", "127.0.0.1:0"]).succeeds();
    assert!(entries(empty.path()).is_empty(), "{:?}", entries(empty.path()));

    let missing = empty.path().join("a/b");
    run(&missing, &["--listen", "127.0.0.1:0"]).succeeds();
    assert!(entries(empty.path()).is_empty(), "{:?}", entries(empty.path()));

    let link = empty.path().join("link");
    symlink(home.path(), &link).unwrap();
    run(&link, &["--listen", "127.0.0.1:0"]).succeeds();
    assert_eq!(entries(home.path()), ["precious", "state"]);
    assert!(link.is_symlink());
}

#[test]
fn the_home_of_a_running_daemon_stays() {
    let daemon = Daemon::start();
    let before = entries(daemon.home());
    run(daemon.home(), &["--listen", "127.0.0.1:0"])
        .fails()
        .says("another regauthd");
    assert_eq!(entries(daemon.home()), before);
    daemon.ctl(&["status"]).succeeds();
}
