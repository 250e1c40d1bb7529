//! Connection taken from a pool for one request, and the slot that it may need.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::uri::Authority;
use hyper::client::conn::http1;
use tokio::sync::oneshot;

use crate::proxy::downstream::limits::ClientKey;
use crate::proxy::exchange::body::{BodyProgress, RequestBody};
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::connection_load::ConnectionLoad;
use crate::proxy::upstream::destination::RequestSender;
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::pool::state::PoolState;

/// Requirements of one request for its connection.
pub(super) struct Needs {
    pub(super) client: ClientKey,
    /// True if the request may be sent again after it was sent.
    pub(super) is_repeatable: bool,
    /// Taken before an HTTP/1.1 connection, or a stream for a bearer.
    pub(super) slot: Option<Slot>,
}

impl Needs {
    pub(super) fn of(client: ClientKey, is_repeatable: bool) -> Self {
        Self {
            client,
            is_repeatable,
            slot: None,
        }
    }
}

/// Result of the search for an open connection.
pub(super) enum Found {
    /// A connection; the slot that it may need is taken.
    Connection(RequestSender, Arc<ConnectionLoad>),
    /// A slot for HTTP/1.1, and no idle connection.
    Slot,
    /// A place in the queue for a slot.
    Queue(oneshot::Receiver<Slot>),
    /// Neither, and the protocol is not known.
    Nothing,
}

/// Right of one request to an HTTP/1.1 connection or to a stream; returned on drop.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) pool: Arc<Pool>,
    pub(super) client: ClientKey,
    pub(super) kind: SlotKind,
    /// False once [`Slot::put_back`] has returned it.
    pub(super) is_taken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// HTTP/1.1 connection.
    H1,
    /// HTTP/2 stream of a bearer.
    Stream,
}

impl Slot {
    /// Returns the slot. The result is the next request and its slot, to be delivered without the lock.
    pub(super) fn put_back(&mut self, state: &mut PoolState) -> Option<(oneshot::Sender<Self>, Self)> {
        if !std::mem::take(&mut self.is_taken) {
            return None;
        }
        let slots = match self.kind {
            SlotKind::H1 => &mut state.slots,
            SlotKind::Stream => &mut state.streams,
        };
        let (client, next) = slots.put_back(self.client)?;
        Some((next, self.pool.slot(client, self.kind)))
    }

    /// A request that has gone meanwhile leaves its slot to the next one.
    pub(super) fn deliver(next: Option<(oneshot::Sender<Self>, Self)>) {
        if let Some((request, slot)) = next {
            drop(request.send(slot));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_taken {
            let pool = Arc::clone(&self.pool);
            let next = self.put_back(&mut pool.state());
            Self::deliver(next);
        }
    }
}

pub(super) async fn wait_for_slot(queue: oneshot::Receiver<Slot>) -> Result<Slot, ProxyError> {
    match tokio::time::timeout(SLOT_TIMEOUT, queue).await {
        Ok(Ok(slot)) => Ok(slot),
        Ok(Err(_)) | Err(_) => Err(ProxyError::Busy),
    }
}

/// Connection taken for one request.
pub(super) struct Checkout {
    pub(super) sender: RequestSender,
    pub(super) active: ActiveRequest,
    /// Present for HTTP/1.1 and for bearers of grants.
    pub(super) slot: Option<Slot>,
    /// Opened for this request.
    pub(super) is_new: bool,
}

/// Guard that counts one request on a connection.
pub(super) struct ActiveRequest {
    pub(super) load: Arc<ConnectionLoad>,
    /// True if the connection has carried an earlier request.
    pub(super) is_reused: bool,
}

impl ActiveRequest {
    pub(super) fn begin(load: Arc<ConnectionLoad>) -> Self {
        let is_reused = load.begin_request();
        Self { load, is_reused }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.load.end_request();
    }
}

/// Connection in use by one request until its response has ended. On drop, an HTTP/1.1 connection returns to its pool.
pub struct PooledConnection {
    pub(super) h1: Option<http1::SendRequest<RequestBody>>,
    /// False if the end of the response is not certain: the next response might be a part of it.
    pub(super) is_reusable: bool,
    pub(super) active: ActiveRequest,
    pub(super) slot: Option<Slot>,
    pub(super) pool: Arc<Pool>,
}

impl PooledConnection {
    /// Counter of the bytes of the response's body that the client takes.
    pub(crate) fn delivered(&self) -> BodyProgress {
        self.active.load.delivered()
    }

    /// Closes an HTTP/1.1 connection after the response.
    pub(crate) fn do_not_reuse(&mut self) {
        self.is_reusable = false;
    }

    /// True if the connection has carried an earlier request.
    pub(crate) fn is_reused(&self) -> bool {
        self.active.is_reused
    }

    /// Notes about the connection, and the authority that it leads to.
    pub(crate) fn peer(&self) -> (Arc<ConnectionLoad>, Authority) {
        (Arc::clone(&self.active.load), self.pool.destination.authority().clone())
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let is_closed = self.pool.is_closed.load(Ordering::Relaxed);
        if is_closed {
            // Also the connections that requests have opened since.
            self.pool.reset();
        }
        let is_kept = self.is_reusable && !is_closed;
        let sender = self.h1.take().filter(|sender| !sender.is_closed() && is_kept);
        let mut slot = self.slot.take();
        if sender.is_none() && slot.is_none() {
            return;
        }
        let load = &self.active.load;
        let mut state = self.pool.state();
        if let Some(sender) = sender
            && load.retirements == state.retirements
        {
            state.put_h1(sender, Arc::clone(load));
        }
        // After the connection, so that the next request finds it.
        let next = slot.as_mut().and_then(|slot| slot.put_back(&mut state));
        drop(state);
        Slot::deliver(next);
    }
}

impl fmt::Debug for PooledConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PooledConnection")
    }
}

/// Longest wait for a slot. A client that repeats its request is better off than one that waits for a stalled crowd.
const SLOT_TIMEOUT: Duration = Duration::from_secs(60);
