//! Viewer of the daemon's events, over the control socket itself.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::poll;

/// Connection on which `watch` was sent.
#[derive(Debug)]
pub struct Viewer {
    lines: BufReader<UnixStream>,
    /// The first answer: `{"ok":…}` or `{"err":…}`, which a daemon with too many connections sends in its greeting's place.
    pub answer: Value,
}

impl Viewer {
    /// Begins to watch all events of the daemon with this `REGAUTH_HOME`.
    ///
    /// # Panics
    /// When the daemon refuses.
    pub fn start(home: &Path) -> Self {
        let viewer = Self::request(home, json!({}));
        assert!(viewer.answer["ok"].is_object(), "{}", viewer.answer);
        viewer
    }

    /// Sends `watch` with these filters.
    ///
    /// # Panics
    /// When the daemon does not answer.
    pub fn request(home: &Path, mut filters: Value) -> Self {
        let stream = UnixStream::connect(home.join("run/control.sock")).unwrap();
        stream.set_read_timeout(Some(poll::TIMEOUT)).unwrap();
        filters["v"] = json!(1);
        filters["method"] = json!("watch");
        let mut viewer = Self {
            lines: BufReader::new(stream),
            answer: Value::Null,
        };
        viewer.answer = viewer.next_line().unwrap();
        if viewer.answer["hello"].is_object() {
            writeln!(viewer.lines.get_mut(), "{filters}").unwrap();
            viewer.answer = viewer.next_line().unwrap();
        }
        viewer
    }

    /// Next event; `None` at the end.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn next_line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).expect("an event in time");
        (length > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    /// Next event of a kind, such as `request`. Those before it are skipped.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self
                .next_line()
                .unwrap_or_else(|| panic!("the stream ended before `{kind}`"));
            if event["event"] == kind {
                return event;
            }
        }
    }
}
