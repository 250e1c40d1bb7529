//! Service managers: passed sockets, notifications, the watchdog, and restarts that lose no request.

mod slow_registry;
mod systemd;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::fake_service_manager::FakeServiceManager;
use regauth_tests::gateway::Gateway;
use regauth_tests::load::{ClientCounts, LoadGenerator, LoadReport};
use regauth_tests::mock_server::MockServer;
use regauth_tests::privilege::require_root;
use regauth_tests::process::Process;
use regauth_tests::programs::binary;
use regauth_tests::{exec, poll};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use self::slow_registry::SlowRegistry;

const TOKEN: &str = "s3ntinel-of-the-service";

#[test]
fn the_first_connection_starts_the_daemon_and_its_sockets_outlive_it() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    let run = home.join("run");
    for folder in [&home, &run] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let (socket, port) = (run.join("control.sock"), free_port());
    let mut activate = exec::command("systemd-socket-activate", &home);
    activate
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--listen",
            socket.to_str().unwrap(),
        ])
        .args(["--fdname=proxy:control", "--setenv=REGAUTH_LOG=debug"])
        .arg(binary("regauthd"))
        .arg("--home")
        .arg(&home)
        .args(["--store", "memory"]);
    let mut daemon = Process::spawn("regauthd", &mut activate, &folder.path().join("log"));
    daemon.wait_until("its sockets", || socket.exists().then_some(()));
    assert!(
        !home.join("config.toml").exists(),
        "the daemon started before the first connection"
    );
    let server = MockServer::builder(&Authority::new("Root"), "localhost")
        .plain()
        .start();
    let curl = Curl::new().proxy(&format!("http://127.0.0.1:{port}"));
    assert_eq!(curl.get(&server.url("/")).status, 200);
    let status = Ctl::run(&home, &["status"], "").succeeds().json;
    assert_eq!(status["sockets"], json!({"proxy": "passed", "control": "passed"}));
    assert_eq!(status["listen"], format!("127.0.0.1:{port}"));
    assert!(daemon.stop().success());
    assert!(socket.exists(), "the daemon removed a passed socket");
}

#[test]
fn either_socket_may_be_passed_without_the_other_and_under_any_name() {
    type Sockets = fn(&mut FakeServiceManager, &Path);
    let cases: [(Sockets, &str, &str); 3] = [
        (|manager, _| manager.add_port("", "127.0.0.1:0"), "passed", "own"),
        (
            |manager, home| manager.add_control_socket("x.socket", home, 0o600),
            "own",
            "passed",
        ),
        (
            |manager, home| {
                manager.add_control_socket("regauthd-control.socket", home, 0o600);
                manager.add_port("regauthd-proxy.socket", "[::1]:0");
            },
            "passed",
            "passed",
        ),
    ];
    for (sockets, proxy, control) in cases {
        let mut daemon = Daemon::builder().service_manager(sockets).start();
        let status = daemon.ctl(&["status"]).succeeds().json;
        assert_eq!(status["sockets"], json!({"proxy": proxy, "control": control}));
        assert!(daemon.stop().success());
        assert_eq!(daemon.home().join("run/control.sock").exists(), control == "passed");
    }
}

#[test]
fn the_socket_of_the_listener_with_tls_may_be_passed() {
    let builder = Daemon::builder().service_manager(|manager, _| manager.add_port("proxy-tls", "[::1]:0"));
    let gateway = Gateway::start_with("", builder);
    let status = gateway.daemon.ctl(&["status"]).succeeds().json;
    let address = status["listen-tls"].as_str().unwrap();
    assert!(
        address.starts_with("[::1]:"),
        "config.toml names another address: {address}"
    );
    let answer = gateway.curl(&gateway.grant(&[])).get("http://127.0.0.1:1/");
    assert_eq!(answer.header("regauth-error"), Some("grant-denied"));
}

#[test]
fn an_unsafe_passed_socket_prevents_the_start() {
    type Sockets = fn(&mut FakeServiceManager, &Path);
    let cases: [(Sockets, &str); 7] = [
        (|manager, _| manager.add_port("proxy", "0.0.0.0:0"), "grants"),
        (
            |manager, _| manager.add_port("proxy-tls", "127.0.0.1:0"),
            "no `listen-tls` with a certificate",
        ),
        (
            |manager, home| manager.add_control_socket("control", home, 0o666),
            "SocketMode=0600",
        ),
        (
            |manager, home| manager.add_control_socket("proxy", home, 0o600),
            "neither a TCP listener",
        ),
        (
            |manager, _| manager.add_port("control", "127.0.0.1:0"),
            "neither a TCP listener",
        ),
        (
            |manager, _| {
                manager.add_port("proxy", "127.0.0.1:0");
                manager.add_port("other", "127.0.0.1:0");
            },
            "more than one `proxy`",
        ),
        (
            |manager, home| manager.add_control_socket("control", &home.join("elsewhere"), 0o600),
            "change ListenStream",
        ),
    ];
    for (sockets, says) in cases {
        let folder = TempDir::new().unwrap();
        let output = Daemon::builder()
            .service_manager(sockets)
            .run(&folder.path().join("home"));
        output.fails().says(says);
    }
}

