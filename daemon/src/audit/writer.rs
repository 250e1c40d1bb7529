//! Thread that writes the record: takes events from a bounded queue and appends them in batches.
//!
//! A failed write is repeated every second. Meanwhile a limited number of events waits; those beyond it are counted, and
//! a line of the record tells how many are missing.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use regauth_shared::event::{Event, EventKind, Lost};
use tokio::sync::oneshot;

use super::Shared;
use super::file::RecordFile;
use crate::events::{Published, unix_milliseconds};

/// Message to the thread.
pub(super) enum Message {
    /// Events to write.
    Events(Vec<Arc<Published>>),
    /// Event to write, as JSON, before the sender goes on. The answer is true once it is written.
    Confirmed(String, oneshot::Sender<bool>),
    /// Answers once everything before it is on the disk, or could not be written.
    Flush(oneshot::Sender<()>),
}

/// Event that is not written yet.
enum Pending {
    Published(Arc<Published>),
    Json(String),
}

impl Pending {
    fn json(&self) -> &str {
        match self {
            Self::Published(published) => published.line(),
            Self::Json(json) => json,
        }
    }
}

/// State of the thread.
pub(super) struct Writer {
    record: RecordFile,
    shared: Arc<Shared>,
    /// Events that are not written yet.
    pending: VecDeque<Pending>,
    /// Events that will never be written, since the last line about them.
    lost: u64,
    /// Time of the last write that has not reached the disk.
    unsynced: Option<Instant>,
    tidied: Instant,
}

impl Writer {
    pub(super) fn new(record: RecordFile, shared: Arc<Shared>) -> Self {
        Self {
            record,
            shared,
            pending: VecDeque::new(),
            lost: 0,
            unsynced: None,
            tidied: Instant::now(),
        }
    }

    /// Writes until all senders are gone.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        let opened = self.record.open().and_then(|()| self.record.tidy());
        self.report(opened.as_ref().err());
        loop {
            match queue.recv_timeout(PERIOD) {
                Ok(message) => self.take_batch(message, queue),
                Err(RecvTimeoutError::Timeout) => self.write_pending(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.maintain();
        }
        self.write_pending();
        self.sync();
    }

    /// Takes the messages that are there, and writes them together.
    fn take_batch(&mut self, first: Message, queue: &Receiver<Message>) {
        let mut confirmations = Vec::new();
        let mut flushes = Vec::new();
        let mut size = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Events(events) => {
                    self.shared.queued.fetch_sub(events.len(), Ordering::Relaxed);
                    size += events.iter().map(|event| event.line().len()).sum::<usize>();
                    self.pending.extend(events.into_iter().map(Pending::Published));
                }
                Message::Confirmed(json, sender) => {
                    size += json.len();
                    self.pending.push_back(Pending::Json(json));
                    confirmations.push((self.pending.len() - 1, sender));
                }
                Message::Flush(sender) => flushes.push(sender),
            }
            next = if size < self.record.batch_size() {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        self.write_pending();
        let is_written = self.pending.is_empty();
        // The requests are refused, so what their lines say is not true. From the end: a removal moves those behind it.
        for (index, sender) in confirmations.into_iter().rev() {
            if !is_written {
                self.pending.remove(index);
            }
            let _ = sender.send(is_written);
        }
        self.drop_excess();
        if !flushes.is_empty() {
            self.sync();
        }
        for sender in flushes {
            let _ = sender.send(());
        }
    }

    /// Writes what is pending, all or nothing.
    fn write_pending(&mut self) {
        self.lost += self.shared.take_lost();
        if self.pending.is_empty() && self.lost == 0 {
            // Notices that the disk has space again.
            if self.shared.has_failed() {
                let result = self.record.open();
                self.report(result.as_ref().err());
            }
            return;
        }
        let gap = (self.lost > 0).then(|| lost_event(self.lost));
        let events: Vec<&str> = (self.pending.iter().map(Pending::json)).chain(gap.as_deref()).collect();
        let result = self.record.append(&events);
        self.report(result.as_ref().err());
        if result.is_ok() {
            self.pending.clear();
            self.lost = 0;
            self.unsynced.get_or_insert_with(Instant::now);
        }
    }

    fn drop_excess(&mut self) {
        while self.pending.len() > MAX_PENDING {
            // The oldest stay: they tell how the trouble began.
            self.pending.pop_back();
            self.lost += 1;
        }
    }

    fn maintain(&mut self) {
        if self.unsynced.is_some_and(|since| since.elapsed() >= PERIOD) {
            self.sync();
        }
        if self.tidied.elapsed() >= TIDY_INTERVAL {
            self.tidied = Instant::now();
            let result = self.record.tidy();
            self.report(result.as_ref().err());
        }
    }

    /// Writes to the disk what has not reached it, if anything, and reports a failure.
    fn sync(&mut self) {
        // The kernel reports a failed sync once: a second attempt would succeed without the data.
        if self.unsynced.take().is_some()
            && let Err(error) = self.record.sync()
        {
            self.report(Some(&error));
        }
    }

    fn report(&self, error: Option<&io::Error>) {
        self.shared
            .report(self.record.link(), error, self.pending.len() as u64 + self.lost);
    }
}

/// Event in place of those that are missing.
fn lost_event(events: u64) -> String {
    let event = Event {
        time: unix_milliseconds(SystemTime::now()),
        sequence: 0,
        kind: EventKind::Lost(Lost { events }),
    };
    // An event has texts and numbers only, so serialization cannot fail.
    serde_json::to_string(&event).unwrap_or_default()
}

/// Time between two attempts to write, and longest time until a line is on the disk.
const PERIOD: Duration = Duration::from_secs(1);
const TIDY_INTERVAL: Duration = Duration::from_secs(3600);
/// Number of events that wait for a disk.
const MAX_PENDING: usize = 8192;
