//! A daemon's control socket, spoken to directly: starting regauthctl ten times a second would be measured as well.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use regauth_tests::daemon::Daemon;
use serde_json::{Value, json};

use crate::origin;

/// Replaces the registry's token by the one of this number.
///
/// # Panics
/// With the daemon's words, when it refuses.
pub(crate) fn rotate(daemon: &Daemon, registry: &str, number: usize) {
    let token = format!("{}{number}", origin::TOKEN);
    let request = json!({ "v": 1, "method": "rotate", "name": registry, "token": token });
    let stream = UnixStream::connect(daemon.home().join("run/control.sock")).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let greeting = lines.next().unwrap().unwrap();
    assert!(greeting.contains("hello"), "{greeting}");
    (&stream).write_all(format!("{request}\n").as_bytes()).unwrap();
    let answer: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(answer["ok"].is_object(), "{answer}");
}