#[test]
fn the_service_manager_receives_ready_status_reload_and_watchdog_messages() {
    let mut daemon = Daemon::builder()
        .socket_activated()
        .store("vault")
        .env("WATCHDOG_USEC", "400000")
        .start();
    let wait_for_message = |daemon: &Daemon, what: &str| {
        poll::wait_for(what, || {
            daemon
                .notifications()
                .iter()
                .any(|message| message.contains(what))
                .then_some(())
        });
    };
    wait_for_message(&daemon, "READY=1");
    let before = daemon.notifications();
    assert!(
        before
            .iter()
            .any(|message| message == "STATUS=0 registries, store: vault\n"),
        "{before:?}"
    );
    let registry = MockServer::builder(&Authority::new("Root"), "localhost").start();
    let (scope, ca) = (registry.url("/"), registry.certificate().chain_file());
    daemon
        .try_add(
            "corp",
            &["--scope", &scope, "--no-verify"],
            &Scheme::bearer(),
            &ca,
            TOKEN,
        )
        .succeeds();
    wait_for_message(&daemon, "STATUS=1 registry, store: vault");
    daemon.signal(Signal::HUP);
    wait_for_message(&daemon, "RELOADING=1\nMONOTONIC_USEC=");
    poll::wait_for("READY=1 after the reload", || {
        let messages = daemon.notifications();
        let reloading = messages.iter().position(|message| message.contains("RELOADING=1"))?;
        messages[reloading..]
            .iter()
            .any(|message| message == "READY=1\n")
            .then_some(())
    });
    let beats = |daemon: &Daemon| {
        daemon
            .notifications()
            .iter()
            .filter(|message| *message == "WATCHDOG=1\n")
            .count()
    };
    poll::wait_for("watchdog messages", || (beats(&daemon) > 3).then_some(()));
    if require_root("stopping one thread of the daemon") {
        let _held = stop_thread(daemon.pid(), "worker-0");
        poll::wait_for("the daemon to notice the hung worker", || {
            daemon.log().contains("a worker did not respond").then_some(())
        });
        let at_most = beats(&daemon) + 1;
        poll::wait_for("more reports of the hung worker", || {
            (daemon.log().matches("a worker did not respond").count() > 3).then_some(())
        });
        assert!(
            beats(&daemon) <= at_most,
            "the daemon feeds the watchdog while a worker hangs"
        );
        assert!(
            daemon.ctl(&["status"]).succeeded(),
            "the control socket does not respond"
        );
    }
    poll::wait_for("watchdog messages again", || {
        let before = beats(&daemon);
        poll::within(Duration::from_secs(1), || (beats(&daemon) > before).then_some(()))
    });
    assert!(daemon.stop().success());
    wait_for_message(&daemon, "STOPPING=1\nSTATUS=draining");
}

/// A thousand requests are in flight the whole time. Each daemon drains while the next one serves. Four restarts, or twenty
/// with REGAUTH_LONG=1.
#[test]
fn restarts_lose_none_of_a_thousand_requests_in_flight() {
    let registry = SlowRegistry::start(Duration::from_secs(2));
    let mut daemon = Daemon::builder()
        .socket_activated()
        .store("vault")
        .log_level("info")
        .start();
    registry.add_to(|arguments| daemon.ctl_with_input(arguments, TOKEN));
    let load = LoadGenerator::start(CLIENTS, &daemon.proxy(), &daemon.bundle(), &registry.url());
    let mut in_flight = Vec::new();
    for _ in 0..restarts() {
        poll::wait_for("all clients to be waiting", || {
            let waiting = load.in_flight();
            (waiting >= IN_FLIGHT).then(|| in_flight.push(waiting))
        });
        daemon.replace();
    }
    let report = load.stop();
    println!("{in_flight:?} in flight at the restarts; {}", summary(&report));
    assert_eq!(report.failures, Vec::<String>::new(), "{}", daemon.log());
    assert!(daemon.wait_for_replaced().iter().all(std::process::ExitStatus::success));
    assert!(
        !daemon.log().contains("closed connections before they finished"),
        "{}",
        daemon.log()
    );
}

