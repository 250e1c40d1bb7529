//! Errors for a daemon that is missing, of another release, or silent.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::peer::{Home, command, golden, run};

#[test]
fn reports_a_missing_socket_with_the_start_command() {
    let home = Home::empty();
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("there is no control socket"), "{run:?}");
    let hint = format!("hint: start it: regauthd --home {}\n", home.path().display());
    assert!(run.stderr.ends_with(&hint), "{run:?}");
    let run = home.run(&["status", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(3), ""));
    assert!(run.stdout.starts_with(r#"{"err":{"kind":"unreachable","#), "{run:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn suggests_the_service_without_a_home_folder() {
    let home = Home::empty();
    let run = run(command(&["status"], [("HOME", home.path())]), b"");
    assert_eq!(run.code, Some(3));
    assert!(
        run.stderr
            .contains("regauthd, or once and for all: regauthctl service install"),
        "{run:?}"
    );
}

#[test]
fn prefers_the_home_flag_to_the_variable() {
    let (home, _peer) = Home::answering(&[golden("response/status")]);
    let path = home.path().to_str().unwrap();
    let run = run(
        command(&["--home", path, "status"], [("REGAUTH_HOME", "/nowhere")]),
        b"",
    );
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn the_commands_of_an_answer_lead_to_the_same_daemon() {
    let answers = [
        golden("error/store-locked"),
        golden("error/store-locked"),
        golden("error/store-locked"),
    ];
    let (home, _peer) = Home::answering(&answers);
    let path = home.path().to_str().unwrap();
    let ask = |words: &[&str]| run(command(words, [("REGAUTH_HOME", path)]), b"");
    let with_flag = format!("regauthctl --home {path} unlock");
    let flagged = ask(&["--home", path, "verify"]);
    assert!(flagged.stderr.contains(&with_flag), "{flagged:?}");
    let json = ask(&["verify", "--json", "--home", path]);
    assert!(json.stdout.contains(&with_flag), "{json:?}");
    // The variable is set for the next command too.
    let plain = ask(&["verify"]);
    assert!(plain.stderr.contains("hint: regauthctl unlock"), "{plain:?}");
}

#[test]
fn requires_a_home_folder() {
    let run = run(command::<&str, &str>(&["status"], []), b"");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("REGAUTH_HOME"), "{run:?}");
}

#[test]
fn reports_the_socket_of_a_daemon_that_has_ended() {
    let home = Home::empty();
    drop(UnixListener::bind(home.socket()).unwrap());
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("has ended"), "{run:?}");
    assert!(run.stderr.contains("hint: start it"), "{run:?}");
}

#[test]
fn reports_a_socket_path_that_is_too_long() {
    let home = format!("/{}", "x".repeat(120));
    let run = run(command(&["status"], [("REGAUTH_HOME", &home)]), b"");
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("too long"), "{run:?}");
}

#[test]
fn reports_a_daemon_with_a_newer_protocol() {
    let home = Home::empty();
    let greeting = r#"{"hello":{"versions":[2,3],"daemon":"9.0.0","motto":"onward"}}"#;
    let _peer = home.peer(greeting.to_owned(), vec!["unused".to_owned()]);
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr
            .contains("regauthd 9.0.0 speaks version 2, 3 of the protocol"),
        "{run:?}"
    );
    assert!(
        run.stderr
            .contains("hint: update regauthctl to the release of the daemon, 9.0.0"),
        "{run:?}"
    );
}

#[test]
fn reports_a_daemon_with_an_older_protocol() {
    let home = Home::empty();
    let greeting = r#"{"hello":{"versions":[0],"daemon":"0.0.1"}}"#;
    let _peer = home.peer(greeting.to_owned(), vec!["unused".to_owned()]);
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("hint: update regauthd to the release"), "{run:?}");
    assert!(run.stderr.contains("restart the service"), "{run:?}");
}

