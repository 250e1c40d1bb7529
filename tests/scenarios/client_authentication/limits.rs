//! Limits of clients that have not shown a grant, and of bearers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;

use super::create_grant;

#[test]
fn a_client_that_guesses_grants_is_slowed_down() {
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    let address = daemon.proxy().trim_start_matches("http://").to_owned();
    let guess = |number: usize| {
        let login = STANDARD.encode(format!("regauth:guess-{number}"));
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!("CONNECT localhost:1 HTTP/1.1\r\nProxy-Authorization: Basic {login}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
    };
    (0..64).for_each(guess);
    let begin = Instant::now();
    guess(64);
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_plain_connection_without_a_grant_ends_with_its_first_answer() {
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    let address = daemon.proxy().trim_start_matches("http://").to_owned();
    for method in ["GET", "TRACE"] {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!("{method} http://localhost:1/ HTTP/1.1\r\nHost: localhost:1\r\n\r\n");
        stream.write_all(head.repeat(3).as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert!(answers.starts_with("HTTP/1.1 407 "), "{method}: {answers}");
        assert!(answers.contains("connection: close\r\n"), "{method}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{method}: {answers}");
    }
}

/// curl asks for the proxy's schemes first, and shows its grant on a second connection.
#[test]
fn a_client_that_waits_for_the_challenge_gets_through_over_plain_http() {
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    let (_, proxy) = create_grant(&daemon, &[]);
    let curl = Curl::new().proxy(&proxy).with(&["--proxy-anyauth"]);
    for arguments in [&[][..], &["--data", "body"]] {
        let answer = curl.clone().with(arguments).get("http://localhost:1/");
        assert_eq!(
            (answer.status, answer.header("regauth-error")),
            (403, Some("grant-denied")),
            "authenticated, but a grant does not lead to loopback"
        );
    }
}