/// Real clients decide themselves about keep-alive and retries. HTTP/1.1 only: with parallel HTTP/2, curl 7.88 uses the
/// connection after a GOAWAY before its CONNECT is answered ("send: no filter connected"). It does that through a tunnel to
/// a reloading nginx as well.
#[test]
fn parallel_curls_do_not_notice_restarts() {
    let registry = SlowRegistry::start(Duration::from_millis(300));
    let mut daemon = Daemon::builder()
        .socket_activated()
        .store("vault")
        .log_level("info")
        .start();
    registry.add_to(|arguments| daemon.ctl_with_input(arguments, TOKEN));
    let curl = Curl::new().behind(&daemon).with(&[
        "--http1.1",
        "--parallel",
        "--parallel-max",
        "30",
        "--parallel-immediate",
        "--fail-early",
        "--fail",
        "--remote-name-all",
    ]);
    let running = curl.start(&format!("{}?[1-300]", registry.url()));
    for round in 1..5 {
        poll::wait_for("some responses", || (registry.responses() >= round * 50).then_some(()));
        daemon.replace();
    }
    running.finish().output.succeeds();
    assert_eq!(registry.responses(), 300);
}

/// A request on a connection accepted before the drain is answered, even when it comes during the drain.
#[test]
fn a_connection_accepted_before_the_drain_is_answered() {
    use regauth_tests::proxy_client::{ProxyClient, block_on, read_available};
    use tokio::io::AsyncWriteExt;
    let registry = SlowRegistry::start(Duration::from_millis(100));
    let mut daemon = Daemon::builder().socket_activated().log_level("debug").start();
    registry.add_to(|arguments| daemon.ctl_with_input(arguments, TOKEN));
    let host = registry.authority();
    let head = format!("CONNECT {host} HTTP/1.1\r\n\r\n");
    let request = format!("GET /late HTTP/1.1\r\nHost: {host}\r\n\r\n");
    block_on(async {
        let mut silent = ProxyClient::new(&daemon).dial().await.unwrap();
        let mut tunnel = ProxyClient::new(&daemon).open(&host, &["http/1.1"]).await.unwrap();
        // The kernel completes a connection before the daemon accepts it; the count shows that it did.
        poll::wait_for("both to be accepted", || {
            (daemon.ctl(&["status"]).json["connections"].as_u64()? >= 2).then_some(())
        });
        daemon.signal(Signal::TERM);
        poll::wait_for("the drain", || daemon.log().contains("draining").then_some(()));
        tunnel.write_all(request.as_bytes()).await.unwrap();
        silent.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 19];
        tokio::io::AsyncReadExt::read_exact(&mut silent, &mut answer)
            .await
            .unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 Connec");
        let mut first = [0];
        tokio::io::AsyncReadExt::read_exact(&mut tunnel, &mut first)
            .await
            .unwrap();
        let answer = [&first[..], &read_available(&mut tunnel).await].concat();
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    });
    assert!(daemon.wait().success());
}

fn restarts() -> usize {
    if std::env::var_os("REGAUTH_LONG").is_some() {
        20
    } else {
        4
    }
}

fn summary(report: &LoadReport) -> String {
    let LoadReport {
        responses,
        retried,
        failures,
    } = report;
    format!(
        "{responses} responses, {retried} retried by their clients, {} failures",
        failures.len()
    )
}

/// Port that is free now. The caller must bind it soon.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Stops one thread of a process with ptrace until the returned process is dropped.
fn stop_thread(pid: u32, name: &str) -> Process {
    let folder = PathBuf::from(format!("/proc/{pid}/task"));
    let is_it = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let mut tasks = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let thread = tasks.find(is_it).unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut python = exec::command("python3", Path::new("/"));
    python.args(["-c", PTRACE_SCRIPT, thread.file_name().unwrap().to_str().unwrap()]);
    let mut holding = Process::spawn("ptrace", &mut python, log.path());
    let log = log.into_temp_path();
    holding.wait_until("the thread to stop", || {
        fs::metadata(&log).unwrap().size().gt(&0).then_some(())
    });
    holding
}

/// PTRACE_SEIZE and PTRACE_INTERRUPT (ptrace(2)). The thread continues when the tracer exits.
const PTRACE_SCRIPT: &str = "\
import ctypes, signal, sys
thread, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
for request in (0x4206, 0x4207):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit('ptrace: %d' % ctypes.get_errno())
print('held', flush=True)
signal.pause()
";

const CLIENTS: ClientCounts = ClientCounts {
    fresh: 50,
    kept: 550,
    streams: 500,
};

/// Requests in flight at a restart. The clients are more, since some are between two requests.
const IN_FLIGHT: usize = 1000;
const WATCHDOG: Duration = Duration::from_secs(2);
