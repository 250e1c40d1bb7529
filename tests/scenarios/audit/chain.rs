//! Chain of the lines: kills, tampering, rotation, two daemons.

use std::fs;
use std::time::Duration;

use regauth_tests::daemon::Daemon;
use regauth_tests::load::{ClientCounts, LoadGenerator};
use regauth_tests::random::SeededRandom;
use regauth_tests::{burst, poll};

use super::{Fixture, messages};

#[test]
fn a_changed_missing_or_misplaced_line_is_named() {
    let mut fixture = Fixture::start("audit = \"all\"\n");
    (0..8).for_each(|_| assert_eq!(fixture.get(), 200));
    fixture.lines(&["--op", "read"], 8);
    fixture.daemon.stop();
    let text = fixture.text();
    let lines: Vec<&str> = text.lines().collect();
    let check = |tampered: &[&str], expected: &[&str], row: u64| {
        fs::write(fixture.folder().join("audit.jsonl"), tampered.join("\n") + "\n").unwrap();
        let verified = fixture.verify().exits(1);
        assert_eq!(messages(&verified), expected);
        assert_eq!(verified.json["faults"][0]["row"], row, "{}", verified.output.report());
        assert_eq!(verified.json["faults"][0]["file"], "audit.jsonl");
    };
    let changed = lines[4]
        .replace("/api/cargo", "/api/kargo")
        .replace("\"status\":200", "\"status\":404");
    assert_ne!(changed, lines[4]);
    check(
        &[&lines[..4], &[&changed], &lines[5..]].concat(),
        &["line 5 was changed"],
        5,
    );
    check(&[&lines[..4], &lines[5..]].concat(), &["line 5 is missing"], 5);
    let swapped = [&lines[..4], &[lines[5], lines[4]], &lines[6..]].concat();
    check(&swapped, &["line 5 is in the wrong place"], 6);
    check(
        &[&lines[..5], &[lines[2]], &lines[5..]].concat(),
        &["line 3 is there twice"],
        6,
    );
    fs::write(fixture.folder().join("audit.jsonl"), &text).unwrap();
    fixture.assert_whole();
}

#[test]
fn a_line_removed_from_the_end_is_found_while_the_daemon_runs() {
    let fixture = Fixture::start("audit = \"all\"\n");
    (0..3).for_each(|_| assert_eq!(fixture.get(), 200));
    let lines = fixture.lines(&[], 5).len();
    let text = fixture.text();
    let shorter: Vec<&str> = text.lines().take(lines - 1).collect();
    fs::write(fixture.folder().join("audit.jsonl"), shorter.join("\n") + "\n").unwrap();
    let verified = fixture.verify().exits(1);
    assert_eq!(messages(&verified), [format!("line {lines} is missing")]);
}

#[test]
fn a_kill_at_any_moment_leaves_a_chain_that_verifies() {
    let mut fixture = Fixture::start_with(Daemon::builder().store("vault").config("audit = \"all\"\n"));
    let mut random = SeededRandom::from_environment();
    let counts = ClientCounts {
        fresh: 0,
        kept: 4,
        streams: 4,
    };
    let (mut lines, mut incomplete) = (0, 0);
    for _ in 0..12 {
        let (url, bundle) = (fixture.index(), fixture.daemon.bundle());
        let listen = fixture.daemon.proxy().replace("http://", "");
        let load = LoadGenerator::start(counts, &listen, &bundle, &url);
        std::thread::sleep(random.within(Duration::from_millis(300)));
        fixture.daemon.kill();
        load.stop();
        let before = fixture.assert_whole();
        let number = before["lines"].as_u64().unwrap();
        assert!(number >= lines, "lines are lost: {before}");
        incomplete += u64::from(before["incomplete-bytes"] != 0);
        fixture.restart_after_kill();
        lines = fixture.assert_whole()["lines"].as_u64().unwrap();
        assert!(lines >= number);
    }
    println!("{lines} lines, {incomplete} times an incomplete last line");
    assert!(lines > 100, "the kills came before any load");
}

#[test]
fn an_incomplete_last_line_is_no_tampering_and_is_repaired() {
    let mut fixture = Fixture::start("");
    assert_eq!(fixture.get(), 200);
    fixture.lines(&["--op", "read"], 1);
    fixture.daemon.kill();
    let text = fixture.text();
    fs::write(fixture.folder().join("audit.jsonl"), &text[..text.len() - 10]).unwrap();
    assert!(fixture.assert_whole()["incomplete-bytes"].as_u64().unwrap() > 10);
    fixture.restart_after_kill();
    let verified = fixture.assert_whole();
    assert_eq!(verified["incomplete-bytes"], 0);
    assert!(fixture.text().contains("\"note\":{\"kind\":\"repaired\""));
    assert!(
        fixture
            .daemon
            .log()
            .contains("removed an incomplete line from the audit record")
    );
}

#[test]
fn the_record_is_rotated_and_kept_within_its_size() {
    let fixture = Fixture::start("audit = \"all\"\naudit-max-size = \"256KiB\"\n");
    for _ in 0..3 {
        burst::send(&fixture.daemon, &fixture.index(), 700, 4);
    }
    let verified = poll::wait_for("the deletion of old lines", || {
        let verified = fixture.assert_whole();
        (verified["last"]["line"].as_u64() > verified["lines"].as_u64()).then_some(verified)
    });
    assert!(verified["files"].as_u64().unwrap() > 3, "{verified}");
    let sizes = fs::read_dir(fixture.folder())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() <= 400 << 10);
    assert!(fixture.daemon.log().contains("deleted old lines of the audit record"));
}

#[test]
fn a_daemon_that_drains_and_the_next_one_write_one_chain() {
    let mut fixture = Fixture::start_with(
        Daemon::builder()
            .store("vault")
            .socket_activated()
            .config("audit = \"all\"\n"),
    );
    for _ in 0..3 {
        assert_eq!(fixture.get(), 200);
        fixture.daemon.replace();
        assert_eq!(fixture.get(), 200);
    }
    fixture.daemon.wait_for_replaced();
    fixture.lines(&["--op", "read"], 6);
    fixture.assert_whole();
}
