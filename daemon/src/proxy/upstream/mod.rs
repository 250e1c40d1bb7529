//! Exit two: the verified, pooled client.
//!
//! Connections are pooled across all clients of a registry and kept warm, so a new cargo process pays no DNS, TCP or TLS
//! round trip. Each worker has pools of its own: a request and its upstream connection live on one thread.
//! Verification has no off switch; a registry's `ca-file` adds roots for that registry only.
//!
//! [`trust`] says whom we believe, [`connection`] opens and speaks, [`pool`] keeps what is open.

pub(crate) mod connector;
pub(crate) mod dial;
pub(crate) mod pool;
pub(crate) mod trust;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use crate::credential::Rotations;
use crate::proxy::exchange::body::Progress;
use crate::proxy::exchange::error::{Body, ProxyError};
use crate::proxy::exchange::rewrite;
use crate::proxy::upstream::dial::{Dialer, Forbidden};
use connector::Connector;
use pool::{Pool, PooledConnection};
pub(crate) use trust::{Trust, TrustError};

/// A registry's way out: pools of connections, one set a worker, all with the same trust.
pub struct Upstream {
    opener: Connector,
    workers: Vec<Pools>,
    /// Where we show a certificate: the same without it.
    anonymous: Option<Arc<Self>>,
    /// Rotations of the credential that its requests carry.
    rotations: Rotations,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("workers", &self.workers.len())
            .finish()
    }
}

impl Upstream {
    /// A way out for `workers` workers that trusts `trust` and nothing else.
    ///
    /// # Errors
    /// [`TrustError`] when the client certificate does not fit its key.
    pub fn new(dialer: &Dialer, trust: Trust, workers: usize) -> Result<Self, TrustError> {
        let anonymous = match trust.anonymous() {
            Some(trust) => Some(Arc::new(Self::new(dialer, trust, workers)?)),
            None => None,
        };
        Ok(Self {
            opener: Connector::new(dialer, trust)?,
            workers: (0..workers.max(1)).map(|_| Pools::default()).collect(),
            anonymous,
            rotations: Rotations::default(),
        })
    }

    /// The same way out without a connection, which closes connections after each of `rotations`: their buffers still hold
    /// the old token.
    pub(crate) fn with_rotations(&self, rotations: Rotations) -> Self {
        Self {
            opener: self.opener.clone(),
            workers: self.workers.iter().map(|_| Pools::default()).collect(),
            anonymous: self.anonymous.clone(),
            rotations,
        }
    }

    /// The way for what lies outside the registry's scopes: a client certificate is a credential, too.
    pub(crate) fn anonymous(self: &Arc<Self>) -> Arc<Self> {
        Arc::clone(self.anonymous.as_ref().unwrap_or(self))
    }

    /// Lets go of the connections at once as far as new requests are concerned: the network, or what is trusted, may be
    /// another.
    pub fn reset(&self) {
        self.workers.iter().for_each(|pools| pools.each(Pool::reset));
        if let Some(anonymous) = &self.anonymous {
            anonymous.reset();
        }
    }

    /// Opens a connection to an origin from a worker unless there is one: a request is about to come.
    pub(crate) fn warm(&self, worker: usize, scheme: &Scheme, authority: &Authority) {
        if let Some(pool) = self.pool(worker, scheme, authority) {
            pool.warm();
        }
    }

    /// Sends a request, whose target is absolute, from a worker and waits for the head of the answer.
    ///
    /// A request without a body that may be repeated is sent once more when a pooled connection turned out to be
    /// closed; a write never is, unless not a byte of it was sent.
    ///
    /// # Errors
    /// A [`ProxyError`] that says why there is no answer.
    pub async fn send(
        &self,
        worker: usize,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        let (Some(scheme), Some(authority)) = (request.uri().scheme(), request.uri().authority()) else {
            return Err(ProxyError::BadRequest);
        };
        let pool = self.pool(worker, scheme, authority);
        let pool = pool.ok_or(ProxyError::UpstreamUnreachable)?;
        let progress = match request.body_mut() {
            Either::Left(body) if !body.is_end_stream() => Some(body.progress()),
            _ => None,
        };
        answered(pool.send(request), progress).await
    }

    fn pool(&self, worker: usize, scheme: &Scheme, authority: &Authority) -> Option<Arc<Pool>> {
        let pools = self.workers.get(worker % self.workers.len())?;
        Some(pools.of(scheme, authority, self))
    }
}

