//! The collector: empties the rings, gives each event its time and number, and passes it to the subscribers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use regauth_shared::event::{EventKind, Lost};
use tokio_util::sync::CancellationToken;

use crate::events::record::RequestRecord;
use crate::events::traffic::Ended;
use crate::events::{Announcement, Content, Events, Published, unix_milliseconds};

/// Collects events until `end` is cancelled, then those that are left. Only one collector may run.
pub(crate) async fn collect(events: Arc<Events>, end: CancellationToken) {
    let mut collector = Collector::new(Arc::clone(&events));
    loop {
        tokio::select! {
            () = end.cancelled() => break,
            () = events.due.notified() => {}
        }
        // More events will follow: a pause makes one wake-up of many.
        tokio::select! {
            () = end.cancelled() => break,
            () = tokio::time::sleep(PAUSE) => {}
            () = events.crowded.notified() => {}
        }
        collector.round();
    }
    collector.round();
    events.ended.cancel();
}

struct Collector {
    events: Arc<Events>,
    sequence: u64,
    /// Records of one round, kept for its memory.
    batch: Vec<Option<Collected>>,
    /// Times and places of those records, kept for its memory.
    order: Vec<(Instant, usize)>,
}

/// Record out of a ring.
enum Collected {
    /// From a worker.
    Request(RequestRecord),
    /// From the control side.
    Announced(Announcement),
}

impl Collected {
    fn at(&self) -> Instant {
        match self {
            Self::Request(record) => record.ended,
            Self::Announced(announcement) => announcement.at,
        }
    }
}

impl Collector {
    fn new(events: Arc<Events>) -> Self {
        Self {
            events,
            sequence: 0,
            batch: Vec::new(),
            order: Vec::new(),
        }
    }

    /// Passes on what the rings hold now, in the order of its time.
    fn round(&mut self) {
        let events = Arc::clone(&self.events);
        // Before the rings are read: a later record notifies again.
        events.is_due.swap(false, Ordering::SeqCst);
        let mut lost = events.control.take_lost();
        while let Some(announcement) = events.control.pop() {
            self.batch.push(Some(Collected::Announced(announcement)));
        }
        for ring in &events.workers {
            lost += ring.take_lost();
            // At most what a ring holds: a busy worker must not keep this thread here.
            let records = std::iter::from_fn(|| ring.pop()).take(super::WORKER_RECORDS);
            self.batch.extend(records.map(Collected::Request).map(Some));
        }
        let clock = Clock::now();
        let mut batch = std::mem::take(&mut self.batch);
        let mut order = std::mem::take(&mut self.order);
        order.extend(batch.iter().flatten().map(Collected::at).zip(0..));
        // Each ring is in order already, which this sort makes use of. Records are large: their places are sorted instead.
        order.sort();
        for (at, place) in order.drain(..) {
            if let Some(collected) = batch.get_mut(place).and_then(Option::take) {
                self.pass_on(clock.unix_ms(at), collected);
            }
        }
        batch.clear();
        (self.batch, self.order) = (batch, order);
        if lost > 0 {
            self.announce(clock.unix_ms(clock.monotonic), EventKind::Lost(Lost { events: lost }));
        }
    }

    fn pass_on(&mut self, time: u64, collected: Collected) {
        match collected {
            Collected::Request(record) => {
                // Without a subscriber, nobody misses the text.
                let events = &self.events;
                if events.feed.receiver_count() == 0 || (!events.wants_routine() && record.take_routine()) {
                    self.sequence += 1;
                } else {
                    self.publish(time, Content::Request(record.clone()));
                }
                self.events.traffic.count_request(Ended {
                    time,
                    sequence: self.sequence,
                    record,
                });
            }
            Collected::Announced(announcement) => self.announce(time, announcement.kind),
        }
    }

    fn announce(&mut self, time: u64, kind: EventKind) {
        self.events.traffic.count_event(&kind);
        self.publish(time, Content::Other(kind));
    }

    fn publish(&mut self, time: u64, content: Content) {
        self.sequence += 1;
        // An error says that nobody listens.
        let _ = self
            .events
            .feed
            .send(Arc::new(Published::new(time, self.sequence, content)));
    }
}

/// Both clocks at one moment, to translate times of the monotonic clock.
struct Clock {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn unix_ms(&self, at: Instant) -> u64 {
        let wall = self.wall - self.monotonic.saturating_duration_since(at);
        unix_milliseconds(wall)
    }
}

