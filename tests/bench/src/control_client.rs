//! Client for a daemon's control socket. A regauthctl process for each of ten rotations a second would add to the load.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use regauth_tests::daemon::Daemon;
use serde_json::{Value, json};

use crate::registry;

/// Rotates the token of a registry to [`registry::TOKEN_PREFIX`] followed by a number.
///
/// # Panics
/// If the daemon refuses, with its answer.
pub(crate) fn rotate(daemon: &Daemon, name: &str, number: usize) {
    let token = format!("{}{number}", registry::TOKEN_PREFIX);
    let request = json!({ "v": 1, "method": "rotate", "name": name, "token": token });
    let stream = UnixStream::connect(daemon.home().join("run/control.sock")).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let greeting = lines.next().unwrap().unwrap();
    assert!(greeting.contains("hello"), "{greeting}");
    (&stream).write_all(format!("{request}\n").as_bytes()).unwrap();
    let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(answer["ok"].is_object(), "{answer}");
}
