//! Client authentication and authorization: the daemon's own user, a user that a guarded daemon serves, or the bearer of a
//! grant or of a workload's token.
//!
//! A grant takes precedence, also for these users: a job can run with fewer rights than its user. Without a grant, the user
//! that [the kernel names](crate::proxy::downstream::peer) decides.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_shared::program;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::bearer::Bearer;
use crate::config::Clients;
use crate::events::caller::{Caller, Program};
use crate::policy::Operation;
use crate::proxy::downstream::limits::{Permit, Principal, RequestPermit};
use crate::proxy::downstream::peer::Peer;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::routes::{InterceptedHost, RegistryRoute};
use crate::proxy::state::ProxyState;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::dial::Dialer;
use crate::workload::is_token;

/// Connection that is counted and has not authenticated yet.
#[derive(Clone, Debug)]
pub(crate) struct UnauthenticatedClient {
    principal: Principal,
    /// `None` once the bearer of a grant has taken over the connection: then the bearer's permit counts it.
    permit: Arc<Mutex<Option<Arc<Permit>>>>,
    displaced: Option<CancellationToken>,
    caller: Arc<Caller>,
}

impl UnauthenticatedClient {
    /// Looks up the peer of a new connection and counts it. `address` is the client's if a load balancer names it.
    ///
    /// # Errors
    /// [`ProxyError::Busy`] when the peer has reached its connection limit.
    pub(crate) fn identify(
        state: &ProxyState,
        stream: &TcpStream,
        address: Option<IpAddr>,
    ) -> Result<Self, ProxyError> {
        let disconnected = |_| ProxyError::BadRequest;
        let client = stream.peer_addr().map_err(disconnected)?;
        let server = stream.local_addr().map_err(disconnected)?;
        // A load balancer's word is no proof of a user.
        let (peer, inode) = match address {
            Some(address) => (Peer::Address(address), None),
            None => state.peers.resolve_socket(client, server),
        };
        let principal = Principal::of(peer, &state.served);
        let permit = state.limits.acquire(principal.clone()).ok_or(ProxyError::Busy)?;
        let caller = Arc::new(peer.caller(inode));
        if let Some(inode) = inode {
            state.programs.find(inode, &caller);
        }
        Ok(Self {
            principal,
            displaced: permit.displaced().cloned(),
            permit: Arc::new(Mutex::new(Some(Arc::new(permit)))),
            caller,
        })
    }

