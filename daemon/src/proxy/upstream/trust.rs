//! Trusted roots and client certificate of a registry's connections.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::registry::ClientIdentity;

/// Trusted roots and client certificate of a registry's connections.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: RootCertStore,
    identity: Option<ClientIdentity>,
}

impl Trust {
    /// Trust in the system's roots and those of `ca_file`, with an optional client certificate.
    ///
    /// # Errors
    /// [`TrustError`] when `ca_file` cannot be read or has no certificate.
    pub fn new(
        system: &[CertificateDer<'static>],
        ca_file: Option<&Path>,
        identity: Option<ClientIdentity>,
    ) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system.iter().cloned());
        if let Some(file) = ca_file {
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|_| TrustError::NoCertificate(display(file)))?;
            }
        }
        Ok(Self { roots, identity })
    }

    /// The same roots without the client certificate; `None` if there is none.
    pub(super) fn anonymous(&self) -> Option<Self> {
        self.identity.as_ref()?;
        Some(Self {
            roots: self.roots.clone(),
            identity: None,
        })
    }

    /// Trust in no root: every connection fails.
    pub(crate) fn nobody() -> Self {
        Self {
            roots: RootCertStore::empty(),
            identity: None,
        }
    }

    pub(super) fn client_config(self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Tls)?
            .with_root_certificates(self.roots);
        match self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(identity) => {
                let chain = certificates(&identity.certificate)?;
                let key = PrivateKeyDer::from_pem_file(&identity.key)
                    .map_err(|_| TrustError::NoKey(display(&identity.key)))?;
                builder.with_client_auth_cert(chain, key).map_err(TrustError::Tls)
            }
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let text = std::fs::read(file).map_err(|error| TrustError::Unreadable(display(file), error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TrustError::NoCertificate(display(file))),
    }
}

fn display(file: &Path) -> String {
    file.display().to_string()
}

/// Reason why a registry's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file is missing or not readable.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, String),
    /// The file has no PEM certificate that can be a root.
    #[error("{0} has no usable certificate in PEM format")]
    NoCertificate(String),
    /// The file has no PEM key.
    #[error("{0} has no private key in PEM format")]
    NoKey(String),
    /// rustls rejects the certificate or key.
    #[error("the client certificate and key cannot be used: {0}")]
    Tls(rustls::Error),
}
