//! Process isolation: old tokens leave the memory, and debuggers, other users and core files get none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::poll;
use regauth_tests::privilege::require_root;
use regauth_tests::registry::{Registry, USERNAME};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const NOBODY: u32 = 65534;

#[test]
fn after_a_rotation_the_old_token_is_neither_in_memory_nor_in_a_core() {
    if !require_root("reading the daemon's memory") {
        return;
    }
    const OLD: &str = "s3ntinel-before-the-rotation";
    const NEW: &str = "s3ntinel-after-the-rotation-";
    for scheme in [Scheme::basic(USERNAME), Scheme::bearer()] {
        for http1_only in [true, false] {
            let registry = Registry::builder(scheme.clone(), OLD);
            let registry = if http1_only { registry.http1_only() } else { registry }.start();
            let daemon = Daemon::builder().log_level("info").start();
            daemon.add("corp", &registry);
            let config = registry.nginx.url("/api/cargo/index/config.json");
            for protocol in ["--http1.1", "--http2"] {
                let curl = Curl::new().behind(&daemon).with(&[protocol]);
                assert_eq!(curl.get(&config).status, 200);
            }
            registry.accept(&[OLD, NEW]);
            daemon.rotate("corp", NEW).succeeds();
            assert_token_is_erased(&daemon, OLD, NEW);
            let core = core_of(&daemon);
            assert!(
                !LeakScan::new(NEW).scan("core", &core).found().is_empty(),
                "the core has no token, so it is no core of this daemon"
            );
            LeakScan::new(OLD).scan("core", &core).assert_clean();
        }
    }
}

#[test]
fn after_a_refresh_the_old_token_is_not_in_memory() {
    if !require_root("reading the daemon's memory") {
        return;
    }
    const TOKENS: [&str; 3] = [
        "s3ntinel-1-of-the-source",
        "s3ntinel-2-of-the-source",
        "s3ntinel-3-of-the-source",
    ];
    let registry = Registry::builder(Scheme::bearer(), TOKENS[0]).start();
    registry.accept(&TOKENS);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, TOKENS[0]).unwrap();
    let daemon = Daemon::builder().log_level("info").start();
    let (source, ca) = (format!("file:{}", file.display()), registry.ca());
    let location = ["--index", &registry.index(), "--scheme", "bearer", "--source", &source];
    let add = [
        &["add-registry", "corp", "--ca-file", ca.to_str().unwrap()],
        &location[..],
    ]
    .concat();
    daemon.ctl(&add).succeeds();
    let generation = || daemon.ctl(&["show", "corp"]).json["credential"]["generation"].clone();
    for number in 1..TOKENS.len() {
        let config = registry.nginx.url("/api/cargo/index/config.json");
        assert_eq!(Curl::new().behind(&daemon).get(&config).status, 200);
        let new = file.with_extension("new");
        fs::write(&new, TOKENS[number]).unwrap();
        fs::rename(&new, &file).unwrap();
        // The daemon notices the first change itself; the second one is requested.
        if number == 2 {
            daemon.ctl(&["rotate", "corp"]).succeeds();
        }
        poll::wait_for("the next generation", || (generation() == number + 1).then_some(()));
        assert_token_is_erased(&daemon, TOKENS[number - 1], TOKENS[number]);
    }
}

fn assert_token_is_erased(daemon: &Daemon, old: &str, new: &str) {
    let mut scan = LeakScan::new(new);
    scan.scan_memory(daemon.pid());
    assert!(
        !scan.found().is_empty(),
        "the scan does not find the new token, so it proves nothing"
    );
    let found = poll::within(Duration::from_secs(5), || {
        let mut scan = LeakScan::new(old);
        scan.scan_memory(daemon.pid());
        scan.found().is_empty().then_some(())
    });
    if found.is_none() {
        LeakScan::new(old).scan_memory(daemon.pid()).assert_clean();
    }
}

