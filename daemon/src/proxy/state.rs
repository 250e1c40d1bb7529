//! Shared state of the data path.
//!
//! The daemon builds one [`ProxyState`] at start. Worker threads read it; the control side replaces [`Routes`] and
//! [`Grants`] in it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Audit;
use crate::config::{Clients, Config};
use crate::credential::circuit_breaker::CircuitBreaker;
use crate::events::Events;
use crate::grant::Grants;
use crate::guarded::ServedUsers;
use crate::host::{Host, Origin};
use crate::proxy::downstream::entrance::ServerCertificate;
use crate::proxy::downstream::limits::ConnectionLimits;
use crate::proxy::downstream::peer::PeerResolver;
use crate::proxy::downstream::program::ProgramFinder;
use crate::proxy::downstream::refusal_pace::RefusalPace;
use crate::proxy::exchange::action_seal::ActionSeal;
use crate::proxy::exchange::failure_log::FailureLog;
use crate::proxy::routes::{RegistryRoute, Routes};
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::proxy_rules::ProxyRules;
use crate::proxy::upstream::{Trust, TrustError, Upstream};
use crate::signed_grant::{InvalidSignedGrants, SignedGrants};
use crate::workload::WorkloadTrust;

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
    /// Users that need no grant, if the daemon is guarded.
    pub(crate) served: ServedUsers,
    /// Resolver of the user behind a loopback connection.
    pub peers: PeerResolver,
    /// Current grants.
    pub grants: ArcSwap<Grants>,
    /// Grants that are verified by their signature.
    pub(crate) signed_grants: Option<SignedGrants>,
    /// Current trust rules for tokens of workloads.
    pub(crate) trust: ArcSwap<WorkloadTrust>,
    /// Connection and request limits of each client.
    pub limits: ConnectionLimits,
    /// Pace of clients that show no valid grant.
    pub(crate) refusal_pace: RefusalPace,
    /// Dialer for tunnels of grant bearers: public addresses only.
    pub public_only_dialer: Dialer,
    /// Client for plain HTTP requests of grant bearers: public addresses only.
    pub public_only_passthrough: Upstream,
    /// Address of the proxy listener.
    pub listen: SocketAddr,
    /// Address of the listener with TLS.
    pub listen_tls: Option<SocketAddr>,
    /// Certificate of the listener with TLS.
    pub certificate: Option<ServerCertificate>,
    /// Cancelled when the daemon starts to drain.
    pub drain: CancellationToken,
    /// Tasks of all open connections.
    pub tasks: TaskTracker,
    /// Audit record.
    pub(crate) audit: Audit,
    /// Counters for `status` and `metrics`.
    pub counters: Counters,
    /// Seal of tokens that clients keep for objects of Git LFS.
    pub(crate) action_seal: ActionSeal,
    /// Tokens that the control side is to check.
    pub(crate) token_checks: TokenChecks,
    /// Log lines about failed requests to hosts without a registry.
    pub failures: FailureLog,
    /// Stream of what happens.
    pub(crate) events: Arc<Events>,
    /// Finder of the programs behind connections.
    pub(crate) programs: ProgramFinder,
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
        let trust = Trust::system(roots);
        let dialer = Dialer::new(proxies, trust.clone())?;
        let public_only_dialer = dialer.public_only();
        Ok(Self {
            routes: ArcSwap::default(),
            passthrough: Upstream::new(&dialer, trust.clone(), workers)?,
            dialer,
            clients: config.clients,
            served: ServedUsers::default(),
            peers: PeerResolver::new(),
            grants: ArcSwap::from_pointee(grants),
            signed_grants: None,
            trust: ArcSwap::default(),
            limits: ConnectionLimits::default(),
            refusal_pace: RefusalPace::default(),
            public_only_passthrough: Upstream::new(&public_only_dialer, trust, workers)?,
            public_only_dialer,
            listen,
            listen_tls: None,
            certificate: None,
            drain: CancellationToken::new(),
            tasks: TaskTracker::new(),
            audit: Audit::off(),
            counters: Counters::default(),
            action_seal: ActionSeal::new(),
            token_checks: TokenChecks::default(),
            failures: FailureLog::default(),
            events: Arc::new(Events::new(workers)),
            programs: ProgramFinder::start(),
        })
    }

    /// Serves users of this machine beside its own one.
    pub(crate) fn with_served(self, served: ServedUsers) -> Self {
        Self { served, ..self }
    }

    /// Serves TLS at this address with this certificate.
    pub(crate) fn with_tls(self, tls: Option<(SocketAddr, ServerCertificate)>) -> Self {
        let (listen_tls, certificate) = tls.unzip();
        Self {
            listen_tls,
            certificate,
            ..self
        }
    }

    /// Accepts signed grants, if the configuration has a key for them.
    ///
    /// # Errors
    /// [`InvalidSignedGrants`] when the key or the list of revoked ones cannot be read.
    pub(crate) fn with_signed_grants(self, config: &Config) -> Result<Self, InvalidSignedGrants> {
        let signed_grants = config.signed_grants.as_ref().map(SignedGrants::read).transpose()?;
        Ok(Self { signed_grants, ..self })
    }

    /// Addresses of our own listeners.
    fn own_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [self.listen].into_iter().chain(self.listen_tls)
    }

    /// Records events on disk.
    pub(crate) fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Returns true if `origin` is a listener of ours: a request to it would loop.
    ///
    /// The kernel takes the unspecified address (`0.0.0.0`, `[::]`) for loopback, and an IPv4-mapped address for its IPv4
    /// address. A name that resolves to this machine is found by [`is_own_connection`](Self::is_own_connection).
    pub(crate) fn is_own_listener(&self, origin: &Origin) -> bool {
        let is_own_host = |own: SocketAddr| match origin.host {
            Host::Name(_) => origin.host.is_loopback(),
            Host::Address(address) => {
                let address = address.to_canonical();
                address.is_loopback() || address.is_unspecified() || address == own.ip().to_canonical()
            }
        };
        self.own_addresses()
            .any(|own| origin.port == own.port() && is_own_host(own))
    }

    /// Returns true if a connection that we have opened leads to our own listener.
    pub(crate) fn is_own_connection(&self, stream: &TcpStream) -> bool {
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            return false;
        };
        let address = peer.ip().to_canonical();
        // To reach an address of this machine, the kernel chooses it as the source address too.
        let is_own_machine = address.is_loopback() || peer.ip() == local.ip();
        let leads_to = |own: SocketAddr| {
            let listen = own.ip().to_canonical();
            peer.port() == own.port() && (address == listen || (listen.is_unspecified() && is_own_machine))
        };
        self.own_addresses().any(leads_to)
    }

    /// Counts an open connection until the guard is dropped.
    pub(crate) fn count_connection(self: &Arc<Self>) -> ConnectionGuard {
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(Arc::clone(self))
    }
}

