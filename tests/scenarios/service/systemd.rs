//! The service under a real systemd: units, restarts, recovery, the journal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::load::LoadGenerator;
use regauth_tests::programs::binary;
use regauth_tests::systemd::Systemd;
use regauth_tests::{exec, poll};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{CLIENTS, IN_FLIGHT, SlowRegistry, TOKEN, WATCHDOG, free_port, restarts, summary};

/// Real systemd with units like the installed ones.
#[test]
fn systemd_starts_restarts_and_recovers_the_daemon() {
    let Some(systemd) = Systemd::start() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    let port = free_port();
    write_units(&systemd, &home, port);
    systemd.systemctl(&["start", PROXY_SOCKET, CONTROL_SOCKET]).succeeds();
    assert_eq!(systemd.property(SERVICE, "ActiveState"), "inactive");
    let registry = SlowRegistry::start(Duration::from_secs(2));
    registry.add_to(|arguments| Ctl::run(&home, arguments, TOKEN));
    assert_eq!(
        systemd.property(SERVICE, "ActiveState"),
        "active",
        "the control socket did not start the service"
    );
    assert_eq!(systemd.property(SERVICE, "StatusText"), "1 registry, store: vault");
    assert_restarts_lose_no_request(&systemd, &home, port, &registry);
    assert_recovers(&systemd, port, &registry, &home);
    assert_journal_has_fields_and_no_token(&systemd);
}

/// The control socket admits the daemon's user, root, and the members of the socket's group.
#[test]
fn a_control_socket_for_a_group_admits_its_members() {
    let Some(systemd) = Systemd::start() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let location = |name: &str| folder.path().join(name);
    let ctl = location("regauthctl");
    exec::copy_program(&binary("regauthctl"), &ctl);
    fs::create_dir(location("run")).unwrap();
    std::os::unix::fs::chown(location("run"), None, Some(MEMBER)).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&ctl, 0o755), (&location("run"), 0o750)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let locations = [("CONFIGURATION", "config"), ("STATE", "state"), ("RUNTIME", "run")]
        .map(|(variable, name)| (format!("{variable}_DIRECTORY"), location(name)));
    let environment: Vec<String> = locations
        .iter()
        .map(|(variable, path)| format!("{variable}={}", path.display()))
        .collect();
    systemd.unit(
        SERVICE,
        &format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nEnvironment={}\nExecStart={} --store memory --listen \
             127.0.0.1:0\n",
            environment.join(" "),
            binary("regauthd").display()
        ),
    );
    let socket = location("run/control.sock");
    systemd.unit(
        CONTROL_SOCKET,
        &format!(
            "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream={}\nFileDescriptorName=control\nSocketMode=0660\n\
             SocketGroup={MEMBER}\nService={SERVICE}\n",
            socket.display()
        ),
    );
    systemd.systemctl(&["start", CONTROL_SOCKET]).succeeds();
    let status = |user: u32| {
        let mut command = exec::as_user(user, folder.path());
        command.arg(&ctl).arg("status").envs(locations.iter().cloned());
        exec::run(&mut command)
    };
    status(0).succeeds().says("the control socket is the service manager's");
    status(MEMBER).succeeds();
    status(OTHER_USER).fails().says("no permission");
}

fn assert_restarts_lose_no_request(systemd: &Systemd, home: &Path, port: u16, registry: &SlowRegistry) {
    let proxy = format!("127.0.0.1:{port}");
    let load = LoadGenerator::start(CLIENTS, &proxy, &home.join("state/ca-bundle.pem"), &registry.url());
    for _ in 0..restarts() {
        poll::wait_for("all clients to be waiting", || {
            (load.in_flight() >= IN_FLIGHT).then_some(())
        });
        systemd.systemctl(&["restart", SERVICE]).succeeds();
    }
    systemd.systemctl(&["reload", SERVICE]).succeeds();
    let report = load.stop();
    println!("{} restarts by systemd: {}", restarts(), summary(&report));
    assert_eq!(report.failures, Vec::<String>::new());
}

/// Kills the service, then stops it so that only the watchdog notices; asserts that it serves again in time.
fn assert_recovers(systemd: &Systemd, port: u16, registry: &SlowRegistry, home: &Path) {
    let curl = Curl::new()
        .proxy(&format!("http://127.0.0.1:{port}"))
        .trusts(&home.join("state/ca-bundle.pem"));
    for (signal, limit) in [
        (Signal::KILL, Duration::from_secs(2)),
        (Signal::STOP, WATCHDOG + Duration::from_secs(2)),
    ] {
        let before = systemd.property(SERVICE, "MainPID");
        let pid = i32::try_from(systemd.host_pid(&before)).unwrap();
        let began = Instant::now();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        poll::wait_for("a new main process", || {
            let now = systemd.property(SERVICE, "MainPID");
            (now != "0" && now != before).then_some(())
        });
        assert_eq!(curl.get(&registry.url()).status, 200);
        let back = began.elapsed() - registry.delay;
        println!("{signal:?}: back after {back:?}");
        assert!(back < limit, "{signal:?}: {back:?}");
    }
}

fn assert_journal_has_fields_and_no_token(systemd: &Systemd) {
    let journal = poll::wait_for("the journal", || {
        let journal = systemd.journal(SERVICE);
        journal.contains("REGAUTH_REGISTRY").then_some(journal)
    });
    let entries: Vec<serde_json::Value> = journal
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let added = entries
        .iter()
        .find(|entry| entry["MESSAGE"] == "added registry")
        .unwrap();
    assert_eq!(added["REGAUTH_REGISTRY"], "corp");
    assert_eq!(added["SYSLOG_IDENTIFIER"], "regauthd");
    assert_eq!(added["PRIORITY"], "6");
    LeakScan::new(TOKEN).scan("the journal", journal).assert_clean();
}

fn write_units(systemd: &Systemd, home: &Path, port: u16) {
    let regauthd = binary("regauthd");
    let (regauthd, home) = (regauthd.display(), home.display());
    let socket = |name: &str, what: &str| {
        format!("[Unit]\nDefaultDependencies=no\n[Socket]\n{what}\nFileDescriptorName={name}\nService={SERVICE}\n")
    };
    systemd.unit(
        PROXY_SOCKET,
        &socket("proxy", &format!("ListenStream=127.0.0.1:{port}")),
    );
    let control = format!("ListenStream={home}/run/control.sock\nSocketMode=0600\nDirectoryMode=0700");
    systemd.unit(CONTROL_SOCKET, &socket("control", &control));
    systemd.unit(
        SERVICE,
        &format!(
            "[Unit]
DefaultDependencies=no
Requires={PROXY_SOCKET} {CONTROL_SOCKET}
After={PROXY_SOCKET} {CONTROL_SOCKET}
[Service]
Type=notify
ExecStart={regauthd} --home {home} --store vault
ExecReload=kill -HUP $MAINPID
Restart=always
RestartSec=100ms
StartLimitIntervalSec=0
WatchdogSec={}
Environment=REGAUTH_LOG=debug LC_ALL=C.UTF-8
LimitNOFILE=16384
",
            WATCHDOG.as_secs()
        ),
    );
}

const MEMBER: u32 = 65534;
const OTHER_USER: u32 = 65533;
const SERVICE: &str = "regauthd.service";
const PROXY_SOCKET: &str = "regauthd-proxy.socket";
const CONTROL_SOCKET: &str = "regauthd-control.socket";
