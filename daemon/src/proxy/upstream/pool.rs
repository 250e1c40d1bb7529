//! Pool of upstream connections for one origin and one worker.
//!
//! An HTTP/2 connection carries many requests, which share its streams (servers allow about 100) and its flow-control
//! window. Stalled uploads or unread downloads would block the next request. So a connection takes a limited number of
//! requests, and none while unread downloads fill half of its window: the next one opens another connection. Usually there
//! is one. An HTTP/1.1 connection carries one request at a time: it leaves the pool with the request and returns after the
//! response.
//!
//! Requests that find no connection wait for an [`Opening`], and share its outcome. Once a registry is known to speak
//! HTTP/1.1, each request opens its own, as long as there are [`slots`](crate::proxy::upstream::slots). Over HTTP/2, only
//! bearers of grants need a slot. All waiting has a deadline.
//!
//! A rotation retires all connections, because their buffers still hold the last token. A request gets its token when it has
//! a connection ([`CarriedCredential`]), so connections that are opened later never carry an old one. Until a new connection is open,
//! requests use the retired ones, so that a rotation causes no delay.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme as UriScheme};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::credential::Rotations;
use crate::proxy::downstream::limits::ClientKey;
use crate::proxy::exchange::body::{BodyProgress, RequestBody};
use crate::proxy::exchange::carried::CarriedCredential;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::rewrite::repeatable_copy;
use crate::proxy::upstream::connector::{
    ConnectionLoad, Connector, Destination, MAX_STREAMS, NewConnection, RequestSender,
};
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::opening::{CONNECT_TIMEOUT, Opening, Outcome, first_result};
use crate::proxy::upstream::proxy_rules::CorporateProxy;
use crate::proxy::upstream::slots::{Limits, Slots};

/// Connections to one origin.
pub(crate) struct Pool {
    connector: Connector,
    destination: Destination,
    /// Known from the first connection.
    speaks_h1: AtomicBool,
    /// True once the registry is gone or has another pool: no connection is kept.
    is_closed: AtomicBool,
    /// True if the upstream closes HTTP/1.1 connections right after a response without `Connection: close`.
    closes_silently: AtomicBool,
    state: Mutex<PoolState>,
    /// Ends [`watch_rotations`] with the pool.
    _end: DropGuard,
}

struct PoolState {
    /// HTTP/2, oldest first.
    h2: Vec<H2Connection>,
    /// HTTP/1.1 without a request, last used last.
    idle_h1: Vec<H1Connection>,
    /// Requests over HTTP/1.1.
    slots: Slots<Slot>,
    /// Requests of bearers of grants over HTTP/2.
    streams: Slots<Slot>,
    /// HTTP/2 from before a rotation, until another connection is open.
    retired: Vec<H2Connection>,
    /// Rotations of the credential: after each, all connections are stale.
    rotations: Rotations,
    /// Number of times that all connections were retired.
    retirements: u64,
    /// Opening that was started last; it ends when nobody waits for it.
    opening: Weak<Opening>,
    last_used: Option<Instant>,
}

#[derive(Clone)]
struct H2Connection {
    sender: http2::SendRequest<RequestBody>,
    load: Arc<ConnectionLoad>,
}

struct H1Connection {
    sender: http1::SendRequest<RequestBody>,
    load: Arc<ConnectionLoad>,
    since: Instant,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.destination)
    }
}

impl Pool {
    /// Pool without a connection. Must be called within the worker's runtime.
    pub(super) fn new(
        connector: Connector,
        rotations: Rotations,
        scheme: UriScheme,
        authority: Authority,
    ) -> Arc<Self> {
        let end = CancellationToken::new();
        let destination = Destination::new(scheme, authority).through(&connector);
        let pool = Arc::new(Self {
            connector,
            destination,
            speaks_h1: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            closes_silently: AtomicBool::new(false),
            state: Mutex::new(PoolState::new(rotations.clone())),
            _end: end.clone().drop_guard(),
        });
        let watch = watch_rotations(Arc::downgrade(&pool), rotations);
        TokioExecutor::new().execute(end.run_until_cancelled_owned(watch));
        pool
    }

