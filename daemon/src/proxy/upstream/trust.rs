//! Trusted roots and client certificate of a registry's connections.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::configured_file::{self, MAX_CERTIFICATES, MAX_KEY};
use crate::crypto;
use crate::policy::binding::RootDigest;
use crate::registry::{ClientIdentity, Registry};

/// Trusted roots and client certificate of a registry's connections.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    /// Roots besides the system's.
    added: Arc<BTreeSet<RootDigest>>,
    identity: Option<ClientIdentity>,
    is_usable: bool,
    /// Digest of the client certificate and key as they were read.
    identity_digest: [u8; 32],
}

impl Trust {
    /// Trust in the system's roots, without a client certificate.
    pub fn system(roots: &[CertificateDer<'static>]) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        Self {
            roots: Arc::new(store),
            is_usable: true,
            ..Self::nobody()
        }
    }

    /// This trust for a registry, with the roots of its `ca_file` and a client certificate, if it has them. Registries
    /// without a `ca_file` share the roots. Roots that the registry's binding does not have are left out.
    ///
    /// # Errors
    /// [`TrustError`] when `ca_file` cannot be read or has no certificate.
    pub(crate) fn for_registry(
        &self,
        registry: &Registry,
        identity: Option<ClientIdentity>,
    ) -> Result<Self, TrustError> {
        let mut trust = self.with_roots(registry.ca_file.as_deref(), registry.bound_roots.as_ref())?;
        trust.identity_digest = identity.as_ref().map_or([0; 32], digest);
        trust.identity = identity;
        Ok(trust)
    }

    /// This trust and the roots in a file, if there is one: all of them, or those that a binding has.
    ///
    /// # Errors
    /// As [`Trust::for_registry`].
    pub(crate) fn with_roots(
        &self,
        file: Option<&Path>,
        bound: Option<&BTreeSet<RootDigest>>,
    ) -> Result<Self, TrustError> {
        let mut trust = self.clone();
        let Some(file) = file else { return Ok(trust) };
        let is_bound =
            |certificate: &CertificateDer<'_>| bound.is_none_or(|bound| bound.contains(&root_digest(certificate)));
        let roots = Arc::make_mut(&mut trust.roots);
        let added = Arc::make_mut(&mut trust.added);
        for certificate in certificates(file)?.into_iter().filter(is_bound) {
            added.insert(root_digest(&certificate));
            roots
                .add(certificate)
                .map_err(|_| TrustError::NoCertificate(display(file)))?;
        }
        Ok(trust)
    }

    /// Returns true if `other` has the same roots and the same client certificate.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.is_usable == other.is_usable && self.has_same_roots(other) && self.identity_digest == other.identity_digest
    }

    /// Roots besides the system's.
    pub(super) fn added_roots(&self) -> &BTreeSet<RootDigest> {
        &self.added
    }

    /// Returns true if `other` has the same roots.
    pub(crate) fn has_same_roots(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.roots, &other.roots) || self.roots.roots == other.roots.roots
    }

    /// The roots of this and of `others`, without a client certificate.
    pub(super) fn joined<'a>(&self, others: impl Iterator<Item = &'a Self>) -> Self {
        let mut roots = RootCertStore::clone(&self.roots);
        for root in others.flat_map(|other| &other.roots.roots) {
            if !roots.roots.contains(root) {
                roots.roots.push(root.clone());
            }
        }
        Self {
            roots: Arc::new(roots),
            is_usable: true,
            ..Self::nobody()
        }
    }

    /// Trust in these roots, without the client certificate; `None` if there is no certificate.
    pub(super) fn anonymous(&self) -> Option<Self> {
        self.identity.as_ref()?;
        Some(Self {
            roots: Arc::clone(&self.roots),
            is_usable: self.is_usable,
            ..Self::nobody()
        })
    }

    /// Trust in no root, for a registry whose certificates cannot be read: no connection is opened.
    pub(crate) fn nobody() -> Self {
        Self {
            roots: Arc::new(RootCertStore::empty()),
            added: Arc::default(),
            identity: None,
            is_usable: false,
            identity_digest: [0; 32],
        }
    }

    /// False for [`Trust::nobody`].
    pub(super) fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// Returns true if connections present a client certificate.
    pub(super) fn has_client_certificate(&self) -> bool {
        self.identity.is_some()
    }

    /// TLS settings with a session store of their own: a session that one registry's trust has verified serves no other.
    pub(super) fn client_config(self) -> Result<ClientConfig, TrustError> {
        let builder = ClientConfig::builder_with_provider(crypto::provider())
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Tls)?
            .with_root_certificates(self.roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates(&identity.certificate)?;
                let key = private_key(&identity.key)?;
                builder.with_client_auth_cert(chain, key).map_err(TrustError::Tls)?
            }
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.client_auth_cert_resolver = Arc::new(CertificateRequests(config.client_auth_cert_resolver));
        Ok(config)
    }
}

/// Chooser of the client certificate that notices whether the server asks for one.
#[derive(Debug)]
pub(super) struct CertificateRequests(Arc<dyn ResolvesClientCert>);

tokio::task_local! {
    /// True once the server of the handshake that the task performs has asked for a client certificate.
    static WAS_REQUESTED: Cell<bool>;
}

