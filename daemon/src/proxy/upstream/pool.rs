//! The open connections to one origin from one worker.
//!
//! HTTP/2 carries many requests on one connection, whose streams (servers allow 100 or more) and whose window are common
//! property: enough uploads that stop in the middle, or downloads that nobody reads, and the next request waits for them.
//! So a connection takes as many requests as it carries with ease, and the next request opens another. Usually there is
//! one. HTTP/1.1 carries one request at a time: a connection goes out with it and comes back when its answer has ended.
//!
//! Requests that find nothing open wait for one that is being opened, and hear together when it fails; once a registry is
//! known to speak HTTP/1.1 each opens its own.
//!
//! After a rotation every connection is retired, for its buffers still hold the last token. While requests keep coming they
//! use what is retired until the next connection is open, so that a rotation is not felt.

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

use super::{refusal, repeatable};
use crate::credential::Rotations;
use crate::proxy::exchange::error::{Body, ProxyError};
use crate::proxy::upstream::connector::{Connector, MOST_STREAMS, NewConnection, Sender, Target, Use};

/// One origin's connections.
pub(crate) struct Pool {
    opener: Connector,
    target: Target,
    /// Learnt from the first connection.
    speaks_h1: AtomicBool,
    state: Mutex<State>,
    /// Ends [`watch_rotations`] with the pool.
    _end: DropGuard,
}

#[derive(Default)]
struct State {
    /// HTTP/2, in the order of opening.
    shared: Vec<H2Connection>,
    /// HTTP/1.1 without a request; the last used last.
    idle: Vec<H1Connection>,
    /// HTTP/2 from before a rotation, until there is another.
    retired: Vec<H2Connection>,
    /// Rotations of the credential; a change makes all connections stale.
    rotations: Rotations,
    /// How often all connections were retired.
    retirements: u64,
    opening: Option<Opening>,
    last_used: Option<Instant>,
}

#[derive(Clone)]
struct H2Connection {
    sender: http2::SendRequest<Body>,
    usage: Arc<Use>,
}

struct H1Connection {
    sender: http1::SendRequest<Body>,
    usage: Arc<Use>,
}

/// Says how the opening of a connection went, when it has.
type Opening = watch::Receiver<Option<Result<(), ProxyError>>>;

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.target)
    }
}

