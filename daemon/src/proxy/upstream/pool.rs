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

mod checkout;
mod open;
mod state;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme as UriScheme};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::credential::Rotations;
use crate::proxy::downstream::limits::ClientKey;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::carried::CarriedCredential;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::rewrite::repeatable_copy;
use crate::proxy::upstream::connector::Connector;
use crate::proxy::upstream::destination::{Destination, RequestSender};
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::opening::{CONNECT_TIMEOUT, DialProgress};
use crate::proxy::upstream::proxy_rules::CorporateProxy;
pub(crate) use checkout::PooledConnection;
use checkout::{ActiveRequest, Checkout, Found, Needs, Slot, SlotKind, wait_for_slot};
use state::PoolState;

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

    /// True if an HTTP/2 connection is open.
    pub(super) fn has_h2(&self) -> bool {
        !self.state().h2.is_empty()
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
                    let progress = DialProgress::default();
                    let open = progress.observe(self.open());
                    let opened = Box::pin(tokio::time::timeout(CONNECT_TIMEOUT, open)).await;
                    let (sender, load) = opened.unwrap_or_else(|_| Err(progress.timeout()))?;
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

/// Closes idle connections after each rotation, before the next request comes.
async fn watch_rotations(pool: Weak<Pool>, mut rotations: Rotations) {
    loop {
        rotations.changed().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.retire_stale();
    }
}

pub(super) const MAX_H2_CONNECTIONS: usize = 16;
/// Every attempt but the last fails on a pooled connection that the upstream has closed.
const MAX_ATTEMPTS: usize = 4;
/// Longest use of a connection after a rotation. A pool without a request for so long retires nothing and resets.
const RETIREMENT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