impl CertificateRequests {
    /// Performs a handshake, and returns true beside its result if the server asked for a client certificate.
    pub(super) async fn notice<T>(handshake: impl Future<Output = T>) -> (T, bool) {
        let noticed = async { (handshake.await, WAS_REQUESTED.with(Cell::get)) };
        WAS_REQUESTED.scope(Cell::new(false), noticed).await
    }
}

impl ResolvesClientCert for CertificateRequests {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside `notice`, nobody wants to know.
        let _ = WAS_REQUESTED.try_with(|was_requested| was_requested.set(true));
        self.0.resolve(issuers, schemes)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }

    fn has_certs(&self) -> bool {
        self.0.has_certs()
    }
}

/// Digests of the certificates in a `ca-file`; none if it cannot be read, since nothing trusts it then.
pub(crate) fn root_digests(file: &Path) -> BTreeSet<RootDigest> {
    certificates(file).unwrap_or_default().iter().map(root_digest).collect()
}

/// Digests of the certificates in the text of a `ca-file`; none if the text is damaged.
pub(crate) fn root_digests_of(text: &str) -> BTreeSet<RootDigest> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    certificates.unwrap_or_default().iter().map(root_digest).collect()
}

fn root_digest(certificate: &CertificateDer<'_>) -> RootDigest {
    RootDigest(Sha256::digest(certificate).into())
}

/// Digest of the files' contents. A file that cannot be read is an error later.
fn digest(identity: &ClientIdentity) -> [u8; 32] {
    let mut digest = Sha256::new();
    for file in [&identity.certificate, &identity.key] {
        digest.update(configured_file::read(file, MAX_CERTIFICATES).unwrap_or_default());
    }
    digest.finalize().into()
}

/// Reads the certificate files of a registry, and keeps nothing of them.
///
/// # Errors
/// A file cannot be read, or has no certificate or key.
pub(crate) fn check_files(ca_file: Option<&Path>, identity: Option<&ClientIdentity>) -> Result<(), TrustError> {
    if let Some(file) = ca_file {
        certificates(file)?;
    }
    if let Some(identity) = identity {
        certificates(&identity.certificate)?;
        private_key(&identity.key)?;
    }
    Ok(())
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TrustError> {
    PrivateKeyDer::from_pem_slice(&read(file, MAX_KEY)?).map_err(|_| TrustError::NoKey(display(file)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let text = read(file, MAX_CERTIFICATES)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TrustError::NoCertificate(display(file))),
    }
}

fn read(file: &Path, limit: usize) -> Result<Vec<u8>, TrustError> {
    let contents = configured_file::read(file, limit);
    contents.map_err(|error| TrustError::Unreadable(display(file), error.to_string()))
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

/// rustls counts eight for each host. A registry has one host or two, and plain requests need none.
const SESSIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::company_roots::CompanyRoots;

    /// Trust in one self-signed root.
    fn trust() -> Trust {
        let root = rcgen::generate_simple_self_signed(["root.example".to_owned()]).unwrap();
        Trust::system(&[root.cert.der().clone()])
    }

    #[test]
    fn joined_roots_do_not_depend_on_repetition() {
        let (one, other) = (trust(), trust());
        let joined = one.joined([&other, &one].into_iter());
        assert_eq!(joined.roots.len(), 2);
        assert!(joined.is_same(&one.joined([&other].into_iter())));
        assert!(!joined.has_same_roots(&one) && one.is_same(&one.clone()));
        assert!(one.joined(std::iter::empty()).has_same_roots(&one));
    }

    #[test]
    fn a_file_of_certificates_or_a_key_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let file = |length: usize| {
            let path = folder.path().join("file.pem");
            std::fs::File::create(&path).unwrap().set_len(length as u64).unwrap();
            path
        };
        let refusal = |result: Result<(), TrustError>| result.unwrap_err().to_string();
        assert!(refusal(check_files(Some(&file(MAX_CERTIFICATES)), None)).contains("no usable certificate"));
        assert!(refusal(check_files(Some(&file(MAX_CERTIFICATES + 1)), None)).contains("longer than 4096 KiB"));
        assert!(refusal(private_key(&file(MAX_KEY)).map(drop)).contains("no private key"));
        assert!(refusal(private_key(&file(MAX_KEY + 1)).map(drop)).contains("longer than 64 KiB"));
        let company = CompanyRoots::read(Some(&file(MAX_CERTIFICATES + 1)));
        assert!(company.unwrap_err().to_string().contains("longer than 4096 KiB"));
    }

    #[test]
    fn certificates_of_a_file_that_are_not_bound_verify_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let pem = || {
            rcgen::generate_simple_self_signed(["root.example".to_owned()])
                .unwrap()
                .cert
                .pem()
        };
        std::fs::write(&file, pem()).unwrap();
        let bound = root_digests(&file);
        let roots = |bound| trust().with_roots(Some(&file), bound).unwrap().roots.len() - 1;
        assert_eq!(roots(Some(&bound)), 1);
        std::fs::write(&file, pem()).unwrap();
        assert_eq!((roots(Some(&bound)), roots(None)), (0, 1));
    }
}
