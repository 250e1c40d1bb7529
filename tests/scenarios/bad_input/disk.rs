//! Full disks: a limit on the file size makes the first, second or a later write of a command fail.

use regauth_shared::exit_code::{FAILED, STORE};
use regauth_tests::ctl::Ctl;
use regauth_tests::exec;
use regauth_tests::mock_server::MockServer;

use super::{FIRST, Fixture, TOKEN, assert_same, hint, message};

#[test]
fn a_full_disk_adds_nothing_and_the_command_works_once_there_is_space() {
    let fixture = Fixture::start();
    // Another host than that of `corp`, so that the daemon also creates an authority.
    let other = MockServer::builder(&fixture.authority, "127.0.0.1").start();
    let add = fixture.trusting(&format!("add-registry new --token-stdin --scope {}", other.url("/")));
    let mut refused = 0;
    for limit in [0, 200, 450, 600, 1000, 1600, 1900, 2200, 3000, 4000, 6000, 100_000] {
        let before = fixture.snapshot();
        let added = fixture.with_file_size_limit(limit, || {
            let added = fixture.ctl(&add, TOKEN);
            fixture.assert_served(FIRST);
            added
        });
        if added.succeeded() {
            fixture.ctl("remove-registry new", "").succeeds();
            continue;
        }
        refused += 1;
        assert_disk_error(&added);
        assert_eq!(fixture.names(), ["corp"], "at {limit} bytes");
        assert_same(&before, &fixture.settled(), &format!("at {limit} bytes"));
    }
    assert!(refused > 5, "too few limits made a write fail");
    fixture.ctl(&add, TOKEN).succeeds();
    assert_eq!(fixture.names(), ["corp", "new"]);
}

#[test]
fn a_full_disk_rotates_and_removes_nothing_and_the_daemon_restarts() {
    let mut fixture = Fixture::start();
    for limit in [0, 300, 600, 1500] {
        let before = fixture.snapshot();
        let refused = fixture.with_file_size_limit(limit, || {
            ["rotate corp --token-stdin", "remove-registry corp"].map(|line| fixture.ctl(line, TOKEN))
        });
        refused.iter().for_each(assert_disk_error);
        fixture.assert_served(FIRST);
        fixture.daemon.restart();
        assert_same(&before, &fixture.settled(), &format!("at {limit} bytes"));
        fixture.assert_served(FIRST);
    }
    fixture.daemon.rotate("corp", TOKEN).succeeds();
    fixture.assert_served(TOKEN);
    assert!(!fixture.daemon.log().contains("panicked"), "{}", fixture.daemon.log());
}

impl Fixture {
    /// Runs `act` while the daemon cannot write a file longer than `bytes`, as on a full disk.
    fn with_file_size_limit<T>(&self, bytes: u64, act: impl FnOnce() -> T) -> T {
        self.set_file_size_limit(&bytes.to_string());
        let output = act();
        self.set_file_size_limit("unlimited");
        output
    }

    fn set_file_size_limit(&self, soft: &str) {
        let mut prlimit = exec::command("prlimit", self.home());
        prlimit
            .arg(format!("--fsize={soft}:unlimited"))
            .args(["--pid", &self.daemon.pid().to_string()]);
        exec::run(&mut prlimit).succeeds();
    }
}

#[track_caller]
fn assert_disk_error(ctl: &Ctl) {
    let report = ctl.output.report();
    assert!([FAILED, STORE].map(i32::from).contains(&ctl.exit), "{report}");
    let messages = ["cannot write ", "cannot be written: "];
    assert!(messages.iter().any(|words| message(ctl).contains(words)), "{report}");
    assert!(!hint(ctl).is_empty(), "{report}");
}