/// A worker's pools, one an origin. A registry has one or two.
#[derive(Default)]
struct Pools(Mutex<Vec<Arc<Pool>>>);

impl Pools {
    fn of(&self, scheme: &Scheme, authority: &Authority, upstream: &Upstream) -> Arc<Pool> {
        let mut pools = self.pools();
        if let Some(pool) = pools.iter().find(|pool| pool.leads_to(scheme, authority)) {
            return Arc::clone(pool);
        }
        if pools.len() >= MANY {
            pools.retain(|pool| pool.is_in_use());
            forget_oldest(&mut pools);
        }
        let Upstream { opener, rotations, .. } = upstream;
        let pool = Pool::new(opener.clone(), rotations.clone(), scheme.clone(), authority.clone());
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

/// Makes room for another one: connections that nobody uses must not take the descriptors of those that are used.
fn forget_oldest(pools: &mut Vec<Arc<Pool>>) {
    if pools.len() < MANY {
        return;
    }
    let unused = pools.iter().enumerate().filter(|(_, pool)| pool.is_idle());
    if let Some((oldest, _)) = unused.min_by_key(|(_, pool)| pool.last_used()) {
        pools.swap_remove(oldest);
    }
}

/// A copy of a request that may be sent twice, because it has no body and changes nothing.
pub(crate) fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    if !request.body().is_end_stream() || !rewrite::is_repeatable(request.method()) {
        return None;
    }
    let mut copy = Request::new(Either::Right(Full::new(Bytes::new())));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Waits for an answer while the request's body moves, however long that takes, and for [`ANSWER`] after it; the last time
/// that it moved is known as exactly as that.
async fn answered<T>(
    answer: impl Future<Output = Result<T, ProxyError>>,
    progress: Option<Progress>,
) -> Result<T, ProxyError> {
    let mut answer = std::pin::pin!(answer);
    let mut before = 0;
    loop {
        if let Ok(answer) = tokio::time::timeout(ANSWER, answer.as_mut()).await {
            return answer;
        }
        let now = progress.as_ref().map_or(0, Progress::bytes);
        if now == before {
            return Err(ProxyError::UpstreamTimeout);
        }
        before = now;
    }
}

/// What an error between us and the upstream means for the client.
fn refusal(error: &(dyn StdError + 'static)) -> ProxyError {
    tracing::debug!(error, "upstream");
    let mut refusal = ProxyError::UpstreamUnreachable;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<Forbidden>() {
            return ProxyError::PlaceDenied;
        }
        if cause.is::<rustls::Error>() {
            return ProxyError::UpstreamUntrusted;
        }
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            refusal = ProxyError::UpstreamTimeout;
        }
        // `source()` of an io::Error passes over what it wraps.
        let wrapped = io
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static));
        next = wrapped.or_else(|| cause.source());
    }
    refusal
}

/// How long a registry may take to answer: a large push is unpacked before the answer comes.
const ANSWER: Duration = Duration::from_secs(300);
/// With so many pools, those without connections are let go, and one whose connections are idle: plain requests of
/// strangers go anywhere.
const MANY: usize = 32;

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// Uploads a byte a minute for so long and then waits for an answer that never comes.
    async fn refused_after(minutes: u64) -> Duration {
        let (progress, begin) = (Progress::default(), Instant::now());
        let moving = progress.clone();
        let upload = async {
            for _ in 0..minutes {
                sleep(Duration::from_secs(60)).await;
                moving.add(1);
            }
            pending::<Result<(), ProxyError>>().await
        };
        assert_eq!(answered(upload, Some(progress)).await, Err(ProxyError::UpstreamTimeout));
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_from_the_end_of_the_upload() {
        let unanswered = pending::<Result<(), ProxyError>>();
        let begin = Instant::now();
        assert_eq!(answered(unanswered, None).await, Err(ProxyError::UpstreamTimeout));
        assert_eq!(begin.elapsed(), ANSWER);
        for minutes in [1, 4, 7, 60, 600] {
            let waited = refused_after(minutes)
                .await
                .saturating_sub(Duration::from_secs(60 * minutes));
            assert!((ANSWER..=2 * ANSWER).contains(&waited), "{minutes} minutes: {waited:?}");
        }
    }
}
