//! Registry side of the proxy: the verified, pooled client.
//!
//! All clients of a registry share its connections, which are kept warm: a new cargo process pays no DNS, TCP or TLS round
//! trip. Each worker has pools of its own, so a request and its upstream connection stay on one thread. Verification has no
//! off switch; a registry's `ca-file` adds roots for that registry only.
//!
//! The walk: [`pool`] finds a connection, or waits for an [`opening`], which lets [`connector`] open one to a [`destination`]. [`connection_load`] counts its requests. [`dial`],
//! [`proxy_rules`], [`proxy_handshake`] and [`trust`] are the details of opening. [`failure`] names the reason when that does
//! not succeed. [`slots`] limits requests over HTTP/1.1, [`windows`] the unread bytes over HTTP/2, and [`endings`] notes
//! how a connection begins and ends.
//!
//! The pools are our own because each belongs to a worker, opens its connection during the client's handshake, limits
//! streams and connections, and retires connections after a rotation. hyper-util's pools do none of these, and a trial with
//! them cost as much CPU time per request (`docs/performance.md`).

pub(crate) mod pool;

pub(crate) mod connection_load;
mod connector;
mod destination;

pub(crate) mod opening;

mod endings;
mod slots;
mod windows;

pub(crate) mod dial;
pub(crate) mod failure;
pub(crate) mod proxy_handshake;
pub(crate) mod proxy_rules;
pub(crate) mod stream;
pub(crate) mod trust;

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::{Authority, Scheme as UriScheme};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::credential::Rotations;
use crate::policy::binding::RootDigest;
use crate::proxy::downstream::limits::ClientKey;
use crate::proxy::exchange::body::{BodyProgress, RequestBody, upload_progress};
use crate::proxy::exchange::carried::CarriedCredential;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::proxy_handshake::CorporateProxyError;
use crate::proxy::upstream::proxy_rules::CorporateProxy;
use connector::Connector;
pub(crate) use failure::UpstreamFailure;
use opening::Opening;
use pool::{Pool, PooledConnection};
pub(crate) use trust::{Trust, TrustError, root_digests, root_digests_of};

/// Upstream client of one registry: a set of pools for each worker, all with the same trust.
pub struct Upstream {
    connector: Connector,
    dialer: Dialer,
    trust: Arc<Trust>,
    /// The client for a host that registries with other roots share, as it was last needed.
    joined: Arc<Mutex<Option<Arc<Self>>>>,
    workers: Vec<Pools>,
    /// The client without its certificate, if it has one.
    anonymous: Option<Arc<Self>>,
    /// Rotations of the credential that its requests carry.
    rotations: Rotations,
    /// True once no registry uses it.
    is_closed: AtomicBool,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("workers", &self.workers.len())
            .finish()
    }
}

