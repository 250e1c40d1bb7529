//! A daemon that is not there, or not as it should be.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::peer::{Home, command, golden, run};

#[test]
fn no_daemon() {
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
fn without_a_home_of_its_own_the_daemon_is_a_service() {
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
fn home_is_a_flag_too() {
    let (home, _peer) = Home::answering(&[golden("response/status")]);
    let path = home.path().to_str().unwrap();
    let run = run(
        command(&["--home", path, "status"], [("REGAUTH_HOME", "/nowhere")]),
        b"",
    );
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn nowhere_to_look() {
    let run = run(command::<&str, &str>(&["status"], []), b"");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("REGAUTH_HOME"), "{run:?}");
}

#[test]
fn the_socket_of_a_daemon_that_died() {
    let home = Home::empty();
    drop(UnixListener::bind(home.socket()).unwrap());
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("has ended"), "{run:?}");
    assert!(run.stderr.contains("hint: start it"), "{run:?}");
}

#[test]
fn a_socket_whose_path_the_system_cannot_take() {
    let home = format!("/{}", "x".repeat(120));
    let run = run(command(&["status"], [("REGAUTH_HOME", &home)]), b"");
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("too long"), "{run:?}");
}

#[test]
fn a_daemon_of_another_version() {
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
fn a_daemon_that_is_too_old() {
    let home = Home::empty();
    let greeting = r#"{"hello":{"versions":[0],"daemon":"0.0.1"}}"#;
    let _peer = home.peer(greeting.to_owned(), vec!["unused".to_owned()]);
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("hint: update regauthd to the release"), "{run:?}");
    assert!(run.stderr.contains("restart the service"), "{run:?}");
}

/// A newer daemon that still knows our version of the protocol is asked in it, and told apart.
#[test]
fn a_newer_daemon_of_a_known_protocol_is_used_and_said_to_differ() {
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

/// An older daemon, whose `status` says less and who does not know every verb.
#[test]
fn an_older_daemon_is_used_and_said_to_differ() {
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
fn the_same_release_is_not_said_to_differ() {
    let (home, _peer) = Home::answering(&[golden("response/status")]);
    let run = home.run(&["status"]);
    assert!(!run.stdout.contains("problem"), "{run:?}");
}

/// The peer ends after its last answer, and its connection with it.
#[test]
fn stop_waits_for_the_end_when_it_is_told_to() {
    let stop = golden("response/stop");
    for (arguments, says) in [
        (
            &["stop"][..],
            "regauthd (process 4242) drains 3 connections, for at most 30 s, and ends.\n",
        ),
        (&["stop", "--wait"], "regauthd (process 4242) has ended.\n"),
    ] {
        let (home, peer) = Home::answering(std::slice::from_ref(&stop));
        let run = home.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(0), says), "{run:?}");
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
fn something_else_on_the_socket() {
    let home = Home::empty();
    let _peer = home.peer("220 mail.example ESMTP".to_owned(), vec!["unused".to_owned()]);
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("does not greet as regauthd does"), "{run:?}");
}

#[test]
fn a_daemon_that_hangs_up_instead_of_greeting() {
    let home = Home::empty();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let peer = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let run = home.run(&["status"]);
    peer.join().unwrap();
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("closed the connection"), "{run:?}");
}

#[test]
fn a_daemon_that_never_greets_is_reported() {
    let home = Home::empty();
    let _listener = UnixListener::bind(home.socket()).unwrap();
    let start = Instant::now();
    let run = home.run(&["status"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("did not answer within 10 s"), "{run:?}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// A daemon that is stopped (SIGSTOP) while somebody polls it: the backlog is full, and connecting itself waits.
#[test]
#[cfg(target_os = "linux")]
fn a_daemon_that_never_accepts_is_reported() {
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
