//! Network outages and sleep: requests in flight wait, new ones fail at once, and nothing needs a restart.

use std::fs;
use std::time::{Duration, Instant};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::exec;
use regauth_tests::mock_server::MockServer;
use regauth_tests::network::NetworkNamespace;
use regauth_tests::poll;
use regauth_tests::privilege::require_root;
use rustix::process::Signal;
use tempfile::NamedTempFile;

const TOKEN: &str = "s3ntinel-of-the-network";
const HERE: &str = "203.0.113.1/24";
const THERE: &str = "203.0.113.2";

/// Network with the daemon and one with registries, and a link between them.
struct Fixture {
    here: NetworkNamespace,
    there: NetworkNamespace,
    authority: Authority,
    daemon: Daemon,
}

impl Fixture {
    /// Creates both networks; `None` without root.
    fn start(daemon: Builder) -> Option<Self> {
        if !require_root("network namespaces") {
            return None;
        }
        let [here, there] = [(); 2].map(|()| NetworkNamespace::start(&[]));
        here.link_to(HERE, &there, &format!("{THERE}/24"));
        let daemon = daemon.wrapped_in(&here.enter_command()).start();
        Some(Self {
            here,
            there,
            authority: Authority::new("Corp Root"),
            daemon,
        })
    }

    /// Adds a registry in the other network with this response.
    fn registry(&self, name: &str, answer: &str) -> MockServer {
        let registry = MockServer::builder(&self.authority, THERE).answer(200, &[], answer);
        let registry = self.there.enter(|| registry.start());
        let location = ["--scope", &registry.url("/"), "--no-verify"];
        let ca = self.authority.file();
        self.daemon
            .try_add(name, &location, &Scheme::bearer(), &ca, TOKEN)
            .succeeds();
        registry
    }

    fn curl(&self) -> Curl {
        Curl::new().behind(&self.daemon)
    }

    /// Status of a request, and the daemon's error code.
    fn ask(&self, registry: &MockServer) -> (u16, Option<String>) {
        let answer = self.here.enter(|| self.curl().get(&registry.url("/")));
        (answer.status, answer.header("regauth-error").map(str::to_owned))
    }
}

#[test]
fn an_outage_is_reported_at_once_and_requests_in_flight_survive_it() {
    let Some(fixture) = Fixture::start(Daemon::builder().log_level("debug")) else {
        return;
    };
    let (long, other) = (
        fixture.registry("long", &"x".repeat(LENGTH)),
        fixture.registry("other", "other"),
    );
    let slowly = fixture.curl().with(&["--limit-rate", "3M"]);
    let download = fixture.here.enter(|| slowly.start(&long.url("/under-way")));
    poll::wait_for("the first bytes", || (download.received() > 0).then_some(()));
    fixture.here.link_down();
    // This request is sent on the open connection, so the proxy cannot know yet that it fails.
    let waiting = fixture.here.enter(|| fixture.curl().start(&long.url("/waits")));
    let began = Instant::now();
    assert_eq!(fixture.ask(&other), (502, Some("upstream-unreachable".to_owned())));
    let tunnelled = Curl::new().proxy(&fixture.daemon.proxy());
    let tunnel = fixture.here.enter(|| tunnelled.fetch(&format!("https://{THERE}:1/")));
    tunnel.output.fails().says("502");
    let verified = fixture.daemon.ctl(&["verify", "other"]);
    verified.output.fails().says("cannot be reached");
    assert!(fixture.daemon.ctl(&["status"]).succeeded());
    assert!(began.elapsed() < IMMEDIATE, "{:?}", began.elapsed());
    fixture.here.link_up();
    for transfer in [waiting, download] {
        let answer = transfer.finish().response();
        assert_eq!((answer.status, answer.length), (200, LENGTH as u64));
    }
    assert_eq!(fixture.ask(&other), (200, None));
    let verified = fixture.daemon.ctl(&["verify", "other"]);
    verified.output.says("was reached");
}

/// During sleep, processes and the monotonic clock stand still (clock_gettime(2)). The machine wakes up with another
/// address, so old connections are dead. TCP alone would notice that after half a minute.
#[test]
fn after_sleep_and_a_new_address_requests_do_not_wait() {
    let clock = NamedTempFile::new().unwrap();
    fs::write(clock.path(), "+0").unwrap();
    let daemon = Daemon::builder()
        .log_level("debug")
        .env("LD_PRELOAD", &faketime())
        .env("FAKETIME_TIMESTAMP_FILE", clock.path().to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let Some(fixture) = Fixture::start(daemon) else { return };
    let registry = fixture.registry("corp", "here");
    assert_eq!(fixture.ask(&registry), (200, None));
    fixture.daemon.signal(Signal::STOP);
    fixture.here.change_address("203.0.113.3/24");
    fs::write(clock.path(), "+600").unwrap();
    fixture.daemon.signal(Signal::CONT);
    poll::wait_for("the daemon to notice the sleep", || {
        fixture.daemon.log().contains("the machine was asleep").then_some(())
    });
    let began = Instant::now();
    assert_eq!(fixture.ask(&registry), (200, None));
    assert!(began.elapsed() < IMMEDIATE, "{:?}", began.elapsed());
}

/// `LD_PRELOAD` of libfaketime, as its program `faketime` sets it.
fn faketime() -> String {
    let mut printed = exec::command("faketime", std::path::Path::new("/"));
    let printed = exec::run(printed.args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"])).succeeds();
    printed.stdout.trim().to_owned()
}

const LENGTH: usize = 6 << 20;
/// Limit for an immediate error, which takes a fraction of it. A timeout takes longer.
const IMMEDIATE: Duration = Duration::from_secs(10);