impl Upstream {
    /// Client for `workers` workers that trusts only `trust`.
    ///
    /// # Errors
    /// [`TrustError`] when the client certificate does not fit its key.
    pub fn new(dialer: &Dialer, trust: Trust, workers: usize) -> Result<Self, TrustError> {
        let anonymous = match trust.anonymous() {
            Some(trust) => Some(Arc::new(Self::new(dialer, trust, workers)?)),
            None => None,
        };
        Ok(Self {
            connector: Connector::new(dialer, trust.clone())?,
            dialer: dialer.clone(),
            trust: Arc::new(trust),
            joined: Arc::default(),
            workers: (0..workers.max(1)).map(|_| Pools::default()).collect(),
            anonymous,
            rotations: Rotations::default(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Client with the same trust and no connection. It retires its connections after each of `rotations`, because their
    /// buffers still hold the old token.
    pub(crate) fn with_rotations(&self, rotations: Rotations) -> Self {
        Self {
            connector: self.connector.clone(),
            dialer: self.dialer.clone(),
            trust: Arc::clone(&self.trust),
            joined: Arc::clone(&self.joined),
            workers: self.workers.iter().map(|_| Pools::default()).collect(),
            anonymous: self.anonymous.clone(),
            rotations,
            is_closed: AtomicBool::new(false),
        }
    }

    /// Client for the registry's token service: as [`Upstream::with_rotations`], without the client certificate.
    pub(crate) fn for_token_service(&self, rotations: Rotations) -> Self {
        self.anonymous.as_deref().unwrap_or(self).with_rotations(rotations)
    }

    /// Client for requests outside the registry's scopes: without the client certificate, which is a credential too.
    pub(crate) fn anonymous(self: &Arc<Self>) -> Arc<Self> {
        Arc::clone(self.anonymous.as_ref().unwrap_or(self))
    }

    /// Client for requests outside the scopes of all registries on a host: without a client certificate, and with the roots
    /// of all `others` too. Which registry is first by name must not matter.
    pub(crate) fn anonymous_among(self: &Arc<Self>, others: &[Arc<Self>]) -> Arc<Self> {
        if others.iter().all(|other| other.trust.has_same_roots(&self.trust)) {
            return self.anonymous();
        }
        let trust = self.trust.joined(others.iter().map(|other| &*other.trust));
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(joined) = &*joined
            && joined.trust.has_same_roots(&trust)
        {
            return Arc::clone(joined);
        }
        match Self::new(&self.dialer, trust, self.workers.len()) {
            Ok(upstream) => Arc::clone(joined.insert(Arc::new(upstream))),
            // rustls takes any roots.
            Err(_) => self.anonymous(),
        }
    }

    /// Returns true if `other` trusts the same roots and shows the same client certificate: its connections can stay.
    pub(crate) fn has_same_trust(&self, other: &Self) -> bool {
        self.trust.is_same(&other.trust)
    }

    /// Roots that verify the registry besides the system's.
    pub(crate) fn added_roots(&self) -> &BTreeSet<RootDigest> {
        self.trust.added_roots()
    }

    /// Forgets all connections: new requests open others, since the network or the trusted roots may have changed.
    pub fn reset(&self) {
        self.workers.iter().for_each(|pools| pools.each(Pool::reset));
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for other in [&self.anonymous, &joined].into_iter().flatten() {
            other.reset();
        }
    }

    /// Closes the pools for good: no registry uses this client any more. Requests in flight finish.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(|pools| pools.each(Pool::close));
    }

    /// Opens a connection from a worker to an origin, unless one is open: a request is about to come. The opening ends
    /// with the returned value, unless a request waits for it too.
    pub(crate) fn warm(&self, worker: usize, scheme: &UriScheme, authority: &Authority) -> Option<Arc<Opening>> {
        self.pool(worker, scheme, authority)?.warm()
    }

    /// True if the worker has an open HTTP/2 connection to the origin.
    pub(crate) fn has_h2(&self, worker: usize, scheme: &UriScheme, authority: &Authority) -> bool {
        self.pool(worker, scheme, authority).is_some_and(|pool| pool.has_h2())
    }

    /// Sends a request of the daemon itself as [`Upstream::send_for`] does.
    ///
    /// # Errors
    /// A [`ProxyError`] when there is no response.
    pub async fn send(
        &self,
        worker: usize,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        self.send_for(ClientKey::default(), worker, request, None).await
    }

    /// Sends a client's request in absolute form from a worker, with a credential that is attached before each attempt, and
    /// waits for the head of the response.
    ///
    /// If a pooled connection turns out to be closed, a request that is safe to repeat is sent again. Any other is sent
    /// again only if none of its bytes were sent.
    ///
    /// # Errors
    /// A [`ProxyError`] for the client when there is no response.
    pub(crate) async fn send_for(
        &self,
        client: ClientKey,
        worker: usize,
        mut request: Request<RequestBody>,
        credential: Option<&mut CarriedCredential<'_>>,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        let (Some(scheme), Some(authority)) = (request.uri().scheme(), request.uri().authority()) else {
            return Err(ProxyError::BadRequest);
        };
        let pool = self.pool(worker, scheme, authority);
        let pool = pool.ok_or(ProxyError::Upstream(UpstreamFailure::Other))?;
        let progress = upload_progress(&mut request);
        let response = std::pin::pin!(pool.send(request, client, credential));
        let (response, connection) = with_response_timeout(response, progress).await?;
        match pool.corporate_proxy() {
            Some(proxy) => check_forwarded(proxy, response).map(|response| (response, connection)),
            None => Ok((response, connection)),
        }
    }

    fn pool(&self, worker: usize, scheme: &UriScheme, authority: &Authority) -> Option<Arc<Pool>> {
        let pools = self.workers.get(worker % self.workers.len())?;
        Some(pools.of(scheme, authority, self))
    }
}

/// Passes the answer of a corporate proxy to a plain request, unless it is the proxy's 407: that one is for us, and a client
/// would take it for ours.
fn check_forwarded(proxy: &CorporateProxy, response: Response<Incoming>) -> Result<Response<Incoming>, ProxyError> {
    if response.status() != StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Ok(response);
    }
    let sent = proxy.login().is_ok_and(|login| login.authorization.is_some());
    let problem = proxy_handshake::login_problem(sent);
    Err(CorporateProxyError::new(proxy, problem).into())
}

/// Pools of one worker, one for each origin. A registry has one or two origins.
#[derive(Default)]
struct Pools(Mutex<Vec<Arc<Pool>>>);

impl Pools {
    fn of(&self, scheme: &UriScheme, authority: &Authority, upstream: &Upstream) -> Arc<Pool> {
        let mut pools = self.pools();
        if let Some(pool) = pools.iter().find(|pool| pool.leads_to(scheme, authority)) {
            return Arc::clone(pool);
        }
        if pools.len() >= MAX_POOLS {
            pools.retain(|pool| pool.is_in_use());
            forget_oldest(&mut pools);
        }
        let pool = Pool::new(
            upstream.connector.clone(),
            upstream.rotations.clone(),
            scheme.clone(),
            authority.clone(),
        );
        if upstream.is_closed.load(Ordering::Relaxed) {
            pool.close();
        }
        pools.push(Arc::clone(&pool));
        pool
    }