/// Queue of tokens to check, from the data path to the control side. Neither waits for the other.
#[derive(Debug, Default)]
pub(crate) struct TokenChecks {
    queue: Mutex<VecDeque<TokenCheck>>,
    added: Notify,
}

/// One generation of one registry's credential, to be checked.
#[derive(Debug)]
pub(crate) struct TokenCheck {
    pub(crate) registry: Arc<RegistryRoute>,
    /// The generation's circuit breaker, which gets the verdict.
    pub(crate) breaker: Arc<CircuitBreaker>,
}

impl TokenChecks {
    /// Requests a check. The circuit breaker sees to it that there is one at a time for each generation.
    pub(crate) fn request(&self, registry: &Arc<RegistryRoute>, breaker: &Arc<CircuitBreaker>) {
        self.lock().push_back(TokenCheck {
            registry: Arc::clone(registry),
            breaker: Arc::clone(breaker),
        });
        self.added.notify_one();
    }

    /// Waits for the next check that is to be made. For one caller.
    pub(crate) async fn next(&self) -> TokenCheck {
        loop {
            let next = self.lock().pop_front();
            if let Some(next) = next {
                return next;
            }
            self.added.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<TokenCheck>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Requests and open connections. A pair that stays the same means that no client does anything new.
    pub(crate) fn activity(&self) -> (u64, u64) {
        (self.requests(), self.connections())
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

    #[test]
    fn every_way_to_the_own_listener_is_known() {
        let state = worker().state;
        for (target, own) in [
            ("127.0.0.1:1", true),
            ("127.1:1", true),
            ("localhost:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", true),
            ("0:1", true),
            ("[::]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("[::ffff:0.0.0.0]:1", true),
            ("127.0.0.1:2", false),
            ("192.0.2.1:1", false),
            ("[::ffff:192.0.2.1]:1", false),
            ("corp.example:1", false),
        ] {
            let origin = Origin::parse(target, None).unwrap();
            assert_eq!(state.is_own_listener(&origin), own, "{target}");
        }
    }

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