    pub(super) fn leads_to(&self, scheme: &UriScheme, authority: &Authority) -> bool {
        self.destination.is(scheme, authority)
    }

    /// True if the last connection that was opened speaks HTTP/1.1.
    pub(super) fn speaks_h1(&self) -> bool {
        self.speaks_h1.load(Ordering::Relaxed)
    }

    /// Corporate proxy that answers the pool's plain requests, if any.
    pub(super) fn corporate_proxy(&self) -> Option<&CorporateProxy> {
        self.destination.corporate_proxy()
    }

    /// Sends a request of `client` and waits for the head of its response.
    ///
    /// # Errors
    /// A [`ProxyError`] for the client when there is no response.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        client: ClientKey,
        mut credential: Option<&mut CarriedCredential<'_>>,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        let mut spare = repeatable_copy(&request);
        let mut needs = Needs::of(client, spare.is_some());
        for _ in 0..MAX_ATTEMPTS {
            let Checkout {
                mut sender,
                active,
                slot,
                is_new,
            } = self.checkout(&mut needs).await?;
            if let Some(credential) = &mut credential {
                credential.attach(request.headers_mut()).await?;
            }
            let mut error = match sender.send(&self.destination, request).await {
                Ok(response) => {
                    if !is_new && slot.is_some() && self.closes_silently.load(Ordering::Relaxed) {
                        self.closes_silently.store(false, Ordering::Relaxed);
                    }
                    return Ok((response, self.pooled(sender, active, slot)));
                }
                Err(error) => error,
            };
            request = match (error.take_message(), spare.take()) {
                (Some(mut unsent), copy) => {
                    spare = copy;
                    self.destination.set_absolute_form(&mut unsent);
                    unsent
                }
                // The upstream may have closed a pooled connection while the request went out.
                (None, Some(copy)) if !is_new => copy,
                _ => return Err(self.connector.proxy_error(error.error())),
            };
        }
        Err(ProxyError::Upstream(UpstreamFailure::Closed))
    }

    fn pooled(self: &Arc<Self>, sender: RequestSender, active: ActiveRequest, slot: Option<Slot>) -> PooledConnection {
        PooledConnection {
            h1: sender.into_h1(),
            is_reusable: true,
            active,
            slot,
            pool: Arc::clone(self),
        }
    }

    /// Takes a connection for one request; opens one if none is open.
    async fn checkout(self: &Arc<Self>, needs: &mut Needs) -> Result<Checkout, ProxyError> {
        loop {
            let (sender, load, is_new) = match self.find_open(needs) {
                Found::Connection(sender, load) => {
                    // A FIN that has arrived is seen by the connection's own task, which runs first.
                    if !needs.is_repeatable && matches!(sender, RequestSender::H1(_)) {
                        tokio::task::yield_now().await;
                    }
                    if sender.is_closed() {
                        continue;
                    }
                    (sender, load, false)
                }
                // Boxed, since it is rare and every request's future would have to be as large.
                Found::Slot => {
                    let opened = Box::pin(tokio::time::timeout(CONNECT_TIMEOUT, self.open())).await;
                    let (sender, load) =
                        opened.unwrap_or(Err(ProxyError::Upstream(UpstreamFailure::ConnectTimeout)))?;
                    self.share(&sender, &load);
                    (sender, load, true)
                }
                Found::Queue(queue) => {
                    needs.slot = Some(Box::pin(wait_for_slot(queue)).await?);
                    continue;
                }
                Found::Nothing => {
                    Box::pin(self.wait_for_opening()).await?;
                    continue;
                }
            };
            return Ok(Checkout {
                slot: (needs.slot.take())
                    .filter(|slot| slot.kind == SlotKind::Stream || matches!(sender, RequestSender::H1(_))),
                active: ActiveRequest::begin(load),
                sender,
                is_new,
            });
        }
    }

    fn find_open(self: &Arc<Self>, needs: &mut Needs) -> Found {
        let mut state = self.state();
        // `watch_rotations` may not have run yet.
        if state.rotations.take_changed() {
            drop(state);
            self.retire();
            state = self.state();
        }
        state.last_used = Some(Instant::now());
        if let Some((sender, load)) = state.find_h2(needs.client) {
            if needs.client.is_grant && needs.slot.is_none() {
                if !state.streams.try_take(needs.client) {
                    return Found::Queue(state.streams.wait(needs.client));
                }
                needs.slot = Some(self.slot(needs.client, SlotKind::Stream));
            }
            return Found::Connection(sender, load);
        }
        if self.speaks_h1.load(Ordering::Relaxed) {
            if needs.slot.is_none() {
                if !state.slots.try_take(needs.client) {
                    return Found::Queue(state.slots.wait(needs.client));
                }
                needs.slot = Some(self.slot(needs.client, SlotKind::H1));
            }
            let idle = state.find_h1();
            // One less idle connection for the one that is opened.
            let is_unsafe = !needs.is_repeatable && self.closes_silently.load(Ordering::Relaxed);
            return match idle.filter(|_| !is_unsafe) {
                Some((sender, load)) => Found::Connection(sender, load),
                None => Found::Slot,
            };
        }
        let Some((sender, load)) = state.find_retired() else {
            return Found::Nothing;
        };
        let is_opening = state.opening.upgrade().is_some_and(|opening| opening.is_pending());
        drop(state);
        if !is_opening {
            let opening = self.join_opening();
            TokioExecutor::new().execute(async move { drop(opening.outcome().await) });
        }
        Found::Connection(sender, load)
    }

    fn slot(self: &Arc<Self>, client: ClientKey, kind: SlotKind) -> Slot {
        Slot {
            pool: Arc::clone(self),
            client,
            kind,
            is_taken: true,
        }
    }

    /// Waits until a connection that others may use too is open.
    async fn wait_for_opening(self: &Arc<Self>) -> Result<(), ProxyError> {
        match self.join_opening().outcome().await {
            Outcome::Opened | Outcome::Abandoned => Ok(()),
            Outcome::Failed(error) => Err(error),
        }
    }

    /// Starts to open a connection, or joins the opening in progress.
    fn join_opening(self: &Arc<Self>) -> Arc<Opening> {
        let mut state = self.state();
        if let Some(opening) = state.opening.upgrade().filter(|opening| opening.is_pending()) {
            return opening;
        }
        let pool = Arc::clone(self);
        let opening = Opening::start(async move {
            let opened = pool.open().await;
            let mut state = pool.state();
            state.retired.clear();
            match opened {
                // The credential was rotated meanwhile, so a waiting request may have an old token.
                Ok((_, load)) if load.retirements != state.retirements => Outcome::Abandoned,
                Ok((sender, load)) => {
                    state.put(sender, load);
                    Outcome::Opened
                }
                Err(error) => Outcome::Failed(error),
            }
        });
        state.opening = Arc::downgrade(&opening);
        opening
    }

    async fn open(self: &Arc<Self>) -> Result<(RequestSender, Arc<ConnectionLoad>), ProxyError> {
        let (NewConnection { sender, driver }, load) = first_result(|| self.attempt()).await?;
        self.speaks_h1
            .store(matches!(sender, RequestSender::H1(_)), Ordering::Relaxed);
        TokioExecutor::new().execute(drive_and_reopen(Arc::downgrade(self), driver, Arc::clone(&load)));
        Ok((sender, load))
    }

    async fn attempt(&self) -> Result<(NewConnection, Arc<ConnectionLoad>), ProxyError> {
        let (is_first, load) = {
            let state = self.state();
            (state.h2.is_empty(), ConnectionLoad::after(state.retirements))
        };
        let opened = self.connector.clone().open(&self.destination, is_first, &load).await?;
        Ok((opened, load))
    }

    /// Puts a connection that one request has opened in the pool if other requests can use it too.
    fn share(&self, sender: &RequestSender, load: &Arc<ConnectionLoad>) {
        let RequestSender::H2(sender) = sender else { return };
        let mut state = self.state();
        if load.retirements == state.retirements {
            state.put(RequestSender::H2(sender.clone()), Arc::clone(load));
        }
    }

    /// Opens a connection unless one is open. The opening ends with its last holder.
    #[must_use]
    pub(super) fn warm(self: &Arc<Self>) -> Option<Arc<Opening>> {
        let mut state = self.state();
        state.forget_closed();
        let is_cold = !self.is_closed.load(Ordering::Relaxed)
            && state.h2.is_empty()
            && state.idle_h1.is_empty()
            && state.slots.taken() == 0;
        drop(state);
        is_cold.then(|| self.join_opening())
    }

    /// Retires all connections if the credential has been rotated since the last call.
    fn retire_stale(self: &Arc<Self>) {
        if self.state().rotations.take_changed() {
            self.retire();
        }
    }

    /// Retires all connections. Idle ones close now; one with requests takes more of them until another is open, at most
    /// for [`RETIREMENT`].
    pub(super) fn retire(self: &Arc<Self>) {
        let mut state = self.state();
        let retirement = state.retire();
        let is_done = state.retired.is_empty();
        drop(state);
        if is_done {
            return;
        }
        let pool = Arc::downgrade(self);
        TokioExecutor::new().execute(async move {
            tokio::time::sleep(RETIREMENT).await;
            let Some(pool) = pool.upgrade() else { return };
            let mut state = pool.state();
            if state.retirements == retirement {
                state.retired.clear();
            }
        });
    }

    /// Forgets all connections: none that is open now takes another request.
    pub(super) fn reset(self: &Arc<Self>) {
        self.state().reset();
    }

    /// Keeps no connection from now on. Requests in flight finish.
    pub(super) fn close(self: &Arc<Self>) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.state().reset();
    }

    /// Returns true if a connection is open or being opened.
    pub(super) fn is_in_use(self: &Arc<Self>) -> bool {
        let mut state = self.state();
        state.forget_closed();
        !self.is_idle() || !state.is_empty()
    }

    /// Returns true if no request is in flight and no connection is being opened: each of these holds the pool.
    pub(super) fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    pub(super) fn last_used(&self) -> Option<Instant> {
        self.state().last_used
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    fn new(rotations: Rotations) -> Self {
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
    fn find_h2(&mut self, client: ClientKey) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
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

    fn find_h1(&mut self) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        while let Some(H1Connection { sender, load, .. }) = self.idle_h1.pop() {
            if sender.is_ready() {
                return Some((RequestSender::H1(sender), load));
            }
        }
        None
    }

    fn find_retired(&mut self) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        self.retired.retain(|connection| !connection.sender.is_closed());
        let found = self.retired.iter().min_by_key(|connection| connection.load.active())?;
        Some((RequestSender::H2(found.sender.clone()), Arc::clone(&found.load)))
    }

    /// Retires all connections and returns the number of this retirement.
    fn retire(&mut self) -> u64 {
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

    fn reset(&mut self) {
        self.abandon_opening();
        self.retirements += 1;
        self.idle_h1.clear();
        self.h2.clear();
        self.retired.clear();
    }

    fn abandon_opening(&mut self) {
        if let Some(opening) = std::mem::take(&mut self.opening).upgrade() {
            opening.abandon();
        }
    }

    fn put(&mut self, sender: RequestSender, load: Arc<ConnectionLoad>) {
        match sender {
            RequestSender::H1(sender) => self.put_h1(sender, load),
            RequestSender::H2(sender) => self.h2.push(H2Connection { sender, load }),
        }
    }

    fn put_h1(&mut self, sender: http1::SendRequest<RequestBody>, load: Arc<ConnectionLoad>) {
        let since = Instant::now();
        self.idle_h1.push(H1Connection { sender, load, since });
    }

    fn forget_closed(&mut self) {
        self.h2.retain(|connection| !connection.sender.is_closed());
        self.idle_h1.retain(|connection| !connection.sender.is_closed());
        self.retired.retain(|connection| !connection.sender.is_closed());
    }

    fn is_empty(&self) -> bool {
        self.h2.is_empty() && self.idle_h1.is_empty() && self.retired.is_empty()
    }
}

