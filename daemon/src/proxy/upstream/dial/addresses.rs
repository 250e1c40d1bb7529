//! Addresses that a dialer may reach, and the resolver that checks them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

use super::{DialError, Forbidden, METADATA_SERVER, NameLookupError, NotLoopback};
use crate::host::Host;
use crate::policy::address::is_public;
use crate::proxy::upstream::proxy_rules::is_loopback_address;

/// Addresses that a [`Dialer`](super::Dialer) may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All, for tunnels and plain requests of the daemon's own user.
    Anywhere,
    /// Public ones, for the bearers of grants.
    Public,
    /// All over TLS, but only loopback for plain HTTP: requests carry tokens.
    Registries,
    /// [`METADATA_SERVER`] alone.
    MetadataServer,
}

/// Addresses that one connection may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    All,
    Public,
    Loopback,
    MetadataServer,
}

impl Addresses {
    /// Addresses for one connection of a dialer; `plain` without TLS.
    pub(super) fn of(reach: Reach, plain: bool) -> Self {
        match reach {
            Reach::Registries if plain => Self::Loopback,
            Reach::Anywhere | Reach::Registries => Self::All,
            Reach::Public => Self::Public,
            Reach::MetadataServer => Self::MetadataServer,
        }
    }

    /// Checks an address that the URL names.
    ///
    /// # Errors
    /// [`DialError`] when the dialer may not reach it.
    pub(super) fn check(self, address: IpAddr) -> Result<(), DialError> {
        match self {
            Self::Public if !is_public(address) || is_own_address(address) => Err(DialError::Forbidden(Forbidden)),
            Self::Loopback if !is_loopback_address(address) => Err(DialError::NotLoopback(NotLoopback)),
            Self::MetadataServer if address != METADATA_SERVER => Err(DialError::Forbidden(Forbidden)),
            Self::All | Self::Public | Self::Loopback | Self::MetadataServer => Ok(()),
        }
    }

    /// Resolves a name and checks all its addresses.
    ///
    /// A name below `localhost` that the system does not know is loopback, as it is for curl and browsers (RFC 6761,
    /// section 6.3).
    ///
    /// # Errors
    /// [`DialError`] when the name has no address, or one that the dialer may not reach.
    pub(super) async fn resolve(self, name: &str) -> Result<Vec<SocketAddr>, DialError> {
        let lookup = async {
            let name: Name = name.parse().map_err(|_| DialError::Invalid)?;
            let found = GaiResolver::new().call(name).await;
            found.map_err(|error| NameLookupError(error).into())
        };
        let found: Vec<SocketAddr> = match lookup.await {
            Ok(found) => found.collect(),
            Err(_) if name.parse().is_ok_and(|host: Host| host.is_loopback()) => LOOPBACK.to_vec(),
            Err(error) => return Err(error),
        };
        self.check_all(&found)?;
        Ok(found)
    }

    /// Checks the addresses of a name. One without an address is an error: a `socks5://` proxy would get the name instead.
    fn check_all(self, found: &[SocketAddr]) -> Result<(), DialError> {
        if found.is_empty() {
            let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(NameLookupError(error).into());
        }
        found.iter().try_for_each(|address| self.check(address.ip()))
    }
}

/// The system's resolver, with a check of the addresses.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    addresses: Addresses,
    /// Addresses of the name, once it was looked up.
    found: Arc<OnceLock<Box<[IpAddr]>>>,
}

impl Resolver {
    /// Resolver for one connection, which may lead to these addresses.
    pub(super) fn new(addresses: Addresses) -> Self {
        Self {
            addresses,
            found: Arc::default(),
        }
    }

    /// Addresses of the name; empty if none was looked up.
    pub(super) fn found(&self) -> &[IpAddr] {
        self.found.get().map_or(&[], |found| found)
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { addresses, found } = self.clone();
        Box::pin(async move {
            let resolved = addresses.resolve(name.as_str()).await?;
            let _ = found.set(resolved.iter().map(SocketAddr::ip).collect());
            Ok(resolved.into_iter())
        })
    }
}

/// Returns true if a public address is one of this machine's own. The firewall and listeners may trust local connections.
///
/// To reach such an address, the kernel chooses it as the source address too. Connecting a UDP socket sends no packet.
fn is_own_address(address: IpAddr) -> bool {
    let unspecified: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source_address = || {
        let socket = UdpSocket::bind((unspecified, 0))?;
        socket.connect((address, DISCARD_PORT))?;
        socket.local_addr()
    };
    source_address().is_ok_and(|source| source.ip() == address)
}

/// Any port works, because nothing is sent.
const DISCARD_PORT: u16 = 9;
/// Port 0: the connector sets the port of the URL.
const LOOPBACK: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::upstream::failure::UpstreamFailure;

    #[test]
    fn a_name_without_an_address_is_an_error_with_its_reason() {
        for addresses in [Addresses::All, Addresses::Public, Addresses::Loopback] {
            let error = addresses.check_all(&[]).unwrap_err();
            assert_eq!(UpstreamFailure::of(&error), UpstreamFailure::NameUnknown);
        }
        assert!(Addresses::All.check_all(&LOOPBACK).is_ok());
        assert!(Addresses::Public.check_all(&LOOPBACK).is_err());
    }

    #[test]
    fn the_dialer_for_the_metadata_server_reaches_nothing_else() {
        for (address, is_reached) in [
            ("169.254.169.254", true),
            ("169.254.169.253", false),
            ("127.0.0.1", false),
            ("192.0.2.1", false),
            ("::ffff:169.254.169.254", false),
        ] {
            let address = address.parse().unwrap();
            for plain in [true, false] {
                let addresses = Addresses::of(Reach::MetadataServer, plain);
                assert_eq!(addresses.check(address).is_ok(), is_reached, "{address}");
            }
            assert!(Addresses::of(Reach::Registries, true).check(METADATA_SERVER).is_err());
        }
    }
}
