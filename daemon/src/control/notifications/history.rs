//! Times of the last notifications, by cause. A file keeps them, so that a restart repeats none.
//!
//! The file has no version: one that is missing or damaged costs a repeated notification, nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::atomic;
use crate::control::notifications::Cause;

/// Last notification of each cause.
pub(super) struct History {
    file: PathBuf,
    /// In seconds since the epoch.
    last: BTreeMap<Cause, u64>,
}

impl History {
    /// Reads the file.
    pub(super) fn read(file: PathBuf) -> Self {
        let text = std::fs::read(&file).unwrap_or_default();
        let last = serde_json::from_slice(&text).unwrap_or_default();
        Self { file, last }
    }

    /// True if a cause was not notified within [`REPEAT_INTERVAL`].
    pub(super) fn is_due(&self, cause: &str) -> bool {
        self.last.get(cause).is_none_or(|last| has_passed(*last, now()))
    }

    /// Records a notification and writes the file, without the times that no longer matter.
    pub(super) fn record(&mut self, cause: Cause) {
        let now = now();
        self.last.retain(|_, last| !has_passed(*last, now));
        self.last.insert(cause, now);
        let text = serde_json::to_vec(&self.last).unwrap_or_default();
        if let Err(error) = atomic::write_without_sync(&self.file, &text, FILE_MODE) {
            tracing::warn!(%error, file = %self.file.display(), "could not record a notification; a restart repeats it");
        }
    }
}

/// Also true for a time in the future: the clock was set back since.
fn has_passed(last: u64, now: u64) -> bool {
    now.abs_diff(last) >= REPEAT_INTERVAL.as_secs()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Least time between two notifications of one cause.
const REPEAT_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const FILE_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_due_again_after_a_day_also_for_the_next_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notifications.json");
        let mut history = History::read(file.clone());
        assert!(history.is_due("rejected corp"));
        history.record("rejected corp".to_owned());
        let mut next = History::read(file);
        for history in [&history, &next] {
            assert!(!history.is_due("rejected corp") && history.is_due("rejected other"));
        }
        *next.last.get_mut("rejected corp").unwrap() -= REPEAT_INTERVAL.as_secs();
        assert!(next.is_due("rejected corp"));
    }

    #[test]
    fn a_damaged_file_and_a_clock_that_was_set_back_silence_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notifications.json");
        std::fs::write(&file, "{\"rejected corp\": tomor").unwrap();
        assert!(History::read(file.clone()).is_due("rejected corp"));
        let far_ahead = now() + 2 * REPEAT_INTERVAL.as_secs();
        std::fs::write(&file, format!("{{\"rejected corp\": {far_ahead}}}")).unwrap();
        assert!(History::read(file).is_due("rejected corp"));
    }
}