/// Requirements of one request for its connection.
struct Needs {
    client: ClientKey,
    /// True if the request may be sent again after it was sent.
    is_repeatable: bool,
    /// Taken before an HTTP/1.1 connection, or a stream for a bearer.
    slot: Option<Slot>,
}

impl Needs {
    fn of(client: ClientKey, is_repeatable: bool) -> Self {
        Self {
            client,
            is_repeatable,
            slot: None,
        }
    }
}

/// Result of the search for an open connection.
enum Found {
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
struct Slot {
    pool: Arc<Pool>,
    client: ClientKey,
    kind: SlotKind,
    /// False once [`Slot::put_back`] has returned it.
    is_taken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotKind {
    /// HTTP/1.1 connection.
    H1,
    /// HTTP/2 stream of a bearer.
    Stream,
}

impl Slot {
    /// Returns the slot. The result is the next request and its slot, to be delivered without the lock.
    fn put_back(&mut self, state: &mut PoolState) -> Option<(oneshot::Sender<Self>, Self)> {
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
    fn deliver(next: Option<(oneshot::Sender<Self>, Self)>) {
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

async fn wait_for_slot(queue: oneshot::Receiver<Slot>) -> Result<Slot, ProxyError> {
    match tokio::time::timeout(SLOT_TIMEOUT, queue).await {
        Ok(Ok(slot)) => Ok(slot),
        Ok(Err(_)) | Err(_) => Err(ProxyError::Busy),
    }
}

/// Connection taken for one request.
struct Checkout {
    sender: RequestSender,
    active: ActiveRequest,
    /// Present for HTTP/1.1 and for bearers of grants.
    slot: Option<Slot>,
    /// Opened for this request.
    is_new: bool,
}

/// Guard that counts one request on a connection.
struct ActiveRequest {
    load: Arc<ConnectionLoad>,
    /// True if the connection has carried an earlier request.
    is_reused: bool,
}

impl ActiveRequest {
    fn begin(load: Arc<ConnectionLoad>) -> Self {
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
    h1: Option<http1::SendRequest<RequestBody>>,
    /// False if the end of the response is not certain: the next response might be a part of it.
    is_reusable: bool,
    active: ActiveRequest,
    slot: Option<Slot>,
    pool: Arc<Pool>,
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

/// Closes idle connections after each rotation, before the next request comes.
async fn watch_rotations(pool: Weak<Pool>, mut rotations: Rotations) {
    loop {
        rotations.changed().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.retire_stale();
    }
}

/// Drives a connection to its end. If the pool was used lately, opens another, so that the next build finds it open.
async fn drive_and_reopen(pool: Weak<Pool>, driver: impl Future<Output = ()>, load: Arc<ConnectionLoad>) {
    let opened = Instant::now();
    driver.await;
    let Some(pool) = pool.upgrade() else { return };
    let (was_used, closed_silently) = {
        let state = pool.state();
        let mut idle = state.idle_h1.iter();
        let own = idle.find(|connection| Arc::ptr_eq(&connection.load, &load));
        let closed_silently = own.is_some_and(|own| load.active() == 0 && own.since.elapsed() < SILENT_CLOSE);
        let was_used = state.last_used.is_some_and(|last| last.elapsed() < KEEP_WARM);
        (was_used, closed_silently && load.has_carried_requests())
    };
    if closed_silently {
        pool.closes_silently.store(true, Ordering::Relaxed);
    }
    if was_used && opened.elapsed() > MIN_LIFETIME {
        let warm = pool.warm();
        drop(pool);
        if let Some(opening) = warm {
            opening.outcome().await;
        }
    }
}

pub(super) const MAX_H2_CONNECTIONS: usize = 16;
/// Requests of one bearer on the first connection, whose windows are wide.
const MAX_WIDE_STREAMS_OF_A_GRANT: usize = 32;
/// Longest wait for a slot. A client that repeats its request is better off than one that waits for a stalled crowd.
const SLOT_TIMEOUT: Duration = Duration::from_secs(60);
/// An idle connection that the upstream closes within this time was closed with its last response.
const SILENT_CLOSE: Duration = Duration::from_secs(1);
/// Every attempt but the last fails on a pooled connection that the upstream has closed.
const MAX_ATTEMPTS: usize = 4;
/// Longest use of a connection after a rotation. A pool without a request for so long retires nothing and resets.
const RETIREMENT: Duration = Duration::from_secs(1);
/// Time after the last request during which a closed connection is replaced.
const KEEP_WARM: Duration = Duration::from_secs(300);
/// An upstream that closes a connection sooner does not want it, so it is not replaced.
const MIN_LIFETIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
