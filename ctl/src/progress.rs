//! Sign of life on stderr while something takes longer than a second: a spinner, what is waited for, and for how long.
//!
//! Only a terminal gets it. It is removed before anything else is printed.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Spinner that runs until it is dropped.
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Shows a text such as `waiting for the registry`, once a second has passed.
    pub(crate) fn start(text: &'static str) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if is_dumb || !io::stderr().is_terminal() {
            return Self(None);
        }
        let (stop, stopped) = channel();
        let begin = Instant::now();
        let thread = std::thread::spawn(move || {
            let wait = |time| stopped.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !wait(DELAY) {
                return;
            }
            let mut frames = FRAMES.iter().cycle();
            loop {
                let frame = frames.next().unwrap_or(&' ');
                show(&format!("\r{frame} {text} ({} s)\x1b[K", begin.elapsed().as_secs()));
                if !wait(INTERVAL) {
                    break;
                }
            }
            show("\r\x1b[K");
        });
        Self(Some((stop, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            // It ends at once; a panic there has only lost the spinner.
            let _ = thread.join();
        }
    }
}

fn show(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

const DELAY: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(120);
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];
