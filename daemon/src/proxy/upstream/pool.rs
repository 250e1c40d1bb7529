//! Pool of upstream connections for one origin and one worker.
//!
//! An HTTP/2 connection carries many requests, which share its streams (servers allow about 100) and its flow-control
//! window. Stalled uploads or unread downloads would block the next request. So a connection takes a limited number of
//! requests, and the next one opens another connection. Usually there is one. An HTTP/1.1 connection carries one request
//! at a time: it leaves the pool with the request and returns after the response.
//!
//! Requests that find no connection wait for one that is being opened, and share its outcome. Once a registry is known to
//! speak HTTP/1.1, each request opens its own.
//!
//! A rotation retires all connections, because their buffers still hold the last token. Until a new connection is open,
//! requests use the retired ones, so that a rotation causes no delay.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::credential::Rotations;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::carried::CarriedCredential;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::rewrite::repeatable_copy;
use crate::proxy::upstream::connector::{
    ConnectionLoad, Connector, Destination, MAX_STREAMS, NewConnection, RequestSender,
};
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::proxy_rules::CorporateProxy;

/// Connections to one origin.
pub(crate) struct Pool {
    connector: Connector,
    destination: Destination,
    /// Known from the first connection.
    speaks_h1: AtomicBool,
    /// True once the registry is gone or has another pool: no connection is kept.
    is_closed: AtomicBool,
    state: Mutex<State>,
    /// Ends [`watch_rotations`] with the pool.
    _end: DropGuard,
}

#[derive(Default)]
struct State {
    /// HTTP/2, oldest first.
    h2: Vec<H2Connection>,
    /// HTTP/1.1 without a request, last used last.
    idle_h1: Vec<H1Connection>,
    /// HTTP/2 from before a rotation, until another connection is open.
    retired: Vec<H2Connection>,
    /// Rotations of the credential: after each, all connections are stale.
    rotations: Rotations,
    /// Number of times that all connections were retired.
    retirements: u64,
    opening: Option<Opening>,
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
}

/// Outcome of opening a connection, once it is known.
type Opening = watch::Receiver<Option<Result<(), ProxyError>>>;

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.destination)
    }
}

impl Pool {
    /// Pool without a connection. Must be called within the worker's runtime.
    pub(super) fn new(connector: Connector, rotations: Rotations, scheme: Scheme, authority: Authority) -> Arc<Self> {
        let end = CancellationToken::new();
        let destination = Destination::new(scheme, authority).through(&connector);
        let pool = Arc::new(Self {
            connector,
            destination,
            speaks_h1: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            state: Mutex::new(State {
                rotations: rotations.clone(),
                ..State::default()
            }),
            _end: end.clone().drop_guard(),
        });
        let watch = watch_rotations(Arc::downgrade(&pool), rotations);
        TokioExecutor::new().execute(end.run_until_cancelled_owned(watch));
        pool
    }

    pub(super) fn leads_to(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.destination.is(scheme, authority)
    }

