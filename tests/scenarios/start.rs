//! Start and stop: the daemon is ready soon, and drains without cutting a request.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use regauth_tests::certificates::Authority;
use regauth_tests::ctl;
use regauth_tests::curl::{Curl, RunningTransfer};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use regauth_tests::process::Process;
use regauth_tests::programs::binary;
use regauth_tests::proxy_client::{ProxyClient, block_on, connect_head};
use regauth_tests::registry::Registry;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

const TOKEN: &str = "token-of-the-start";
const MIB: u64 = 1 << 20;

/// A release build on a quiet machine is ready in 100 ms; the printed median shows it. The limit of one second catches a
/// start that waits for something.
#[test]
fn a_fresh_start_is_ready_soon() {
    let folders: Vec<TempDir> = (0..5).map(|_| TempDir::new().unwrap()).collect();
    let homes: Vec<_> = folders.iter().map(|folder| folder.path().join("home")).collect();
    assert_ready_soon("a fresh start", homes.iter().map(|home| time_to_ready(home)));
}

#[test]
fn a_start_with_a_registry_in_the_vault_is_ready_soon() {
    let authority = Authority::new("Corp Root");
    let registry = MockServer::builder(&authority, "localhost").start();
    let mut daemon = Daemon::builder().store("vault").start();
    let (scope, ca) = (registry.url("/"), authority.file());
    let add = ctl::add_scope("corp", &scope, ca.to_str().unwrap());
    daemon.ctl_with_input(&add, TOKEN).succeeds();
    assert!(daemon.stop().success());
    let home = daemon.home();
    assert_ready_soon("a start with a registry", (0..5).map(|_| time_to_ready(home)));
}

#[test]
fn sigterm_lets_a_download_finish_and_takes_no_new_connection() {
    let mut fixture = Fixture::start("");
    let download = fixture.download();
    fixture.signal(Signal::TERM);
    fixture.assert_refuses_connections();
    assert_eq!(download.finish().response().length, LENGTH);
    fixture.assert_exited();
}

#[test]
fn sigint_and_stop_drain_as_sigterm_does() {
    let mut fixture = Fixture::start("");
    fixture.signal(Signal::INT);
    fixture.assert_exited();

    let mut fixture = Fixture::start("");
    let download = fixture.download();
    let stopping = fixture.daemon.ctl(&["stop"]).succeeds().json;
    assert!(stopping["connections"].as_u64().unwrap() >= 1, "{stopping}");
    fixture.assert_refuses_connections();
    assert_eq!(download.finish().response().length, LENGTH);
    fixture.assert_exited();
}

#[test]
fn the_drain_timeout_or_a_second_signal_ends_the_drain() {
    let mut fixture = Fixture::start("drain-timeout = \"500ms\"\n");
    let download = fixture.download();
    let began = Instant::now();
    fixture.signal(Signal::TERM);
    fixture.assert_exited();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    download.finish().output.fails();

    let mut fixture = Fixture::start("");
    let download = fixture.download();
    let began = Instant::now();
    fixture.signal(Signal::INT);
    fixture.assert_refuses_connections();
    fixture.signal(Signal::INT);
    fixture.assert_exited();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    download.finish().output.fails();
}

#[test]
fn idle_clients_do_not_delay_the_drain() {
    let mut fixture = Fixture::start("");
    let client = ProxyClient::new(&fixture.daemon);
    let connect = |authority: &str| block_on(client.connect(&connect_head(authority))).unwrap();
    let _silent = [
        block_on(client.dial()).unwrap(),
        connect(&fixture.registry.nginx.authority()),
        connect(&fixture.unconfigured.authority()),
    ];
    let began = Instant::now();
    fixture.signal(Signal::TERM);
    fixture.assert_exited();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Registry with a file that takes seconds to fetch, an unconfigured host, and a daemon.
struct Fixture {
    daemon: Daemon,
    registry: Registry,
    unconfigured: MockServer,
}

impl Fixture {
    fn start(config: &str) -> Self {
        let registry = Registry::start(TOKEN);
        let daemon = Daemon::builder().config(config).log_level("info").start();
        daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
        let unconfigured = MockServer::builder(registry.authority(), "127.0.0.1").start();
        Self {
            daemon,
            registry,
            unconfigured,
        }
    }

    /// Starts a download and waits for its first bytes.
    fn download(&self) -> RunningTransfer {
        let slowly = Curl::new().behind(&self.daemon).with(&["--limit-rate", "16M"]);
        let download = slowly.start(&self.registry.file("big", LENGTH));
        poll::wait_for("the first bytes of a download", || {
            (download.received() > 0).then_some(())
        });
        download
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.daemon.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.daemon.proxy().trim_start_matches("http://"))
    }

    fn assert_refuses_connections(&self) {
        poll::wait_for("connections to be refused", || self.connect().is_err().then_some(()));
    }

    /// Asserts that the daemon exits with success and removes its control socket.
    fn assert_exited(&mut self) {
        let status = self.daemon.wait();
        assert!(status.success(), "{status}");
        assert!(!self.daemon.home().join("run/control.sock").exists());
    }
}

/// Time from the start until the control socket sends its hello.
fn time_to_ready(home: &Path) -> Duration {
    let mut command = exec::command(binary("regauthd"), home);
    command.arg("--home").arg(home).args(["--listen", "127.0.0.1:0"]);
    let (log, socket) = (home.with_extension("log"), home.join("run/control.sock"));
    let began = Instant::now();
    let mut daemon = Process::spawn("regauthd", &mut command, &log);
    daemon.wait_until("a greeting", || {
        let mut greeting = String::new();
        BufReader::new(UnixStream::connect(&socket).ok()?)
            .read_line(&mut greeting)
            .ok()?;
        greeting.contains("hello").then_some(())
    });
    let ready = began.elapsed();
    assert!(daemon.stop().success());
    ready
}

fn assert_ready_soon(what: &str, times: impl Iterator<Item = Duration>) {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    let median = times[times.len() / 2];
    eprintln!("{what}: median {median:?} of {times:?}");
    assert!(
        median < Duration::from_secs(1),
        "{what}: median {median:?} of {times:?}"
    );
}

const LENGTH: u64 = 48 * MIB;
