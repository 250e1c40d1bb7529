//! A private company CA and the server certificates it signs, as PEM files and as rustls configurations.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::{NamedTempFile, TempDir, TempPath};

/// A company's own CA. Clones are the same CA.
#[derive(Clone, Debug)]
pub struct Authority {
    issuer: Arc<Issuer<'static, KeyPair>>,
    folder: Arc<TempDir>,
}

impl Authority {
    /// A fresh root by this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Arc::new(Issuer::new(params, key)),
            folder: Arc::new(folder),
        }
    }

    /// The root as a PEM file, for `--ca-file` and `http.cainfo`.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for DNS names and IP addresses, with a key of its own: a server's, or a client's.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names.join(" "));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let folder = TempDir::new().unwrap();
        let certificate = Certificate {
            leaf: leaf.der().clone(),
            folder: Arc::new(folder),
        };
        fs::write(certificate.chain_file(), leaf.pem()).unwrap();
        fs::write(certificate.key_file(), key.serialize_pem()).unwrap();
        certificate
    }
}

/// A server's certificate and key. Clones are the same certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    leaf: CertificateDer<'static>,
    folder: Arc<TempDir>,
}

impl Certificate {
    /// The certificate chain as a PEM file.
    pub fn chain_file(&self) -> PathBuf {
        self.folder.path().join("chain.pem")
    }

    /// The private key as a PEM file.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// The leaf, byte for byte as clients receive it.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// A TLS server with this certificate that offers `protocols` by ALPN, the best first.
    pub fn server_config(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.key_file()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Several PEM files as one, for clients that take only one: our bundle and a stranger's root.
pub fn concatenate(files: &[&Path]) -> TempPath {
    let text: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), text.concat()).unwrap();
    file.into_temp_path()
}

/// The certificates of a PEM file, such as a bundle.
///
/// # Panics
/// When it cannot be read or is not PEM.
pub fn read_pem(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}
