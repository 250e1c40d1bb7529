//! Events: one stream of what happened, from the data path and the control side to everybody who looks.
//!
//! ```text
//! worker 0 ── record ──▶ ring ─┐
//! worker 1 ── record ──▶ ring ─┼─▶ collector: time, sequence ─▶ subscribers, each with a bounded queue
//! control ─── announce ▶ ring ─┘
//! ```
//!
//! A worker writes a [`RequestRecord`] of fixed size to a [`ring`] of its own: no lock, no allocation, no wait. If the ring
//! is full, the record is dropped and counted. The [`collector`] runs on the control thread. It wakes at most every 50 ms,
//! empties the rings, numbers the events and passes them on. A subscriber that is too slow loses events and learns how
//! many. Nothing that a subscriber does reaches a worker. The collector also feeds [`traffic`], the counters.
//!
//! No event holds a secret: a record has a path without its query, and no header.

pub(crate) mod caller;
pub(crate) mod collector;
mod json;
pub(crate) mod record;
mod ring;
pub(crate) mod traffic;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use regauth_shared::event::{Event, EventKind, Started};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, broadcast};
use tokio_util::sync::CancellationToken;

use crate::events::record::RequestRecord;
use crate::events::ring::Ring;
use crate::events::traffic::TrafficCounters;

/// Rings of all workers, and the subscribers.
#[derive(Debug)]
pub(crate) struct Events {
    workers: Vec<Ring<RequestRecord>>,
    control: Ring<Announcement>,
    /// True from an event until the collector's next round: only the first event of a round notifies it.
    is_due: AtomicBool,
    due: Notify,
    /// Notified when a ring is half full, which ends the collector's pause.
    crowded: Notify,
    /// False while the daemon starts: what it loads then is no news.
    has_started: AtomicBool,
    feed: broadcast::Sender<Arc<Published>>,
    /// Counters of all requests, which only the collector changes.
    pub(crate) traffic: TrafficCounters,
    /// True once a subscriber wants every request.
    keeps_routine: AtomicBool,
    /// Places of viewers over the control socket.
    viewers: Arc<Semaphore>,
    /// Cancelled after the last event.
    ended: CancellationToken,
}

/// Event with its time and number. Its two forms are made when somebody needs them, once for all.
#[derive(Debug)]
pub(crate) struct Published {
    /// Time in milliseconds since 1970.
    time: u64,
    /// Number since the daemon's start.
    pub(crate) sequence: u64,
    content: Content,
    /// Boxed, since most events are never looked at.
    event: OnceLock<Box<Event>>,
    line: OnceLock<String>,
}

#[derive(Debug)]
enum Content {
    Request(RequestRecord),
    Other(EventKind),
}

impl Published {
    fn new(time: u64, sequence: u64, content: Content) -> Self {
        Self {
            time,
            sequence,
            content,
            event: OnceLock::new(),
            line: OnceLock::new(),
        }
    }

    /// The event as a value.
    pub(crate) fn event(&self) -> &Event {
        self.event.get_or_init(|| {
            Box::new(Event {
                time: self.time,
                sequence: self.sequence,
                kind: match &self.content {
                    Content::Request(record) => record.to_event(),
                    Content::Other(kind) => kind.clone(),
                },
            })
        })
    }

    /// The event as one line of JSON.
    pub(crate) fn line(&self) -> &str {
        self.line.get_or_init(|| match &self.content {
            Content::Request(record) => json::request_line(self.time, self.sequence, record),
            // Serialization cannot fail: events hold texts and numbers.
            Content::Other(_) => serde_json::to_string(self.event()).unwrap_or_default(),
        })
    }

    /// True if the audit record has it already.
    pub(crate) fn is_recorded(&self) -> bool {
        matches!(&self.content, Content::Request(record) if record.is_recorded)
    }
}

/// Event of the control side, before it has a number.
#[derive(Debug)]
struct Announcement {
    at: Instant,
    kind: EventKind,
}

impl Events {
    /// Empty rings for `workers` workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers.max(1)).map(|_| Ring::new(WORKER_RECORDS)).collect(),
            control: Ring::new(CONTROL_RECORDS),
            is_due: AtomicBool::new(false),
            due: Notify::new(),
            crowded: Notify::new(),
            has_started: AtomicBool::new(false),
            feed: broadcast::channel(SUBSCRIBER_EVENTS).0,
            traffic: TrafficCounters::new(),
            keeps_routine: AtomicBool::new(false),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            ended: CancellationToken::new(),
        }
    }

    /// Records a request that ended on the worker `index`. Called by that worker only.
    pub(crate) fn record(&self, index: usize, record: RequestRecord) {
        let Some(ring) = self.workers.get(index % self.workers.len()) else {
            return;
        };
        if ring.push(record) == WORKER_RECORDS / 2 {
            self.crowded.notify_one();
        }
        self.notify();
    }

    /// Records that the daemon serves requests. Earlier announcements are dropped.
    pub(crate) fn start(&self) {
        self.has_started.store(true, Ordering::Relaxed);
        let version = regauth_shared::version::PROGRAM.to_owned();
        self.announce(EventKind::Started(Started { version }));
    }

    /// Records an event of the control side.
    pub(crate) fn announce(&self, kind: EventKind) {
        if !self.has_started.load(Ordering::Relaxed) {
            return;
        }
        let at = Instant::now();
        self.control.push(Announcement { at, kind });
        self.notify();
    }

    /// All events from now on. A subscriber that falls [`SUBSCRIBER_EVENTS`] behind loses the oldest, and `recv` returns
    /// their number.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Published>> {
        self.keeps_routine.store(true, Ordering::Relaxed);
        self.feed.subscribe()
    }

    /// Events from now on, without the reads of a client after its first, as long as nobody else wants those: they are most
    /// of all events, and each costs a microsecond.
    pub(crate) fn subscribe_to_news(&self) -> broadcast::Receiver<Arc<Published>> {
        self.feed.subscribe()
    }

    /// True while somebody wants every request.
    fn wants_routine(&self) -> bool {
        self.keeps_routine.load(Ordering::Relaxed) || self.viewers.available_permits() < MAX_VIEWERS
    }

    /// Takes one of [`MAX_VIEWERS`] places, until it is dropped.
    pub(crate) fn admit_viewer(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.viewers).try_acquire_owned()
    }

    /// Waits until there are no more events: the daemon ends.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Notifies the collector, once a round. The flag is read first: workers then share its cache line without writing.
    fn notify(&self) {
        // Sequentially consistent, as are the rings: either the collector's round finds the record, or this finds the flag
        // cleared.
        if !self.is_due.load(Ordering::SeqCst) && !self.is_due.swap(true, Ordering::SeqCst) {
            self.due.notify_one();
        }
    }
}

/// A time in milliseconds since 1970, as events and the audit record have it.
pub(crate) fn unix_milliseconds(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Viewers at a time. Each costs the control thread work for every event.
pub(crate) const MAX_VIEWERS: usize = 32;
/// Records of one worker: 20,000 requests a second fill half of them within 25 ms.
const WORKER_RECORDS: usize = 1024;
/// Events of the control side between two rounds.
const CONTROL_RECORDS: usize = 256;
/// Events that wait for one subscriber.
const SUBSCRIBER_EVENTS: usize = 4096;
