//! Private CA and the certificates it issues, as PEM files and as rustls configurations.

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

/// Private CA. Clones share it.
#[derive(Clone, Debug)]
pub struct Authority {
    issuer: Arc<Issuer<'static, KeyPair>>,
    folder: Arc<TempDir>,
}

impl Authority {
    /// Creates a CA with a root of this name.
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

    /// Root as a PEM file, for `--ca-file` and `http.cainfo`.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Root and its key in one PEM text, for a proxy that issues certificates.
    pub fn certificate_and_key(&self) -> String {
        fs::read_to_string(self.file()).unwrap() + &self.issuer.key().serialize_pem()
    }

    /// Issues a server or client certificate for DNS names and IP addresses, with a new key.
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

/// Certificate and key. Clones share them.
#[derive(Clone, Debug)]
pub struct Certificate {
    leaf: CertificateDer<'static>,
    folder: Arc<TempDir>,
}

impl Certificate {
    /// Certificate chain as a PEM file.
    pub fn chain_file(&self) -> PathBuf {
        self.folder.path().join("chain.pem")
    }

    /// Private key as a PEM file.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Leaf certificate in DER, as clients receive it.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// TLS server configuration with this certificate that offers `protocols` by ALPN, preferred first.
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

/// Concatenates PEM files, for clients that accept one file only.
pub fn concatenate(files: &[&Path]) -> TempPath {
    let text: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), text.concat()).unwrap();
    file.into_temp_path()
}

/// Reads the certificates of a PEM file, such as a bundle.
///
/// # Panics
/// When the file cannot be read or is no PEM file.
pub fn read_pem(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}
