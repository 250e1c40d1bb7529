//! The certificate authority for one host: what lets a client believe that we are the registry, and nothing else.
//!
//! An authority is a self-signed root, whose key is gone once [`Authority::create`] returns, over an intermediate, whose
//! key the caller keeps in a store. Both are name-constrained to the host, so a thief of the key gains no other host.
//! One authority per host, not per registry: registries on a host come and go without disturbing a running client.
//!
//! It keeps no files and knows no store: the caller holds the [`Certificates`] and the key. It does not compare the SNI
//! with the CONNECT authority either; that is for whoever terminates TLS. [`root`] makes the two certificates, [`leaf`]
//! the short-lived one that is served, [`key`] holds what signs, [`proof`] doubts what was read back, and [`bundle`] is the
//! file that clients trust.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rcgen::Issuer;
use regauth_shared::secret::Secret;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::host::Host;

pub mod bundle;
pub mod java;
mod key;
mod leaf;
mod proof;
mod root;

use key::Key;
use leaf::Leaf;

/// The authority for one host, ready to serve it.
pub struct Authority {
    host: Host,
    certificates: Certificates,
    intermediate: CertificateDer<'static>,
    issuer: Issuer<'static, Key>,
    leaf: ArcSwap<Leaf>,
}

/// What the world may know of an authority, as PEM (RFC 7468).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// The root: what a client trusts.
    pub root: String,
    /// The intermediate: what a client is sent with every leaf.
    pub intermediate: String,
}

impl Authority {
    /// Makes a new authority, valid for ten years, and the key of its intermediate: base64 of PKCS#8 (RFC 5958).
    ///
    /// # Errors
    /// [`AuthorityError::Unnameable`] when no certificate can carry the host's name, [`AuthorityError::Unsigned`] when the
    /// cryptography library fails. The others do not occur with what was just made.
    pub fn create(host: &Host) -> Result<(Self, Secret), AuthorityError> {
        let (certificates, key) = root::establish(host, OffsetDateTime::now_utc())?;
        let secret = key.to_secret()?;
        Ok((Self::restore(host, certificates, &secret)?, secret))
    }

    /// Takes up an authority that was made earlier, after proving that it still works: that the key and the certificates
    /// belong together, are for `host` alone, and have more than 30 days left.
    ///
    /// # Errors
    /// Every [`AuthorityError`]; which one says whether a new authority would help.
    pub fn restore(host: &Host, certificates: Certificates, key: &Secret) -> Result<Self, AuthorityError> {
        Self::restore_at(host, certificates, key, OffsetDateTime::now_utc())
    }

    /// The one host that it can sign for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The root and the intermediate.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// TLS as the host's own server would do it: 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN (RFC 7301), resumption, but no
    /// early data, which can be replayed (RFC 8446, section 8).
    ///
    /// Each call begins with new session tickets, so one value should serve all connections to the host. A client that
    /// offers ALPN with neither protocol fails the handshake; one without ALPN speaks HTTP/1.1.
    ///
    /// # Errors
    /// [`AuthorityError::Tls`] when the cryptography library fails.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(AuthorityError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(AuthorityError::Tls)?;
        Ok(Arc::new(config))
    }

    fn restore_at(
        host: &Host,
        certificates: Certificates,
        key: &Secret,
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let root = read(&certificates.root)?;
        let intermediate = read(&certificates.intermediate)?;
        let key = Key::from_secret(key)?;
        proof::inspect(&root, host, now)?;
        let public_key = proof::inspect(&intermediate, host, now)?;
        if public_key != key.public() {
            return Err(AuthorityError::OtherKey);
        }

        let issuer = Issuer::from_ca_cert_der(&intermediate, key).map_err(AuthorityError::Unsigned)?;
        let leaf = Leaf::mint(host, &issuer, &intermediate, now)?;
        proof::prove(host, root, &leaf, now)?;
        Ok(Self {
            host: host.clone(),
            certificates,
            leaf: ArcSwap::from_pointee(leaf),
            intermediate,
            issuer,
        })
    }

    /// The leaf to serve. Two callers at the moment of renewal may both mint one: cheaper than a lock for everyone.
    fn leaf_at(&self, now: OffsetDateTime) -> Arc<Leaf> {
        let leaf = self.leaf.load_full();
        if leaf.is_fresh(now) {
            return leaf;
        }
        match Leaf::mint(&self.host, &self.issuer, &self.intermediate, now) {
            Ok(minted) => {
                let minted = Arc::new(minted);
                self.leaf.store(Arc::clone(&minted));
                minted
            }
            // Half a life is left to get better: clients see nothing of it until then.
            Err(error) => {
                tracing::error!(host = %self.host, %error, "cannot renew the certificate");
                leaf
            }
        }
    }
}

impl ResolvesServerCert for Authority {
    /// Whatever name the client sends, it gets the leaf for the one host that this authority is for.
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

fn read(pem: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityError::Unreadable)
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key or a signature could not be made.
    #[error("cannot make a certificate")]
    Unsigned(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The host is a name that no certificate can carry, such as one with a hyphen at the end of a label.
    #[error("the host's name cannot stand in a certificate")]
    Unnameable,
    /// The certificates are not PEM or not X.509.
    #[error("the certificates of the authority cannot be read")]
    Unreadable,
    /// The key is not base64, not PKCS#8, or not for P-256.
    #[error("the key of the authority cannot be read")]
    UnreadableKey,
    /// The key is another authority's.
    #[error("the key does not belong to the authority's certificate")]
    OtherKey,
    /// A certificate is permitted another host, several, or all.
    #[error("the certificates of the authority are not for this host alone")]
    OtherHost,
    /// It has ended or soon will: make a new one.
    #[error("the authority expires on {}", expires.date())]
    Expiring {
        /// The end of its certificates.
        expires: OffsetDateTime,
    },
    /// It begins in the future. A new one would not help: the clock is wrong.
    #[error("the authority begins only on {}; is the clock right?", begins.date())]
    NotYetValid {
        /// The beginning of its certificates.
        begins: OffsetDateTime,
    },
    /// A client would not accept what the authority signs.
    #[error("the certificates of the authority do not form a chain")]
    Broken(#[source] rustls::Error),
}

#[cfg(test)]
mod tests;
