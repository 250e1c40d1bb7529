//! Certificate authority for one host, which lets clients accept the proxy in place of the registry's server.
//!
//! An authority is a self-signed root over an intermediate. The root's key is gone once [`Authority::create`] returns;
//! the caller keeps the intermediate's key in a store. Both certificates are name-constrained to the host, so a stolen
//! key signs for no other host. There is one authority per host, not per registry: adding or removing a registry
//! disturbs no running client.
//!
//! The module writes no files: the caller keeps the [`Certificates`] and the key. The data path compares the SNI with
//! the CONNECT authority. `root` creates the two certificates, `leaf` the short-lived one that is served, `key`
//! signs, `validate` checks certificates from the journal or from a [`file`] that daemons share, and [`bundle`] composes the file that clients trust,
//! with a company's roots if [`company_roots`] has any.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rcgen::Issuer;
use regauth_shared::secret::Secret;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::crypto;
use crate::host::Host;

pub mod bundle;
pub mod company_roots;
pub mod file;
pub mod java;
mod key;
mod leaf;
mod root;
mod validate;

use key::Key;
use leaf::Leaf;

/// Authority for one host, with its current leaf.
pub struct Authority {
    host: Host,
    certificates: Certificates,
    intermediate: CertificateDer<'static>,
    issuer: Issuer<'static, Key>,
    leaf: ArcSwap<Leaf>,
}

/// Public certificates of an authority, as PEM (RFC 7468).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// Root, which clients trust.
    pub root: String,
    /// Intermediate, which is sent to clients with every leaf.
    pub intermediate: String,
}

impl Authority {
    /// Creates an authority that is valid for ten years. The second value is the intermediate's key: base64 of PKCS#8
    /// (RFC 5958).
    ///
    /// # Errors
    /// [`AuthorityError::InvalidName`] if no certificate can carry the host's name; [`AuthorityError::Signing`] if the
    /// cryptography library fails.
    pub fn create(host: &Host) -> Result<(Self, Secret), AuthorityError> {
        let (certificates, key) = root::create(host, OffsetDateTime::now_utc())?;
        let secret = key.to_secret()?;
        Ok((Self::restore(host, certificates, &secret)?, secret))
    }

    /// Restores an authority from its certificates and key. Checks that they belong together, are for `host` alone, and
    /// are valid for more than 30 days.
    ///
    /// # Errors
    /// Any [`AuthorityError`]. After [`AuthorityError::NotYetValid`] a new authority would not help: the clock is
    /// wrong.
    pub fn restore(host: &Host, certificates: Certificates, key: &Secret) -> Result<Self, AuthorityError> {
        Self::restore_at(host, certificates, key, OffsetDateTime::now_utc())
    }

    /// Host that the authority can sign for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Certificates of root and intermediate.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Secret for one purpose that all daemons with this authority share, and that tells nothing about its key.
    ///
    /// # Errors
    /// [`AuthorityError::UnreadableKey`] if the cryptography library fails.
    pub(crate) fn derive_secret(&self, purpose: &[u8]) -> Result<Zeroizing<[u8; 32]>, AuthorityError> {
        self.issuer.key().derive(purpose)
    }

    /// TLS settings for connections of clients: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN (RFC 7301), and session
    /// resumption. Early data is off, because it can be replayed (RFC 8446, section 8).
    ///
    /// Each call makes new ticket keys, so one value should serve all connections to the host. The handshake fails for
    /// a client that offers other ALPN protocols only; a client without ALPN speaks HTTP/1.1.
    ///
    /// # Errors
    /// [`AuthorityError::Tls`] if the cryptography library fails.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut config = ServerConfig::builder_with_provider(crypto::provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(AuthorityError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(AuthorityError::Tls)?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_WITHOUT_TICKETS);
        Ok(Arc::new(config))
    }

    fn restore_at(
        host: &Host,
        certificates: Certificates,
        key: &Secret,
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let root = parse_pem(&certificates.root)?;
        let intermediate = parse_pem(&certificates.intermediate)?;
        let key = Key::from_secret(key)?;
        validate::check_certificate(&root, host, now)?;
        let public_key = validate::check_certificate(&intermediate, host, now)?;
        if public_key != key.public() {
            return Err(AuthorityError::OtherKey);
        }

        let issuer = Issuer::from_ca_cert_der(&intermediate, key).map_err(AuthorityError::Signing)?;
        let leaf = Leaf::issue(host, &issuer, &intermediate, now)?;
        validate::verify_as_client(host, root, &leaf, now)?;
        Ok(Self {
            host: host.clone(),
            certificates,
            leaf: ArcSwap::from_pointee(leaf),
            intermediate,
            issuer,
        })
    }

    /// Leaf to serve. Two handshakes at the same time may both issue a new one, which is cheaper than a lock for all.
    fn leaf_at(&self, now: OffsetDateTime) -> Arc<Leaf> {
        let leaf = self.leaf.load_full();
        if leaf.is_fresh(now) {
            return leaf;
        }
        match Leaf::issue(&self.host, &self.issuer, &self.intermediate, now) {
            Ok(issued) => {
                let issued = Arc::new(issued);
                self.leaf.store(Arc::clone(&issued));
                issued
            }
            // The old leaf is valid for half of its lifetime yet.
            Err(error) => {
                tracing::error!(host = %self.host, %error, "certificate renewal failed");
                leaf
            }
        }
    }
}

impl ResolvesServerCert for Authority {
    /// Returns the leaf for the authority's host, whatever name the client sends.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.leaf_at(OffsetDateTime::now_utc()).certified())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn parse_pem(pem: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::Unreadable)
}

/// Error of creating or restoring an authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Key or signature that could not be created.
    #[error("cannot create a certificate")]
    Signing(#[source] rcgen::Error),
    /// TLS settings that rustls rejects.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// Host name that no certificate can carry, such as one with a hyphen at the end of a label.
    #[error("no certificate can carry the host's name")]
    InvalidName,
    /// Certificates that are not PEM or not X.509.
    #[error("the certificates of the authority cannot be read")]
    Unreadable,
    /// Key that is not base64, not PKCS#8, or not for P-256.
    #[error("the key of the authority cannot be read")]
    UnreadableKey,
    /// Key of another authority.
    #[error("the key does not belong to the authority's certificate")]
    OtherKey,
    /// Certificate that is permitted another host, several, or all.
    #[error("the certificates of the authority are not for this host alone")]
    OtherHost,
    /// Certificate that has expired or has less than 30 days left.
    #[error("the authority expires on {}", expires.date())]
    Expiring {
        /// Expiry time.
        expires: OffsetDateTime,
    },
    /// Certificate that is not valid yet. The clock is wrong, so a new authority would not help.
    #[error("the authority is valid only from {}; check the clock of this machine", not_before.date())]
    NotYetValid {
        /// Start of the validity.
        not_before: OffsetDateTime,
    },
    /// Certificates that a client would reject.
    #[error("the certificates of the authority do not form a chain")]
    Broken(#[source] rustls::Error),
}

/// Sessions that a host remembers for clients of TLS 1.2 without tickets. rustls would reserve memory for 256.
const SESSIONS_WITHOUT_TICKETS: usize = 16;

#[cfg(test)]
mod tests;
