//! Polls the daemon once an interval, on a thread of its own: keys work while the daemon is slow or restarts.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use regauth_shared::ErrorBody;
use regauth_shared::request::TrafficOf;
use regauth_shared::response::Status;

use super::model::PollResult;
use super::sample::Sample;
use crate::client::Client;
use crate::error;

/// Handle of the polling thread, which ends with it.
#[derive(Debug)]
pub(super) struct Poller {
    queries: Sender<TrafficOf>,
    polls: Receiver<PollResult>,
    asked: TrafficOf,
}

impl Poller {
    /// Starts polling.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(super) fn start(client: Client, interval: Duration) -> Result<Self, ErrorBody> {
        let (queries, next_query) = mpsc::channel();
        let (results, polls) = mpsc::channel();
        let thread = thread::Builder::new().name("poller".to_owned());
        thread
            .spawn(move || poll(&client, interval, &next_query, &results))
            .map_err(error::io("cannot start a thread"))?;
        Ok(Self {
            queries,
            polls,
            asked: TrafficOf::default(),
        })
    }

    /// Asks for other requests in the detail pane. A change is answered at once.
    pub(super) fn ask_for(&mut self, query: TrafficOf) {
        if self.asked != query {
            self.asked = query.clone();
            // The thread ends only with this handle.
            let _ = self.queries.send(query);
        }
    }

    /// Polls that ended since the last call.
    pub(super) fn polls(&self) -> impl Iterator<Item = PollResult> {
        self.polls.try_iter()
    }
}

fn poll(client: &Client, interval: Duration, queries: &Receiver<TrafficOf>, results: &Sender<PollResult>) {
    let mut query = TrafficOf::default();
    let mut is_regular = true;
    let mut last_status = LastStatus::default();
    let mut next = Instant::now();
    loop {
        let result = Sample::fetch(client, query.clone(), last_status.take(is_regular));
        last_status.keep(result.as_ref().ok());
        let poll = PollResult { result, is_regular };
        if results.send(poll).is_err() {
            return;
        }
        if is_regular {
            // A daemon that was slow is not asked more often afterwards.
            next = (next + interval).max(Instant::now());
        }
        match queries.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(asked) => (query, is_regular) = (asked, false),
            Err(RecvTimeoutError::Timeout) => is_regular = true,
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Last status of the daemon, for the polls that do not ask for it. An answer to `status` costs the daemon a read of the
/// store and a sync of the audit record.
#[derive(Debug, Default)]
struct LastStatus {
    status: Option<Status>,
    /// Regular polls since the status was asked for.
    age: u32,
}

impl LastStatus {
    /// Status for the next poll; `None` if that one asks the daemon.
    fn take(&mut self, is_regular: bool) -> Option<Status> {
        self.age += u32::from(is_regular);
        let status = self.status.take().filter(|_| self.age < STATUS_POLLS);
        if status.is_none() {
            self.age = 0;
        }
        status
    }

    /// Keeps the status of a poll. After a failure, or a restart of the daemon, the next poll asks for another.
    fn keep(&mut self, sample: Option<&Sample>) {
        let is_current = |sample: &&Sample| sample.status.started == sample.traffic.started;
        self.status = sample.filter(is_current).map(|sample| sample.status.clone());
    }
}

/// The status is asked for with one regular poll of these.
const STATUS_POLLS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::samples::sample;

    #[test]
    fn the_status_is_asked_for_with_every_fifth_regular_poll() {
        let mut last = LastStatus::default();
        let mut asks = |is_regular| {
            let asks = last.take(is_regular).is_none();
            last.keep(Some(&sample(1, 1)));
            asks
        };
        let asked: Vec<bool> = (0..11).map(|_| asks(true)).collect();
        let expected: Vec<bool> = (0..11).map(|poll| poll % 5 == 0).collect();
        assert_eq!(asked, expected);
        assert!((0..11).all(|_| !asks(false)));
    }

    #[test]
    fn the_status_is_asked_for_after_a_failure_and_after_a_restart() {
        let mut last = LastStatus::default();
        last.keep(Some(&sample(1, 1)));
        last.keep(None);
        assert!(last.take(true).is_none());
        let mut restarted = sample(1, 1);
        "2026-03-04T05:00:00Z".clone_into(&mut restarted.traffic.started);
        last.keep(Some(&restarted));
        assert!(last.take(true).is_none());
    }
}