    fn each(&self, act: impl FnMut(&Arc<Pool>)) {
        self.pools().iter().for_each(act);
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Arc<Pool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for another pool: unused connections must not take the descriptors of used ones.
fn forget_oldest(pools: &mut Vec<Arc<Pool>>) {
    if pools.len() < MAX_POOLS {
        return;
    }
    let idle = pools.iter().enumerate().filter(|(_, pool)| pool.is_idle());
    if let Some((oldest, _)) = idle.min_by_key(|(_, pool)| pool.last_used()) {
        pools.swap_remove(oldest);
    }
}

/// Limits the wait for a response. The wait begins when the request body has been sent: while bytes of it pass, it starts
/// again, so it takes one to two times [`RESPONSE_TIMEOUT`].
///
/// Takes a pinned future: each connection reserves memory for this one, which would hold another one twice.
async fn with_response_timeout<T>(
    mut response: Pin<&mut impl Future<Output = Result<T, ProxyError>>>,
    progress: Option<BodyProgress>,
) -> Result<T, ProxyError> {
    let mut before = 0;
    loop {
        if let Ok(response) = tokio::time::timeout(RESPONSE_TIMEOUT, response.as_mut()).await {
            return response;
        }
        let now = progress.as_ref().map_or(0, BodyProgress::bytes);
        if now == before {
            return Err(ProxyError::Upstream(UpstreamFailure::NoAnswer));
        }
        before = now;
    }
}

/// A registry unpacks a large push before it answers.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);
/// Plain requests go to any number of origins. At this many pools, those without connections are dropped, and one whose
/// connections are idle.
const MAX_POOLS: usize = 32;

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// Time until an upload of one byte a minute fails, if no response follows.
    async fn time_until_timeout(minutes: u64) -> Duration {
        let (progress, begin) = (BodyProgress::default(), Instant::now());
        let uploaded = progress.clone();
        let upload = async {
            for _ in 0..minutes {
                sleep(Duration::from_secs(60)).await;
                uploaded.add(1);
            }
            pending::<Result<(), ProxyError>>().await
        };
        let result = with_response_timeout(std::pin::pin!(upload), Some(progress)).await;
        assert_eq!(result, Err(ProxyError::Upstream(UpstreamFailure::NoAnswer)));
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_response_timeout_begins_at_the_end_of_the_upload() {
        let unanswered = pending::<Result<(), ProxyError>>();
        let begin = Instant::now();
        let result = with_response_timeout(std::pin::pin!(unanswered), None).await;
        assert_eq!(result, Err(ProxyError::Upstream(UpstreamFailure::NoAnswer)));
        assert_eq!(begin.elapsed(), RESPONSE_TIMEOUT);
        for minutes in [1, 4, 7, 60, 600] {
            let waited = time_until_timeout(minutes)
                .await
                .saturating_sub(Duration::from_secs(60 * minutes));
            assert!(
                (RESPONSE_TIMEOUT..=2 * RESPONSE_TIMEOUT).contains(&waited),
                "{minutes} minutes: {waited:?}"
            );
        }
    }
}