#[test]
fn uses_a_newer_daemon_with_our_protocol_and_reports_the_difference() {
    let home = Home::empty();
    let greeting = r#"{"hello":{"versions":[1,2],"daemon":"9.0.0"}}"#;
    let answer = r#"{"ok":{"version":"9.0.0","pid":7,"started":"2026-03-04T05:00:00Z","listen":"127.0.0.1:9001","sockets":{"proxy":"passed","control":"passed","metrics":"passed"},"proxy":"http://127.0.0.1:9001","bundle":"/b.pem","config":"/c.toml","store":{"kind":"hsm","protection":"a chip","state":"open"},"registries":2,"clients":"same-user","connections":3,"requests":1234,"mood":"good"}}"#;
    let peer = home.peer(greeting.to_owned(), vec![answer.to_owned()]);
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stdout
            .contains("127.0.0.1:9001, on sockets of the service manager's"),
        "{run:?}"
    );
    assert!(run.stdout.contains("the regauthd that runs is 9.0.0"), "{run:?}");
    assert!(run.stdout.contains("hint: restart the service"), "{run:?}");
    assert_eq!(peer.requests(), [r#"{"v":1,"method":"status"}"#]);
}

/// The older daemon omits fields of `status` and does not know every verb.
#[test]
fn uses_an_older_daemon_with_our_protocol_and_reports_the_difference() {
    let home = Home::empty();
    let greeting = r#"{"hello":{"versions":[1],"daemon":"0.0.9"}}"#;
    let status = r#"{"ok":{"version":"0.0.9","pid":7,"started":"2026-03-04T05:00:00Z","listen":"127.0.0.1:9001","proxy":"http://127.0.0.1:9001","bundle":"/b.pem","config":"/c.toml","store":{"kind":"vault","protection":"a file","state":"open"},"registries":2,"connections":3,"requests":1234}}"#;
    let unknown = r#"{"err":{"kind":"invalid","message":"`log`: unknown variant `log`, expected one of `list`"}}"#;
    let peer = home.peer(greeting.to_owned(), vec![status.to_owned(), unknown.to_owned()]);
    let run = home.run(&["status"]);
    assert!(run.stdout.contains("the regauthd that runs is 0.0.9"), "{run:?}");
    let run = home.run(&["log", "debug"]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("unknown variant `log`"), "{run:?}");
    assert!(run.stderr.contains("hint: the regauthd that runs is 0.0.9"), "{run:?}");
    assert_eq!(peer.requests().len(), 2);
}

#[test]
fn reports_no_difference_for_the_same_release() {
    let (home, _peer) = Home::answering(&[golden("response/status")]);
    let run = home.run(&["status"]);
    assert!(!run.stdout.contains("problem"), "{run:?}");
}

/// The peer ends after its last answer, which closes the connection.
#[test]
fn waits_for_the_exit_with_stop_wait() {
    let stop = golden("response/stop");
    for (arguments, expected) in [
        (
            &["stop"][..],
            "regauthd (process 4242) drains 3 connections, for at most 30 s, and ends.\n",
        ),
        (&["stop", "--wait"], "regauthd (process 4242) has ended.\n"),
    ] {
        let (home, peer) = Home::answering(std::slice::from_ref(&stop));
        let run = home.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(0), expected), "{run:?}");
        assert_eq!(peer.requests(), [r#"{"v":1,"method":"stop"}"#]);
    }
}
#[test]
fn a_daemon_that_turns_us_away() {
    let home = Home::empty();
    let _peer = home.peer(golden("error/refused"), vec!["unused".to_owned()]);
    assert_eq!(home.run(&["status"]).code, Some(8));
}

#[test]
fn reports_another_program_on_the_socket() {
    let home = Home::empty();
    let _peer = home.peer("220 mail.example ESMTP".to_owned(), vec!["unused".to_owned()]);
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("does not greet as regauthd does"), "{run:?}");
}

#[test]
fn reports_a_connection_that_closes_before_the_hello() {
    let home = Home::empty();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let peer = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let run = home.run(&["status"]);
    peer.join().unwrap();
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("closed the connection"), "{run:?}");
}

#[test]
fn times_out_on_a_daemon_that_sends_no_hello() {
    let home = Home::empty();
    let _listener = UnixListener::bind(home.socket()).unwrap();
    let start = Instant::now();
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("did not answer within 10 s"), "{run:?}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// The backlog of a daemon stopped by SIGSTOP is full, so connect(2) itself blocks.
#[test]
#[cfg(target_os = "linux")]
fn times_out_on_a_daemon_that_accepts_no_connection() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let home = Home::empty();
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(home.socket()).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(home.socket()).unwrap();
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("did not answer within 10 s"), "{run:?}");
}

/// A daemon that is busy with a slow registry still greets others.
#[test]
fn waits_for_a_busy_daemon_that_still_greets() {
    let home = Home::empty();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let peer = std::thread::spawn(move || {
        let greet = || {
            let (mut connection, _) = listener.accept().unwrap();
            writeln!(connection, "{}", golden("hello")).unwrap();
            connection
        };
        let mut first = greet();
        // The program asks for the hello again before it gives up.
        drop(greet());
        writeln!(first, "{}", golden("response/status")).unwrap();
    });
    let run = home.run(&["status"]);
    peer.join().unwrap();
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn times_out_on_a_daemon_that_neither_answers_nor_greets() {
    let home = Home::empty();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let (mut connection, run) = std::thread::scope(|scope| {
        let run = scope.spawn(|| home.run(&["status"]));
        let (mut connection, _) = listener.accept().unwrap();
        writeln!(connection, "{}", golden("hello")).unwrap();
        (connection, run.join().unwrap())
    });
    let _ = connection.flush();
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("did not answer within 10 s"), "{run:?}");
}

#[test]
fn a_purge_without_a_daemon_deletes_the_files_and_names_the_items_of_the_keychain() {
    for (store, stays) in [("keychain", true), ("vault", false)] {
        let home = Home::empty();
        let config = home.path().join("config.toml");
        std::fs::write(&config, format!("store = \"{store}\"\n")).unwrap();
        std::fs::create_dir(home.path().join("state")).unwrap();
        let run = home.run(&["uninstall", "--purge", "--yes"]);
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(!config.exists() && !home.path().join("state").exists(), "{run:?}");
        let command = format!("secret-tool clear service regauth@{}", home.path().display());
        assert_eq!(run.stdout.contains(&command), stays, "{run:?}");
    }
}

#[test]
fn a_purge_deletes_nothing_while_another_program_listens() {
    let home = Home::empty();
    let config = home.path().join("config.toml");
    std::fs::write(&config, "store = \"keychain\"\n").unwrap();
    let _peer = home.peer("nonsense".to_owned(), vec![golden("response/list")]);
    let run = home.run(&["uninstall", "--purge", "--yes"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(config.exists(), "{run:?}");
}