    /// Returns the permit, so that clients behind one address share no places once they have authenticated. A later request
    /// of the peer on the same connection takes one again.
    pub(crate) fn release(&self) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until another connection of the peer takes the place of this one. Not after [`Self::release`].
    pub(crate) async fn displaced(&self) {
        match &self.displaced {
            Some(displaced) => displaced.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// The connection's other end, for events.
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Authenticates by the values of the request's Proxy-Authorization headers, or by the peer.
    ///
    /// # Errors
    /// [`ProxyError::GrantRequired`] when the client needs a grant and shows no valid one,
    /// [`ProxyError::IdentityRejected`] for a workload's token that opens nothing, and [`ProxyError::Busy`] when the client
    /// has reached its connection limit.
    pub(crate) async fn authenticate<'a>(
        &self,
        state: &ProxyState,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Client, ProxyError> {
        let trust = state.trust.load_full();
        // Any other content of that header is meant for another proxy.
        let accepts_tokens = !trust.is_empty() || state.signed_grants.is_some();
        let bearer_token = |value| bearer_token(value).filter(|token| accepts_tokens && is_token(token));
        let mut tokens = authorization.filter_map(|value| grant_token(value).or_else(|| bearer_token(value)));
        let Some(token) = tokens.next() else {
            return self.authenticate_by_peer(state);
        };
        if tokens.next().is_some() {
            return Err(ProxyError::GrantRequired);
        }
        let known = match &state.signed_grants {
            Some(signed) if is_token(&token) => signed.find(&token),
            _ => state.grants.load().find_by_token(&token),
        };
        let (bearer, principal) = match known {
            Some(grant) => {
                let principal = Principal::Grant(grant.terms.id.clone());
                (Bearer::Grant(grant), principal)
            }
            None if is_token(&token) && !trust.is_empty() => {
                let workload = trust.authenticate(&token).await.map_err(ProxyError::IdentityRejected)?;
                let principal = Principal::Workload(workload.identity.key());
                (Bearer::Workload(Arc::new(workload)), principal)
            }
            None => return Err(ProxyError::GrantRequired),
        };
        state.refusal_pace.forget(&self.principal);
        let permit = state.limits.acquire(principal);
        Ok(Client {
            bearer: Some(bearer),
            permit: Arc::new(permit.ok_or(ProxyError::Busy)?),
            caller: Arc::clone(&self.caller),
        })
    }

    /// Waits before an answer 407, if this client gets many of them.
    pub(crate) async fn slow_down(&self, state: &ProxyState, error: &ProxyError) {
        if let ProxyError::IdentityRejected(rejection) = error {
            tracing::debug!(reason = rejection.as_str(), "rejected the token of a workload");
        }
        if matches!(error, ProxyError::GrantRequired | ProxyError::IdentityRejected(_)) {
            let delay = state.refusal_pace.note(&self.principal);
            tokio::time::sleep(delay).await;
        }
    }

    fn authenticate_by_peer(&self, state: &ProxyState) -> Result<Client, ProxyError> {
        let is_served = matches!(self.principal, Principal::Owner | Principal::Served(_));
        if state.clients != Clients::SameUser || !is_served {
            return Err(ProxyError::GrantRequired);
        }
        Ok(Client {
            bearer: None,
            permit: self.permit(state)?,
            caller: Arc::clone(&self.caller),
        })
    }

    fn permit(&self, state: &ProxyState) -> Result<Arc<Permit>, ProxyError> {
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permit) = &*permit {
            return Ok(Arc::clone(permit));
        }
        let acquired = state.limits.acquire(self.principal.clone()).ok_or(ProxyError::Busy)?;
        Ok(Arc::clone(permit.insert(Arc::new(acquired))))
    }
}

/// Token of `Basic base64(regauth:TOKEN)` (RFC 7617); it need not belong to a grant.
fn grant_token(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = STANDARD.decode(rest.trim_ascii()).ok()?;
    pair.strip_prefix(b"regauth:").map(<[u8]>::to_vec)
}

/// Token of `Bearer TOKEN` (RFC 6750).
fn bearer_token(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii().to_vec())
}

/// Authenticated client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    bearer: Option<Bearer>,
    permit: Arc<Permit>,
    caller: Arc<Caller>,
}

impl Client {
    /// Identity of the client, as its limits count it.
    pub(crate) fn principal(&self) -> &Principal {
        self.permit.principal()
    }

    /// The connection's other end, for events.
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// The grant or token that the client has shown.
    pub(crate) fn bearer(&self) -> Option<&Bearer> {
        self.bearer.as_ref()
    }

    /// Counts a request of this client.
    ///
    /// # Errors
    /// [`ProxyError::Busy`] when the client has reached its request limit.
    pub(crate) fn begin_request(&self) -> Result<RequestPermit, ProxyError> {
        self.permit.begin_request().ok_or(ProxyError::Busy)
    }

    /// Checks that the client may do `operation` on a registry (invariant 5 and the terms of a grant).
    ///
    /// A grant for writes does not need `regauthctl allow`. A grant for reads does not profit from it.
    ///
    /// # Errors
    /// [`ProxyError::WriteDenied`] or [`ProxyError::GrantDenied`].
    pub(crate) fn authorize(&self, registry: &RegistryRoute, operation: Operation) -> Result<(), ProxyError> {
        match &self.bearer {
            Some(bearer) if bearer.covers(&registry.name, &registry.registry, operation) => Ok(()),
            Some(_) => Err(ProxyError::GrantDenied),
            None if operation == Operation::Write && !registry.writes_are_open() => {
                Err(ProxyError::WriteDenied(registry.name.clone()))
            }
            None => Ok(()),
        }
    }

