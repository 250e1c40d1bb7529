//! Clients that may connect, and the addresses that the daemon may listen on for them.

use std::net::SocketAddr;
use std::str::FromStr;

/// Parses the address to listen on, from the file or from `--listen`. [`Clients::check_listen`] checks that it is
/// allowed.
///
/// # Errors
/// [`InvalidListen::NotAnAddress`].
pub fn listen_address(text: &str) -> Result<SocketAddr, InvalidListen> {
    text.parse().map_err(|_| InvalidListen::NotAnAddress)
}

/// Clients that may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// Processes of the daemon's own user on this machine, and bearers of grants.
    #[default]
    SameUser,
    /// Bearers of grants only.
    Grants,
    /// Bearers of grants only, and those on other machines only over TLS.
    Gateway,
}

impl Clients {
    /// Value in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameUser => "same-user",
            Self::Grants => "grants",
            Self::Gateway => "gateway",
        }
    }

    /// Rejects an address for plain HTTP that other machines can reach, unless every client needs a grant. A gateway serves
    /// other machines over TLS only.
    ///
    /// # Errors
    /// [`InvalidListen::BeyondLoopback`] and [`InvalidListen::WithoutTls`].
    pub fn check_listen(self, address: SocketAddr) -> Result<(), InvalidListen> {
        if self == Self::Gateway && !address.ip().is_loopback() {
            return Err(InvalidListen::WithoutTls);
        }
        self.check_tls(address)
    }

    /// Rejects an address for TLS or metrics that other machines can reach, unless every client needs a grant.
    ///
    /// # Errors
    /// [`InvalidListen::BeyondLoopback`].
    pub fn check_tls(self, address: SocketAddr) -> Result<(), InvalidListen> {
        if self != Self::SameUser || address.ip().is_loopback() {
            Ok(())
        } else {
            Err(InvalidListen::BeyondLoopback)
        }
    }
}

impl FromStr for Clients {
    type Err = InvalidClients;

    fn from_str(text: &str) -> Result<Self, InvalidClients> {
        [Self::SameUser, Self::Grants, Self::Gateway]
            .into_iter()
            .find(|clients| clients.as_str() == text)
            .ok_or(InvalidClients)
    }
}

/// Error of parsing [`Clients`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("clients are \"same-user\", \"grants\" or \"gateway\"")]
pub struct InvalidClients;

/// Error of an address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListen {
    /// Text other than `address:port`.
    #[error("expected an IP address and a port such as \"127.0.0.1:9001\" or \"[::1]:0\"")]
    NotAnAddress,
    /// Address beyond loopback. Without grants the daemon cannot tell clients on other machines apart.
    #[error(
        "other machines can reach this address; set clients = \"grants\" in config.toml too, or use 127.0.0.1 or [::1]"
    )]
    BeyondLoopback,
    /// Address of a gateway beyond loopback, without TLS.
    #[error(
        "other machines can reach this address, and a gateway serves them over TLS only; use 127.0.0.1 or [::1] here, and \
         set listen-tls = {{ address = \"0.0.0.0:9443\", cert = \"…\", key = \"…\" }} in config.toml"
    )]
    WithoutTls,
}
