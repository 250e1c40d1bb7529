//! A disk without room, from the first, the second, … file of a verb on: a limit on the length of files lets some of
//! them through and not others.

use regauth_shared::exit_code::{FAILED, STORE};
use regauth_tests::ctl::Ctl;
use regauth_tests::exec;
use regauth_tests::mock_server::MockServer;

use super::{FIRST, Stage, TOKEN, assert_same, hint, message};

#[test]
fn a_full_disk_adds_nothing_and_the_verb_works_when_there_is_room() {
    let stage = Stage::start();
    // On another host than `corp`, so that an authority is made too.
    let other = MockServer::builder(&stage.authority, "127.0.0.1").start();
    let add = stage.trusting(&format!("add-registry new --token-stdin --scope {}", other.url("/")));
    let mut refused = 0;
    for limit in [0, 200, 450, 600, 1000, 1600, 1900, 2200, 3000, 4000, 6000, 100_000] {
        let before = stage.everything();
        let added = stage.with_files_of(limit, || {
            let added = stage.ctl(&add, TOKEN);
            stage.assert_served(FIRST);
            added
        });
        if added.succeeded() {
            stage.ctl("remove-registry new", "").succeeds();
            continue;
        }
        refused += 1;
        assert_disk_is_blamed(&added);
        assert_eq!(stage.names(), ["corp"], "at {limit} bytes");
        assert_same(&before, &stage.settled(), &format!("at {limit} bytes"));
    }
    assert!(refused > 5, "the limits let everything through");
    stage.ctl(&add, TOKEN).succeeds();
    assert_eq!(stage.names(), ["corp", "new"]);
}

#[test]
fn a_full_disk_rotates_and_removes_nothing_and_keeps_no_daemon_from_starting_again() {
    let mut stage = Stage::start();
    for limit in [0, 300, 600, 1500] {
        let before = stage.everything();
        let refused = stage.with_files_of(limit, || {
            ["rotate corp --token-stdin", "remove-registry corp"].map(|line| stage.ctl(line, TOKEN))
        });
        refused.iter().for_each(assert_disk_is_blamed);
        stage.assert_served(FIRST);
        stage.daemon.restart();
        assert_same(&before, &stage.settled(), &format!("at {limit} bytes"));
        stage.assert_served(FIRST);
    }
    stage.daemon.rotate("corp", TOKEN).succeeds();
    stage.assert_served(TOKEN);
    assert!(!stage.daemon.log().contains("panicked"), "{}", stage.daemon.log());
}

impl Stage {
    /// Does something while no file that the daemon writes may be longer, as on a disk that has no more room.
    fn with_files_of<T>(&self, bytes: u64, act: impl FnOnce() -> T) -> T {
        self.limit_files(&bytes.to_string());
        let output = act();
        self.limit_files("unlimited");
        output
    }

    fn limit_files(&self, soft: &str) {
        let mut prlimit = exec::command("prlimit", self.home());
        prlimit
            .arg(format!("--fsize={soft}:unlimited"))
            .args(["--pid", &self.daemon.pid().to_string()]);
        exec::run(&mut prlimit).succeeds();
    }
}

#[track_caller]
fn assert_disk_is_blamed(ctl: &Ctl) {
    let report = ctl.output.report();
    assert!([FAILED, STORE].map(i32::from).contains(&ctl.exit), "{report}");
    let blamed = ["cannot write ", "cannot be written: "];
    assert!(blamed.iter().any(|words| message(ctl).contains(words)), "{report}");
    assert!(!hint(ctl).is_empty(), "{report}");
}