    /// Corporate proxy that answers the pool's plain requests, if any.
    pub(super) fn corporate_proxy(&self) -> Option<&CorporateProxy> {
        self.destination.corporate_proxy()
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// A [`ProxyError`] for the client when there is no response.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        mut credential: Option<&mut CarriedCredential<'_>>,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        let mut spare = repeatable_copy(&request);
        for _ in 0..MAX_ATTEMPTS {
            let Checkout {
                mut sender,
                active,
                is_new,
            } = self.checkout().await?;
            if let Some(credential) = &mut credential {
                credential.attach(request.headers_mut()).await?;
            }
            let mut error = match sender.send(&self.destination, request).await {
                Ok(response) => return Ok((response, self.pooled(sender, active))),
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

    fn pooled(self: &Arc<Self>, sender: RequestSender, active: ActiveRequest) -> PooledConnection {
        PooledConnection {
            h1: sender.into_h1(),
            active,
            pool: Arc::clone(self),
        }
    }

    /// Takes a connection for one request; opens one if none is open.
    async fn checkout(self: &Arc<Self>) -> Result<Checkout, ProxyError> {
        loop {
            if let Some((sender, load)) = self.find_open() {
                return Ok(Checkout::new(sender, load, false));
            }
            // Boxed, since it is rare and every request's future would have to be as large.
            if self.speaks_h1.load(Ordering::Relaxed) {
                let (sender, load) = Box::pin(self.open()).await?;
                return Ok(Checkout::new(sender, load, true));
            }
            Box::pin(self.wait_for_opening()).await?;
        }
    }

    fn find_open(self: &Arc<Self>) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        let mut state = self.state();
        // `watch_rotations` may not have run yet.
        if state.rotations.take_changed() {
            drop(state);
            self.retire();
            state = self.state();
        }
        state.last_used = Some(Instant::now());
        if let Some(found) = state.find() {
            return Some(found);
        }
        let found = state.find_retired()?;
        drop(state);
        self.start_opening();
        Some(found)
    }

    /// Waits until a connection that others may use too is open.
    async fn wait_for_opening(self: &Arc<Self>) -> Result<(), ProxyError> {
        let mut opening = self.start_opening();
        let outcome = opening.wait_for(Option::is_some).await;
        // The sender is dropped without an outcome only when the runtime ends.
        let outcome = outcome.map_err(|_| ProxyError::Upstream(UpstreamFailure::Other))?;
        outcome.clone().unwrap_or(Ok(()))
    }

    /// Starts to open a connection, or joins the opening in progress.
    fn start_opening(self: &Arc<Self>) -> Opening {
        let mut state = self.state();
        if let Some(opening) = &state.opening {
            return opening.clone();
        }
        let (report, opening) = watch::channel(None);
        state.opening = Some(opening.clone());
        drop(state);
        let pool = Arc::clone(self);
        // A task of its own: the request that starts it may be cancelled while others wait.
        TokioExecutor::new().execute(async move {
            let opened = pool.open().await;
            let mut state = pool.state();
            state.opening = None;
            state.retired.clear();
            let outcome = opened.map(|(sender, load)| state.put(sender, load));
            drop(state);
            let _ = report.send(Some(outcome));
        });
        opening
    }

    async fn open(self: &Arc<Self>) -> Result<(RequestSender, Arc<ConnectionLoad>), ProxyError> {
        let (already_open, load) = {
            let state = self.state();
            (state.h2.len(), ConnectionLoad::after(state.retirements))
        };
        let opened = self
            .connector
            .clone()
            .open(&self.destination, already_open, &load)
            .await;
        let NewConnection { sender, driver } = opened?;
        self.speaks_h1
            .store(matches!(sender, RequestSender::H1(_)), Ordering::Relaxed);
        TokioExecutor::new().execute(drive_and_reopen(Arc::downgrade(self), driver));
        Ok((sender, load))
    }

    /// Opens a connection unless one is open or being opened.
    pub(super) fn warm(self: &Arc<Self>) {
        let mut state = self.state();
        state.forget_closed();
        let is_cold = !self.is_closed.load(Ordering::Relaxed)
            && state.h2.is_empty()
            && state.idle_h1.is_empty()
            && state.opening.is_none();
        drop(state);
        if is_cold {
            self.start_opening();
        }
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        self.find_h2().or_else(|| self.find_h1())
    }

    /// The first connection below its limit of requests. At the limit of connections, the one with the fewest requests.
    fn find_h2(&mut self) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        self.h2.retain(|connection| !connection.sender.is_closed());
        let below_limit = self.h2.iter().find(|connection| connection.load.active() < MAX_STREAMS);
        let found = below_limit.or_else(|| {
            let least_busy = self.h2.iter().min_by_key(|connection| connection.load.active());
            least_busy.filter(|_| self.h2.len() >= MAX_H2_CONNECTIONS)
        })?;
        Some((RequestSender::H2(found.sender.clone()), Arc::clone(&found.load)))
    }

    fn find_h1(&mut self) -> Option<(RequestSender, Arc<ConnectionLoad>)> {
        while let Some(H1Connection { sender, load }) = self.idle_h1.pop() {
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
        self.retirements += 1;
        self.idle_h1.clear();
        self.h2.clear();
        self.retired.clear();
    }

    fn put(&mut self, sender: RequestSender, load: Arc<ConnectionLoad>) {
        match sender {
            RequestSender::H1(sender) => self.idle_h1.push(H1Connection { sender, load }),
            RequestSender::H2(sender) => self.h2.push(H2Connection { sender, load }),
        }
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

/// Connection taken for one request.
struct Checkout {
    sender: RequestSender,
    active: ActiveRequest,
    /// Opened for this request.
    is_new: bool,
}

impl Checkout {
    fn new(sender: RequestSender, load: Arc<ConnectionLoad>, is_new: bool) -> Self {
        let active = ActiveRequest::begin(load);
        Self { sender, active, is_new }
    }
}

/// Guard that counts one request on a connection.
struct ActiveRequest(Arc<ConnectionLoad>);

impl ActiveRequest {
    fn begin(load: Arc<ConnectionLoad>) -> Self {
        load.begin_request();
        Self(load)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// Connection in use by one request until its response has ended. On drop, an HTTP/1.1 connection returns to its pool.
pub struct PooledConnection {
    h1: Option<http1::SendRequest<RequestBody>>,
    active: ActiveRequest,
    pool: Arc<Pool>,
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if self.pool.is_closed.load(Ordering::Relaxed) {
            // Also the connections that requests have opened since.
            self.pool.reset();
            return;
        }
        let Some(sender) = self.h1.take().filter(|sender| !sender.is_closed()) else {
            return;
        };
        let load = Arc::clone(&self.active.0);
        let mut state = self.pool.state();
        if load.retirements == state.retirements {
            state.idle_h1.push(H1Connection { sender, load });
        }
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
async fn drive_and_reopen(pool: Weak<Pool>, driver: impl Future<Output = ()>) {
    let opened = Instant::now();
    driver.await;
    let Some(pool) = pool.upgrade() else { return };
    let last_used = pool.state().last_used;
    let was_used = last_used.is_some_and(|last| last.elapsed() < KEEP_WARM);
    if was_used && opened.elapsed() > MIN_LIFETIME {
        pool.warm();
    }
}

const MAX_H2_CONNECTIONS: usize = 16;
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
