//! `regauthctl logs`: the file that standard error is, the journal of a real systemd, and a log that nobody can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::poll;
use regauth_tests::process::Process;
use regauth_tests::programs::binary;
use regauth_tests::systemd::Systemd;
use regauth_tests::tmux::Tmux;
use regauth_tests::user::User;
use tempfile::TempDir;

#[test]
fn logs_prints_the_end_of_the_file_that_standard_error_is() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    let output = user.ctl(&["logs", "-n", "3"]).succeeds();
    assert_eq!(output.stdout.lines().count(), 3, "{}", output.report());
    let lines: Vec<_> = output.stdout.lines().collect();
    let log = daemon.log();
    assert!(lines.iter().all(|line| log.contains(line)), "{}", output.report());
    let object = daemon.ctl(&["logs", "-n", "2"]).succeeds().json;
    assert_eq!(object["lines"].as_array().unwrap().len(), 2);
    assert!(object["source"].as_str().unwrap().ends_with("regauthd.log"), "{object}");
    let both = daemon.ctl(&["logs", "--follow"]);
    assert_eq!(both.exit, 2, "{}", both.output.report());
}

#[test]
fn logs_follows_until_the_person_leaves() {
    let daemon = Daemon::start();
    let terminal = Tmux::start(&User::new(&daemon).command("sh"), 200, 50);
    terminal.run(&format!("{} logs -f -n 1", binary("regauthctl").display()));
    terminal.wait_until("a line", |screen| screen.trim().lines().count() > 1);
    daemon.ctl(&["reload"]).succeeds();
    terminal.wait_for("reload");
    terminal.press(&["C-c"]);
    terminal.wait_until("a prompt", |screen| screen.trim_end().ends_with(['#', '$']));
    terminal.run("echo the next command");
    terminal.wait_for("\nthe next command");
}

#[test]
fn a_log_that_goes_nowhere_is_named() {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let home = folder.path().join("home");
    let mut command = exec::command("sh", folder.path());
    let regauthd = binary("regauthd");
    command.args([
        "-c",
        &format!(
            "exec {} --ephemeral --home {} --listen 127.0.0.1:0 2>/dev/null",
            regauthd.display(),
            home.display()
        ),
    ]);
    let mut daemon = Process::spawn("regauthd", &mut command, &folder.path().join("output"));
    let ctl = |arguments: &[&str]| {
        let mut ctl = exec::command(binary("regauthctl"), folder.path());
        exec::run(ctl.arg("--home").arg(&home).args(arguments))
    };
    daemon.wait_until("regauthctl status", || ctl(&["status"]).status.success().then_some(()));
    ctl(&["logs"])
        .fails()
        .says("writes its log to /dev/null")
        .says("2>>regauthd.log");
    daemon.stop();
    let gone = ctl(&["logs"]).fails();
    assert_eq!(gone.status.code(), Some(3), "{}", gone.report());
}

#[test]
fn logs_of_a_service_are_in_the_journal() {
    let Some(systemd) = Systemd::start() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let regauthd = binary("regauthd");
    let daemon = format!(
        "{} --home {} --ephemeral --listen 127.0.0.1:0",
        regauthd.display(),
        folder.path().join("home").display()
    );
    systemd.unit(
        "regauthd.service",
        &format!("[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nExecStart={daemon}\n"),
    );
    systemd.systemctl(&["start", "regauthd.service"]).succeeds();
    let logs = poll::wait_for("the journal", || {
        let logs = systemd.run(&binary("regauthctl"), &["--system", "logs", "--lines", "50"]);
        (logs.status.success() && logs.stdout.contains("regauthd[")).then_some(logs.stdout)
    });
    let lines = systemd
        .run(&binary("regauthctl"), &["--system", "logs", "-n", "1", "--json"])
        .succeeds()
        .stdout;
    let lines: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(lines["source"], "journal");
    let last = lines["lines"][0].as_str().unwrap();
    assert!(logs.contains(last), "{last:?} is not in\n{logs}");
}
