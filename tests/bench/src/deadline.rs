//! Deadline of each step: the benchmark names a step that hangs, stops every program and ends.

use std::fs;
use std::process;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process_group};

/// Watcher of the step in progress. The last step ends with its drop.
#[derive(Debug)]
pub(crate) struct StepDeadline(Sender<String>);

impl StepDeadline {
    /// Starts to watch.
    pub(crate) fn watch() -> Self {
        let (steps, begun) = channel::<String>();
        thread::spawn(move || {
            let mut step = "the start".to_owned();
            loop {
                match begun.recv_timeout(LIMIT) {
                    Ok(next) => step = next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => end(&step),
                }
            }
        });
        Self(steps)
    }

    /// Begins a step; the one before has ended. The name has the row or group, and the candidate.
    pub(crate) fn begin(&self, step: String) {
        self.0.send(step).expect("the watcher lives as long as this");
    }
}

fn end(step: &str) -> ! {
    eprintln!("{step}: no end after {LIMIT:?}; stopped every program, wrote no results");
    for child in children() {
        let _ = kill_process_group(child, Signal::KILL);
    }
    process::exit(1)
}

/// Programs that this process has started. Each leads a process group.
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    let child = |stat: String| {
        // proc_pid_stat(5): the process id, the name in parentheses, the state, the parent.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
        let pid = stat.split(' ').next()?.parse().ok()?;
        (parent == own).then(|| Pid::from_raw(pid)).flatten()
    };
    stats.filter_map(child).collect()
}

/// The longest step, a GiB through a slow proxy, takes less than half of this.
const LIMIT: Duration = Duration::from_secs(300);
