//! State of a pool: its connections, its slots, the opening in progress. Reached only under the pool's lock.

use std::sync::{Arc, Weak};
use std::time::Instant;

use hyper::client::conn::{http1, http2};

use crate::credential::Rotations;
use crate::proxy::downstream::limits::ClientKey;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::upstream::connection_load::ConnectionLoad;
use crate::proxy::upstream::connector::MAX_STREAMS;
use crate::proxy::upstream::destination::RequestSender;
use crate::proxy::upstream::opening::Opening;
use crate::proxy::upstream::pool::checkout::Slot;
use crate::proxy::upstream::pool::{MAX_H2_CONNECTIONS, RETIREMENT};
use crate::proxy::upstream::slots::{Limits, Slots};

/// Connections of a pool, and requests that wait for one.
pub(super) struct PoolState {
    /// HTTP/2, oldest first.
    pub(super) h2: Vec<H2Connection>,
    /// HTTP/1.1 without a request, last used last.
    pub(super) idle_h1: Vec<H1Connection>,
    /// Requests over HTTP/1.1.
    pub(super) slots: Slots<Slot>,
    /// Requests of bearers of grants over HTTP/2.
    pub(super) streams: Slots<Slot>,
    /// HTTP/2 from before a rotation, until another connection is open.
    pub(super) retired: Vec<H2Connection>,
    /// Rotations of the credential: after each, all connections are stale.
    pub(super) rotations: Rotations,
    /// Number of times that all connections were retired.
    pub(super) retirements: u64,
    /// Opening that was started last; it ends when nobody waits for it.
    pub(super) opening: Weak<Opening>,
    pub(super) last_used: Option<Instant>,
}

#[derive(Clone)]
pub(super) struct H2Connection {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) load: Arc<ConnectionLoad>,
}

pub(super) struct H1Connection {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) load: Arc<ConnectionLoad>,
    pub(super) since: Instant,
}

impl PoolState {
    pub(super) fn new(rotations: Rotations) -> Self {
        Self {
            h2: Vec::new(),
            idle_h1: Vec::new(),
            slots: Slots::new(Limits::H1),
            streams: Slots::new(Limits::H2_OF_GRANTS),
            retired: Vec::new(),
            rotations,
            retirements: 0,
            opening: Weak::new(),
            last_used: None,
        }
    }

    /// The first connection below its limit of requests. At the limit of connections, the one with the fewest requests.
    ///
    /// Additional connections have smaller windows. A bearer with many requests uses those: responses that it does not read
    /// take less memory.
    pub(super) fn find_h2(&mut self, client: ClientKey) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        let has_many = client.is_grant && self.streams.taken_by(client) >= MAX_WIDE_STREAMS_OF_A_GRANT;
        self.h2.retain(|connection| !connection.sender.is_closed());
        let mut serving = self
            .h2
            .iter()
            .skip(usize::from(has_many))
            .filter(|connection| !connection.load.is_suspiciously_silent());
        let below_limit =
            serving.find(|connection| connection.load.active() < MAX_STREAMS && !connection.load.is_full());
        let found = below_limit.or_else(|| {
            let least_busy = self.h2.iter().min_by_key(|connection| connection.load.active());
            least_busy.filter(|_| self.h2.len() >= MAX_H2_CONNECTIONS)
        })?;
        Some((RequestSender::H2(found.sender.clone()), Arc::clone(&found.load)))
    }

    pub(super) fn find_h1(&mut self) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        while let Some(H1Connection { sender, load, .. }) = self.idle_h1.pop() {
            if sender.is_ready() {
                return Some((RequestSender::H1(sender), load));
            }
        }
        None
    }

    pub(super) fn find_retired(&mut self) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        self.retired.retain(|connection| !connection.sender.is_closed());
        let found = self.retired.iter().min_by_key(|connection| connection.load.active())?;
        Some((RequestSender::H2(found.sender.clone()), Arc::clone(&found.load)))
    }

    /// Retires all connections and returns the number of this retirement.
    pub(super) fn retire(&mut self) -> u64 {
        self.abandon_opening();
        if self.last_used.is_some_and(|last| last.elapsed() < RETIREMENT) {
            self.retirements += 1;
            self.idle_h1.clear();
            self.retired.append(&mut self.h2);
        } else {
            self.reset();
        }
        self.retirements
    }

    pub(super) fn reset(&mut self) {
        self.abandon_opening();
        self.retirements += 1;
        self.idle_h1.clear();
        self.h2.clear();
        self.retired.clear();
    }

    pub(super) fn abandon_opening(&mut self) {
        if let Some(opening) = std::mem::take(&mut self.opening).upgrade() {
            opening.abandon();
        }
    }

    pub(super) fn put(&mut self, sender: RequestSender, load: Arc<ConnectionLoad>) {
        match sender {
            RequestSender::H1(sender) => self.put_h1(sender, load),
            RequestSender::H2(sender) => self.h2.push(H2Connection { sender, load }),
        }
    }

    pub(super) fn put_h1(&mut self, sender: http1::SendRequest<RequestBody>, load: Arc<ConnectionLoad>) {
        let since = Instant::now();
        self.idle_h1.push(H1Connection { sender, load, since });
    }

    pub(super) fn forget_closed(&mut self) {
        self.h2.retain(|connection| !connection.sender.is_closed());
        self.idle_h1.retain(|connection| !connection.sender.is_closed());
        self.retired.retain(|connection| !connection.sender.is_closed());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.h2.is_empty() && self.idle_h1.is_empty() && self.retired.is_empty()
    }
}

/// Requests of one bearer on the first connection, whose windows are wide.
const MAX_WIDE_STREAMS_OF_A_GRANT: usize = 32;
