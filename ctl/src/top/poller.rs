//! Polls the daemon once an interval, on a thread of its own: keys work while the daemon is slow or restarts.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use regauth_shared::ErrorBody;
use regauth_shared::request::TrafficOf;

use super::model::Poll;
use super::sample::Sample;
use crate::client::Client;
use crate::error;

/// Handle of the polling thread, which ends with it.
#[derive(Debug)]
pub(super) struct Poller {
    queries: Sender<TrafficOf>,
    polls: Receiver<Poll>,
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
    pub(super) fn polls(&self) -> impl Iterator<Item = Poll> {
        self.polls.try_iter()
    }
}

fn poll(client: &Client, interval: Duration, queries: &Receiver<TrafficOf>, results: &Sender<Poll>) {
    let mut query = TrafficOf::default();
    let mut is_regular = true;
    let mut next = Instant::now();
    loop {
        let poll = Poll {
            result: Sample::fetch(client, query.clone()),
            is_regular,
        };
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
