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
            .contains("hint: install regauthctl and regauthd of the same release"),
        "{run:?}"
    );
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
