//! Shared state of the data path.
//!
//! The daemon builds one [`ProxyState`] at start. Worker threads read it; the control side replaces [`Routes`] and
//! [`Grants`] in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Clients, Config};
use crate::grant::Grants;
use crate::host::{Host, Origin};
use crate::proxy::downstream::limits::ConnectionLimits;
use crate::proxy::downstream::peer::PeerResolver;
use crate::proxy::routes::Routes;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::proxy_rules::ProxyRules;
use crate::proxy::upstream::{Trust, TrustError, Upstream};

/// State that all workers share.
#[derive(Debug)]
pub struct ProxyState {
    /// Current routes.
    pub routes: ArcSwap<Routes>,
    /// Dialer for tunnels of the daemon's own user.
    pub dialer: Dialer,
    /// Client for plain HTTP requests of the daemon's own user to hosts without a registry.
    pub passthrough: Upstream,
    /// Clients that may connect without a grant.
    pub clients: Clients,
    /// Resolver of the user behind a loopback connection.
    pub peers: PeerResolver,
    /// Current grants.
    pub grants: ArcSwap<Grants>,
    /// Connection and request limits of each client.
    pub limits: ConnectionLimits,
    /// Dialer for tunnels of grant bearers: public addresses only.
    pub public_only_dialer: Dialer,
    /// Client for plain HTTP requests of grant bearers: public addresses only.
    pub public_only_passthrough: Upstream,
    /// Address of the proxy listener.
    pub listen: SocketAddr,
    /// Cancelled when the daemon starts to drain.
    pub drain: CancellationToken,
    /// Tasks of all open connections.
    pub tasks: TaskTracker,
    /// Counters for `status` and `metrics`.
    pub counters: Counters,
}

impl ProxyState {
    /// State without a registry, with upstream pools for `workers` workers. `roots` verify an `https://` corporate proxy.
    ///
    /// # Errors
    /// [`TrustError`] when rustls rejects the TLS settings.
    pub fn new(
        config: &Config,
        proxies: ProxyRules,
        grants: Grants,
        listen: SocketAddr,
        roots: &[CertificateDer<'static>],
        workers: usize,
    ) -> Result<Self, TrustError> {
        let trust = Trust::new(roots, None, None)?;
        let dialer = Dialer::new(proxies, trust.clone())?;
        let public_only_dialer = dialer.public_only();
        Ok(Self {
            routes: ArcSwap::default(),
            passthrough: Upstream::new(&dialer, trust.clone(), workers)?,
            dialer,
            clients: config.clients,
            peers: PeerResolver::new(),
            grants: ArcSwap::from_pointee(grants),
            limits: ConnectionLimits::default(),
            public_only_passthrough: Upstream::new(&public_only_dialer, trust, workers)?,
            public_only_dialer,
            listen,
            drain: CancellationToken::new(),
            tasks: TaskTracker::new(),
            counters: Counters::default(),
        })
    }

    /// Returns true if `origin` is our own listener: a request to it would loop.
    pub(crate) fn is_own_listener(&self, origin: &Origin) -> bool {
        origin.port == self.listen.port()
            && (origin.host.is_loopback() || origin.host == Host::Address(self.listen.ip()))
    }

    /// Counts an open connection until the guard is dropped.
    pub(crate) fn count_connection(self: &Arc<Self>) -> ConnectionGuard {
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(Arc::clone(self))
    }
}

/// Counters of the data path.
#[derive(Debug, Default)]
pub struct Counters {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Counters {
    /// Open connections.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests to intercepted hosts since the start.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request to an intercepted host.
    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// Guard of one counted connection.
pub(crate) struct ConnectionGuard(Arc<ProxyState>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Context of a worker thread, which each of its connections carries along.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// Index of the worker's set of upstream pools.
    pub index: usize,
    /// State that all workers share.
    pub state: Arc<ProxyState>,
}

#[cfg(test)]
pub(in crate::proxy) mod tests {
    use super::*;

    /// The only worker of a daemon without a registry.
    pub(in crate::proxy) fn worker() -> Worker {
        let config = Config::read("").unwrap();
        let listen = ([127, 0, 0, 1], 1).into();
        let state = ProxyState::new(&config, ProxyRules::direct(), Grants::default(), listen, &[], 1).unwrap();
        Worker {
            index: 0,
            state: Arc::new(state),
        }
    }
}
