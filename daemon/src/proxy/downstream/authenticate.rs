//! Who a client is and what it may: the daemon's own user, or the bearer of a grant.
//!
//! A grant that is presented is what counts, also for the daemon's own user: a job can be given less than everything.
//! Without one the kernel's word decides ([`crate::proxy::downstream::peer`]).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;

use crate::config::Clients;
use crate::grant::Grant;
use crate::policy::Operation;
use crate::proxy::downstream::limits::{InFlight, Permit, Principal};
use crate::proxy::downstream::peer::Peer;
use crate::proxy::downstream::worker::ProxyState;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::routes::{InterceptedHost, Service};
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::dial::Dialer;

/// A connection at the door: counted, and not let in yet.
#[derive(Clone, Debug)]
pub(crate) struct UnauthenticatedClient {
    peer: Peer,
    seat: Arc<Permit>,
}

impl UnauthenticatedClient {
    /// Asks the kernel whose the connection is.
    ///
    /// # Errors
    /// [`ProxyError::Busy`] when its party has as many connections as it may.
    pub(crate) fn at_the_door(plane: &ProxyState, stream: &TcpStream) -> Result<Self, ProxyError> {
        let gone = |_| ProxyError::BadRequest;
        let (client, server) = (stream.peer_addr().map_err(gone)?, stream.local_addr().map_err(gone)?);
        let peer = plane.peers.of(client, server);
        let seat = plane.limits.enter(Principal::from(peer)).ok_or(ProxyError::Busy)?;
        Ok(Self {
            peer,
            seat: Arc::new(seat),
        })
    }

    /// Lets it in, given the values of its Proxy-Authorization lines.
    ///
    /// # Errors
    /// [`ProxyError::GrantRequired`] when it shows no living grant and needs one.
    pub(crate) fn admit<'a>(
        &self,
        plane: &ProxyState,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Client, ProxyError> {
        // Whatever else is in that header is meant for another proxy.
        let mut tokens = authorization.filter_map(token);
        let Some(token) = tokens.next() else {
            let needs_nothing = plane.clients == Clients::SameUser && self.peer == Peer::Owner;
            return if needs_nothing {
                Ok(Client {
                    grant: None,
                    seat: Arc::clone(&self.seat),
                })
            } else {
                Err(ProxyError::GrantRequired)
            };
        };
        if tokens.next().is_some() {
            return Err(ProxyError::GrantRequired);
        }
        let grant = plane
            .grants
            .load()
            .find_by_token(&token)
            .ok_or(ProxyError::GrantRequired)?;
        let seat = plane.limits.enter(Principal::Grant(grant.terms.id.clone()));
        Ok(Client {
            grant: Some(grant),
            seat: Arc::new(seat.ok_or(ProxyError::Busy)?),
        })
    }
}

/// The token of `Basic base64(regauth:TOKEN)` (RFC 7617), whether or not it is a grant's.
fn token(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = STANDARD.decode(rest.trim_ascii()).ok()?;
    pair.strip_prefix(b"regauth:").map(<[u8]>::to_vec)
}

/// A client that was let in.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    grant: Option<Arc<Grant>>,
    seat: Arc<Permit>,
}

impl Client {
    /// Counts a request of its.
    ///
    /// # Errors
    /// [`ProxyError::Busy`] when it has as many in flight as it may.
    pub(crate) fn begin_request(&self) -> Result<InFlight, ProxyError> {
        self.seat.begin_request().ok_or(ProxyError::Busy)
    }

    /// Invariant 5, and the terms of a grant. A grant for writes was given to this client to write with, so it does not
    /// wait for `allow`; one for reads does not profit from it.
    ///
    /// # Errors
    /// [`ProxyError::WriteDenied`] or [`ProxyError::GrantDenied`].
    pub(crate) fn permit(&self, service: &Service, operation: Operation) -> Result<(), ProxyError> {
        match &self.grant {
            Some(grant) if grant.covers(&service.name, operation) => Ok(()),
            Some(_) => Err(ProxyError::GrantDenied),
            None if operation == Operation::Write && !service.writes_are_open() => {
                Err(ProxyError::WriteDenied(service.name.clone()))
            }
            None => Ok(()),
        }
    }

    /// Whether it may ask a registry's host for what lies outside every scope. `None` is a host that was one when the
    /// connection was opened.
    ///
    /// # Errors
    /// [`ProxyError::GrantDenied`] when its grant opens no registry there.
    pub(crate) fn visit(&self, site: Option<&InterceptedHost>) -> Result<(), ProxyError> {
        let opens =
            |grant: &Grant, site: &InterceptedHost| site.services().any(|service| grant.covers_registry(&service.name));
        match &self.grant {
            Some(grant) if !site.is_some_and(|site| opens(grant, site)) => Err(ProxyError::GrantDenied),
            _ => Ok(()),
        }
    }

    /// The way to hosts nobody configured: for the bearer of a grant only to public ones.
    pub(crate) fn dialer(&self, plane: &ProxyState) -> Dialer {
        if self.grant.is_some() {
            plane.public_only_dialer.clone()
        } else {
            plane.dialer.clone()
        }
    }

    /// The same for plain HTTP.
    pub(crate) fn strangers<'a>(&self, plane: &'a ProxyState) -> &'a Upstream {
        if self.grant.is_some() {
            &plane.public_only_passthrough
        } else {
            &plane.strangers
        }
    }

    /// Waits until its grant is over or revoked; for ever without one.
    pub(crate) async fn over(&self) {
        match &self.grant {
            Some(grant) => grant.ended().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
pub(in crate::proxy) mod tests {
    use super::*;
    use crate::proxy::downstream::limits::ConnectionLimits;

    /// The daemon's own user.
    pub(in crate::proxy) fn owner() -> Client {
        let seat = ConnectionLimits::default().enter(Principal::Owner).unwrap();
        Client {
            grant: None,
            seat: Arc::new(seat),
        }
    }

    #[test]
    fn the_token_is_the_password_of_regauth() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert_eq!(token(basic("regauth:tok").as_bytes()).unwrap(), b"tok");
        assert_eq!(token(basic("regauth:a:b").as_bytes()).unwrap(), b"a:b");
        assert_eq!(token(b"bAsIc  cmVnYXV0aDp0b2s=").unwrap(), b"tok");
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Basic x",
            "Bearer tok",
            &basic("nocolon"),
            &basic("me:tok"),
        ] {
            assert_eq!(token(bad.as_bytes()), None, "{bad}");
        }
    }
}