/// Pause between an event and the round that passes it on.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use regauth_shared::event::Reload;
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;
    use crate::events::{SUBSCRIBER_EVENTS, WORKER_RECORDS};

    fn record(ended: Instant) -> RequestRecord {
        RequestRecord::begin(Arc::default(), ended)
    }

    fn collector(workers: usize) -> Collector {
        Collector::new(Arc::new(Events::new(workers)))
    }

    #[test]
    fn events_of_all_rings_are_numbered_in_the_order_of_their_time() {
        let mut collector = collector(2);
        let events = Arc::clone(&collector.events);
        let mut subscriber = events.subscribe();
        let begin = Instant::now();
        events.record(0, record(begin + Duration::from_micros(2)));
        events.record(1, record(begin));
        events.start();
        events.announce(EventKind::Reload(Reload { registries: 1 }));
        collector.round();
        let received: Vec<_> = std::iter::from_fn(|| subscriber.try_recv().ok()).collect();
        let numbers: Vec<_> = received.iter().map(|received| received.sequence).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert!(matches!(received[0].event().kind, EventKind::Request(_)));
        assert!(received.is_sorted_by_key(|received| received.event().time));
    }

    #[test]
    fn reads_after_a_clients_first_become_events_only_while_somebody_wants_them() {
        let mut collector = collector(1);
        let events = Arc::clone(&collector.events);
        let mut news = events.subscribe_to_news();
        let client = record(Instant::now());
        let refused = || RequestRecord {
            code: Some("write-denied"),
            ..client.clone()
        };
        let other_registry = || RequestRecord {
            registry: Some("corp".parse().unwrap()),
            ..client.clone()
        };
        for record in [
            client.clone(),
            client.clone(),
            refused(),
            other_registry(),
            client.clone(),
        ] {
            events.record(0, record);
        }
        let mut numbers = |collector: &mut Collector| -> Vec<u64> {
            collector.round();
            std::iter::from_fn(|| news.try_recv().ok().map(|published| published.sequence)).collect()
        };
        assert_eq!(numbers(&mut collector), [1, 3, 4, 5]);
        let viewer = events.admit_viewer().unwrap();
        events.record(0, client.clone());
        assert_eq!(numbers(&mut collector), [6]);
        drop(viewer);
        events.record(0, client.clone());
        assert!(numbers(&mut collector).is_empty());
    }

    #[test]
    fn a_full_ring_says_how_many_events_are_missing() {
        let mut collector = collector(1);
        let events = Arc::clone(&collector.events);
        let mut subscriber = events.subscribe();
        for _ in 0..WORKER_RECORDS + 7 {
            events.record(0, record(Instant::now()));
        }
        collector.round();
        let received: Vec<_> = std::iter::from_fn(|| subscriber.try_recv().ok()).collect();
        assert_eq!(received.len(), WORKER_RECORDS + 1);
        assert_eq!(
            received[WORKER_RECORDS].event().kind,
            EventKind::Lost(Lost { events: 7 })
        );
    }

    #[test]
    fn a_subscriber_that_reads_nothing_holds_up_nobody_and_learns_what_it_lost() {
        let mut collector = collector(1);
        let events = Arc::clone(&collector.events);
        let (mut slow, mut quick) = (events.subscribe(), events.subscribe());
        let rounds = SUBSCRIBER_EVENTS / WORKER_RECORDS + 1;
        for _ in 0..rounds {
            for _ in 0..WORKER_RECORDS {
                events.record(0, record(Instant::now()));
            }
            collector.round();
            for _ in 0..WORKER_RECORDS {
                assert!(quick.try_recv().is_ok());
            }
        }
        let lost = (rounds * WORKER_RECORDS - SUBSCRIBER_EVENTS) as u64;
        assert_eq!(slow.try_recv().unwrap_err(), TryRecvError::Lagged(lost));
        assert_eq!(slow.try_recv().unwrap().sequence, lost + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_collector_wakes_for_an_event_and_for_the_end() {
        let events = Arc::new(Events::new(1));
        let mut subscriber = events.subscribe();
        let end = CancellationToken::new();
        let collecting = collect(Arc::clone(&events), end.clone());
        let watching = async {
            for number in 1..=3 {
                events.record(0, record(Instant::now()));
                assert_eq!(subscriber.recv().await.unwrap().sequence, number);
            }
            events.record(0, record(Instant::now()));
            end.cancel();
        };
        tokio::join!(collecting, watching);
        assert_eq!(subscriber.recv().await.unwrap().sequence, 4);
        events.ended().await;
    }
}