impl Pool {
    /// Nothing open yet. Has to be called within the worker's runtime.
    pub(super) fn new(opener: Connector, rotations: Rotations, scheme: Scheme, authority: Authority) -> Arc<Self> {
        let end = CancellationToken::new();
        let pool = Arc::new(Self {
            opener,
            target: Target::new(scheme, authority),
            speaks_h1: AtomicBool::new(false),
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
        self.target.is(scheme, authority)
    }

    /// Whether there is any connection, or soon will be.
    pub(super) fn is_in_use(self: &Arc<Self>) -> bool {
        let mut state = self.state();
        state.forget_closed();
        !self.is_idle() || !state.is_empty()
    }

    /// Whether no request uses it. Whoever has a connection out, or opens one, holds the pool.
    pub(super) fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    pub(super) fn last_used(&self) -> Option<Instant> {
        self.state().last_used
    }

    /// Retires all connections if the credential has been rotated since the last call.
    fn retire_stale(self: &Arc<Self>) {
        if self.state().rotations.take_changed() {
            self.retire();
        }
    }

    /// Lets go of all connections as soon as they are idle. One that requests are using is given more of them for a moment:
    /// until another is open.
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

    /// Lets go of all connections: none that is open now is given another request.
    pub(super) fn reset(self: &Arc<Self>) {
        self.state().reset();
    }

    /// Opens a connection unless there is one to use.
    pub(super) fn warm(self: &Arc<Self>) {
        let mut state = self.state();
        state.forget_closed();
        let is_cold = state.shared.is_empty() && state.idle.is_empty() && state.opening.is_none();
        drop(state);
        if is_cold {
            self.opening();
        }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// A [`ProxyError`] that says why there is none.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        let mut again = repeatable(&request);
        for _ in 0..ATTEMPTS {
            let Checkout {
                mut sender,
                busy,
                is_fresh,
            } = self.take().await?;
            let mut error = match sender.send(&self.target, request).await {
                Ok(response) => return Ok((response, self.place(sender, busy))),
                Err(error) => error,
            };
            request = match (error.take_message(), again.take()) {
                (Some(mut unsent), copy) => {
                    again = copy;
                    self.target.absolute_form(&mut unsent);
                    unsent
                }
                // A connection that had been open for a while may have been closed as the request went out.
                (None, Some(copy)) if !is_fresh => copy,
                _ => return Err(refusal(error.error())),
            };
        }
        Err(ProxyError::UpstreamUnreachable)
    }

    fn place(self: &Arc<Self>, sender: Sender, busy: Busy) -> PooledConnection {
        PooledConnection {
            single: sender.single(),
            busy,
            pool: Arc::clone(self),
        }
    }

    /// A connection that takes a request now.
    async fn take(self: &Arc<Self>) -> Result<Checkout, ProxyError> {
        loop {
            if let Some((sender, usage)) = self.find() {
                return Ok(Checkout::new(sender, usage, false));
            }
            // Boxed, since it is rare and every request's future would have to be as large.
            if self.speaks_h1.load(Ordering::Relaxed) {
                let (sender, usage) = Box::pin(self.open()).await?;
                return Ok(Checkout::new(sender, usage, true));
            }
            Box::pin(self.opened()).await?;
        }
    }

    /// Waits for a connection that others may use too.
    async fn opened(self: &Arc<Self>) -> Result<(), ProxyError> {
        let mut opening = self.opening();
        let outcome = opening.wait_for(Option::is_some).await;
        // Without an outcome the runtime ends, and the request with it.
        let outcome = outcome.map_err(|_| ProxyError::UpstreamUnreachable)?;
        outcome.clone().unwrap_or(Ok(()))
    }

    fn find(self: &Arc<Self>) -> Option<(Sender, Arc<Use>)> {
        let mut state = self.state();
        // The task that watches may not have run yet.
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
        self.opening();
        Some(found)
    }

    /// The opening that is under way, or another.
    fn opening(self: &Arc<Self>) -> Opening {
        let mut state = self.state();
        if let Some(opening) = &state.opening {
            return opening.clone();
        }
        let (tell, opening) = watch::channel(None);
        state.opening = Some(opening.clone());
        drop(state);
        let pool = Arc::clone(self);
        // Whoever asked first may go away; others may wait by then.
        TokioExecutor::new().execute(async move {
            let opened = pool.open().await;
            let mut state = pool.state();
            state.opening = None;
            state.retired.clear();
            let outcome = opened.map(|(sender, usage)| state.put(sender, usage));
            drop(state);
            let _ = tell.send(Some(outcome));
        });
        opening
    }

    async fn open(self: &Arc<Self>) -> Result<(Sender, Arc<Use>), ProxyError> {
        let (number, usage) = {
            let state = self.state();
            (state.shared.len(), Use::after(state.retirements))
        };
        let opened = self.opener.clone().open(&self.target, number, &usage).await;
        let NewConnection { sender, life } = opened.map_err(|error| refusal(&*error))?;
        self.speaks_h1.store(matches!(sender, Sender::H1(_)), Ordering::Relaxed);
        TokioExecutor::new().execute(keep_warm(Arc::downgrade(self), life));
        Ok((sender, usage))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self) -> Option<(Sender, Arc<Use>)> {
        self.find_shared().or_else(|| self.find_idle())
    }

    /// The first with room, or when there are as many as there may be, the one with the fewest requests.
    fn find_shared(&mut self) -> Option<(Sender, Arc<Use>)> {
        self.shared.retain(|shared| !shared.sender.is_closed());
        let with_room = self.shared.iter().find(|shared| shared.usage.busy() < MOST_STREAMS);
        let found = with_room.or_else(|| {
            let least = self.shared.iter().min_by_key(|shared| shared.usage.busy());
            least.filter(|_| self.shared.len() >= MOST_SHARED)
        })?;
        Some((Sender::H2(found.sender.clone()), Arc::clone(&found.usage)))
    }

    fn find_idle(&mut self) -> Option<(Sender, Arc<Use>)> {
        while let Some(H1Connection { sender, usage }) = self.idle.pop() {
            if sender.is_ready() {
                return Some((Sender::H1(sender), usage));
            }
        }
        None
    }

    fn find_retired(&mut self) -> Option<(Sender, Arc<Use>)> {
        self.retired.retain(|shared| !shared.sender.is_closed());
        let found = self.retired.iter().min_by_key(|shared| shared.usage.busy())?;
        Some((Sender::H2(found.sender.clone()), Arc::clone(&found.usage)))
    }

    /// Number of this retirement.
    fn retire(&mut self) -> u64 {
        if self.last_used.is_some_and(|last| last.elapsed() < RETIREMENT) {
            self.retirements += 1;
            self.idle.clear();
            self.retired.append(&mut self.shared);
        } else {
            self.reset();
        }
        self.retirements
    }

    fn reset(&mut self) {
        self.retirements += 1;
        self.idle.clear();
        self.shared.clear();
        self.retired.clear();
    }

    fn put(&mut self, sender: Sender, usage: Arc<Use>) {
        match sender {
            Sender::H1(sender) => self.idle.push(H1Connection { sender, usage }),
            Sender::H2(sender) => self.shared.push(H2Connection { sender, usage }),
        }
    }

    fn forget_closed(&mut self) {
        self.shared.retain(|shared| !shared.sender.is_closed());
        self.idle.retain(|single| !single.sender.is_closed());
        self.retired.retain(|shared| !shared.sender.is_closed());
    }

    fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.idle.is_empty() && self.retired.is_empty()
    }
}

/// A connection for one request.
struct Checkout {
    sender: Sender,
    busy: Busy,
    /// NewConnection for this request.
    is_fresh: bool,
}

impl Checkout {
    fn new(sender: Sender, usage: Arc<Use>, is_fresh: bool) -> Self {
        let busy = Busy::begin(usage);
        Self { sender, busy, is_fresh }
    }
}

/// Counts a request on a connection while it is there.
struct Busy(Arc<Use>);

impl Busy {
    fn begin(usage: Arc<Use>) -> Self {
        usage.begin();
        Self(usage)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A request's place on a connection, until its answer has ended. Then what carries one request at a time goes back.
pub struct PooledConnection {
    single: Option<http1::SendRequest<Body>>,
    busy: Busy,
    pool: Arc<Pool>,
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some(sender) = self.single.take().filter(|sender| !sender.is_closed()) else {
            return;
        };
        let usage = Arc::clone(&self.busy.0);
        let mut state = self.pool.state();
        if usage.retirements == state.retirements {
            state.idle.push(H1Connection { sender, usage });
        }
    }
}

impl fmt::Debug for PooledConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PooledConnection")
    }
}

/// Closes idle connections after each rotation, not only when the next request comes.
async fn watch_rotations(pool: Weak<Pool>, mut rotations: Rotations) {
    loop {
        rotations.changed().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.retire_stale();
    }
}

/// Polls a connection to its end. When the upstream has ended one that was used lately, opens another: the next build
/// should find it open.
async fn keep_warm(pool: Weak<Pool>, life: impl Future<Output = ()>) {
    let opened = Instant::now();
    life.await;
    let Some(pool) = pool.upgrade() else { return };
    let last_used = pool.state().last_used;
    let was_used = last_used.is_some_and(|last| last.elapsed() < WARM);
    if was_used && opened.elapsed() > SETTLED {
        pool.warm();
    }
}

/// How many connections of HTTP/2 one worker has to one origin.
const MOST_SHARED: usize = 16;
/// Each but the last on a connection that had been open and is closed by now.
const ATTEMPTS: usize = 4;
/// For how long a connection is used after a rotation at most, and how long after its last request it counts as in use.
const RETIREMENT: Duration = Duration::from_secs(1);
/// For how long after its last request a registry is kept connected.
const WARM: Duration = Duration::from_secs(300);
/// A connection that ends sooner says that the upstream does not want it.
const SETTLED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