    /// Checks that the client's program is one of the registry's. Waits until it is found. A registry without a list has
    /// no restriction, and needs no wait.
    ///
    /// A bearer of a grant from elsewhere has no program that we could name: its grant is the permission. A guarded daemon
    /// may not look at its users' processes, so it finds no program of theirs.
    ///
    /// # Errors
    /// [`ProxyError::ProgramDenied`] when it is another program, or none was found.
    pub(crate) async fn authorize_program(
        &self,
        state: &ProxyState,
        registry: &RegistryRoute,
    ) -> Result<(), ProxyError> {
        let allowed = &registry.registry.programs;
        if allowed.is_empty() {
            return Ok(());
        }
        if self.bearer.is_some() && !self.caller.is_own_user && state.peers.unavailable().is_none() {
            return Ok(());
        }
        let found = tokio::time::timeout(PROGRAM_TIMEOUT, self.caller.program.wait()).await;
        let program = found.ok().and_then(Option::as_ref);
        let is_allowed = |program: &Program| allowed.iter().any(|name| program::matches(name, &program.path));
        if program.is_some_and(is_allowed) {
            Ok(())
        } else {
            Err(ProxyError::ProgramDenied(registry.name.clone()))
        }
    }

    /// Checks that the client may send a request without a credential to an intercepted host.
    ///
    /// `None` is a host whose registries were removed after the CONNECT.
    ///
    /// # Errors
    /// [`ProxyError::GrantDenied`] when the client's grant opens no registry on that host.
    pub(crate) fn authorize_passthrough(&self, host: Option<&InterceptedHost>) -> Result<(), ProxyError> {
        let opens = |bearer: &Bearer, host: &InterceptedHost| {
            let mut registries = host.registries();
            registries.any(|registry| bearer.covers_registry(&registry.name, &registry.registry))
        };
        match &self.bearer {
            Some(bearer) if !host.is_some_and(|host| opens(bearer, host)) => Err(ProxyError::GrantDenied),
            _ => Ok(()),
        }
    }

    /// True if the client needs no grant, or if the daemon serves nobody else than bearers of grants.
    pub(crate) fn acts_for_owner(&self, state: &ProxyState) -> bool {
        self.bearer.is_none() || state.clients != Clients::SameUser
    }

    /// True if the client has shown a grant or a token.
    pub(crate) fn bears_grant(&self) -> bool {
        self.bearer.is_some()
    }

    /// Dialer for tunnels; bearers of a grant reach public addresses only.
    pub(crate) fn dialer(&self, state: &ProxyState) -> Dialer {
        if self.bearer.is_some() {
            state.public_only_dialer.clone()
        } else {
            state.dialer.clone()
        }
    }

    /// Upstream for plain HTTP requests; bearers of a grant reach public addresses only.
    pub(crate) fn passthrough<'a>(&self, state: &'a ProxyState) -> &'a Upstream {
        if self.bearer.is_some() {
            &state.public_only_passthrough
        } else {
            &state.passthrough
        }
    }

    /// Waits until the client's grant or token ends; forever without one.
    pub(crate) async fn grant_ended(&self) {
        match &self.bearer {
            Some(bearer) => bearer.ended().await,
            None => std::future::pending().await,
        }
    }
}

/// Longest wait for the name of a client's program.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
pub(in crate::proxy) mod tests {
    use super::*;
    use crate::proxy::downstream::limits::ConnectionLimits;

    /// Client of the daemon's own user.
    pub(in crate::proxy) fn owner() -> Client {
        let permit = ConnectionLimits::default().acquire(Principal::Owner).unwrap();
        Client {
            bearer: None,
            permit: Arc::new(permit),
            caller: Arc::default(),
        }
    }

    #[test]
    fn the_grant_token_is_the_password_of_the_user_regauth() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert_eq!(grant_token(basic("regauth:tok").as_bytes()).unwrap(), b"tok");
        assert_eq!(grant_token(basic("regauth:a:b").as_bytes()).unwrap(), b"a:b");
        assert_eq!(grant_token(b"bAsIc  cmVnYXV0aDp0b2s=").unwrap(), b"tok");
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Basic x",
            "Bearer tok",
            &basic("nocolon"),
            &basic("me:tok"),
        ] {
            assert_eq!(grant_token(bad.as_bytes()), None, "{bad}");
        }
    }
}