/// Core file of the daemon, taken by root, with the memory that the daemon excludes from cores.
fn core_of(daemon: &Daemon) -> Vec<u8> {
    let (folder, pid) = (TempDir::new().unwrap(), daemon.pid().to_string());
    let mut gcore = exec::command("gcore", folder.path());
    let prefix = folder.path().join("core");
    exec::run(gcore.arg("-a").arg("-o").arg(&prefix).arg(&pid)).succeeds();
    fs::read(prefix.with_extension(pid)).unwrap()
}

/// Command that runs as the user nobody in this folder, with core files of any size allowed.
fn with_cores(program: &Path, folder: &Path) -> Command {
    let mut command = exec::command("prlimit", folder);
    command
        .args(["--core=unlimited:unlimited", "setpriv", "--clear-groups"])
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
        .arg(program)
        .current_dir(folder);
    command
}

/// Daemon that the user nobody runs, and its folder.
fn daemon_of_nobody() -> (exec::RunningCommand, TempDir) {
    let folder = TempDir::new().unwrap();
    let [program, home] = ["regauthd", "home"].map(|name| folder.path().join(name));
    exec::copy_program(&regauth_tests::programs::binary("regauthd"), &program);
    fs::create_dir(&home).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&program, 0o755), (&home, 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut daemon = with_cores(&program, &home);
    daemon
        .args(["--store", "memory", "--listen", "127.0.0.1:0", "--home"])
        .arg(&home);
    let daemon = exec::RunningCommand::start(&mut daemon, b"");
    let socket = home.join("run/control.sock");
    poll::wait_for("the daemon", || socket.exists().then_some(()));
    (daemon, folder)
}

#[test]
fn a_debugger_of_the_same_user_cannot_attach_and_the_core_limit_is_zero() {
    if !require_root("running the daemon as another user") {
        return;
    }
    let (daemon, folder) = daemon_of_nobody();
    let pid = daemon.pid().to_string();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "{cores}"
    );
    let as_nobody = |words: &[&str]| {
        let mut command = exec::as_user(NOBODY, folder.path());
        exec::run(command.args(words))
    };
    as_nobody(&["gdb", "--batch", "--nx", "-p", &pid, "-ex", "info proc"]).says("Operation not permitted");
    as_nobody(&["head", "-c", "1", &format!("/proc/{pid}/environ")])
        .fails()
        .says("Permission denied");
}

/// Kills the process by this signal; returns its status and whether its folder has a core file.
fn crash(mut process: exec::RunningCommand, folder: &Path, signal: Signal) -> (ExitStatus, bool) {
    let pid = Pid::from_raw(process.pid().cast_signed()).unwrap();
    poll::wait_for("the process to exit", || {
        // Rust's stack overflow handler catches the first SIGSEGV and uninstalls itself.
        kill_process(pid, signal).unwrap();
        (!process.is_running()).then_some(())
    });
    let status = process.finish().status;
    assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    let mut files = fs::read_dir(folder).unwrap();
    let is_core = files.any(|file| file.unwrap().file_name().to_string_lossy().contains("core"));
    (status, is_core)
}

#[test]
fn a_daemon_that_crashes_leaves_no_core() {
    if !require_root("running the daemon as another user") {
        return;
    }
    for signal in [Signal::SEGV, Signal::ABORT, Signal::ILL] {
        let (daemon, folder) = daemon_of_nobody();
        let (status, is_there) = crash(daemon, &folder.path().join("home"), signal);
        assert!(!status.core_dumped() && !is_there, "{status}");
    }
    // Control: another program does leave a core file, unless the kernel pipes cores to a program.
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let other = exec::RunningCommand::start(with_cores(Path::new("sleep"), folder.path()).arg("60"), b"");
    let name = format!("/proc/{}/comm", other.pid());
    poll::wait_for("the other program", || {
        (fs::read_to_string(&name).ok()?.trim() == "sleep").then_some(())
    });
    let (status, is_there) = crash(other, folder.path(), Signal::SEGV);
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let is_elsewhere = pattern.starts_with(['|', '/']);
    assert!(is_elsewhere || (status.core_dumped() && is_there), "{status} {pattern}");
}
