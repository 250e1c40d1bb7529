//! TLS server on `localhost` with one fault: a bad certificate, a handshake that fails, or an answer that never comes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::http_server::runtime;

/// Fault of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault: the server answers 200.
    None,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is for another name.
    OtherName,
    /// The certificate is signed by an authority that its client does not know.
    UnknownIssuer,
    /// The certificate is an authority's (CA:TRUE), and its client trusts exactly this one.
    IsAuthority,
    /// The certificate is signed by itself, is no authority's, and its client trusts exactly this one.
    SelfSigned,
    /// The certificate has no subjectAltName.
    WithoutNames,
    /// The port speaks plain HTTP.
    PlainHttp,
    /// The server has only TLS 1.1, so it answers each handshake with the alert `protocol_version`.
    OldTls,
    /// The server has only ciphers that rustls lacks, so it answers with the alert `handshake_failure`.
    OldCiphers,
    /// The server closes each connection during the handshake.
    ClosesInHandshake,
    /// The server demands a client certificate, over TLS 1.3.
    DemandsClientCertificate,
    /// The server demands a client certificate, over TLS 1.2.
    DemandsClientCertificateOldTls,
    /// The server closes each connection when it has read the request.
    ClosesAfterRequest,
}

/// Running server.
#[derive(Debug)]
pub struct FaultyServer {
    port: u16,
    ca: PathBuf,
    accepting: AbortHandle,
    _folder: TempDir,
}

impl FaultyServer {
    /// Starts a server with a fault.
    pub fn start(fault: Fault) -> Self {
        let folder = TempDir::new().unwrap();
        let ca = folder.path().join("ca.pem");
        let acceptor = TlsAcceptor::from(Arc::new(configuration(fault, &ca)));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime().block_on(TcpListener::bind(any)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = runtime().spawn(async move {
            // Aborting the task drops the set and aborts its connections.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(fault, acceptor.clone(), stream));
            }
        });
        Self {
            port,
            ca,
            accepting: task.abort_handle(),
            _folder: folder,
        }
    }

    /// Port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of a path on the server, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Certificate that a client is to trust.
    pub fn ca(&self) -> &Path {
        &self.ca
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(fault: Fault, acceptor: TlsAcceptor, mut stream: TcpStream) {
    let answer: &[u8] = match fault {
        Fault::PlainHttp => b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
        // A fatal alert (RFC 5246, section 7.2): `protocol_version`, then `handshake_failure`.
        Fault::OldTls => &[21, 3, 2, 0, 2, 2, 70],
        Fault::OldCiphers => &[21, 3, 3, 0, 2, 2, 40],
        Fault::ClosesInHandshake => b"",
        _ => return serve_tls(fault, acceptor, stream).await,
    };
    let _ = stream.read(&mut [0; 4096]).await;
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
    // Unread bytes at a close would reset the connection.
    while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {}
}

async fn serve_tls(fault: Fault, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {
        if fault == Fault::ClosesAfterRequest {
            let _ = stream.shutdown().await;
            return;
        }
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
    }
}

/// TLS settings with the fault; writes what its client is to trust.
fn configuration(fault: Fault, ca: &Path) -> ServerConfig {
    let (chain, key) = certificate(fault, ca);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[_] = match fault {
        Fault::DemandsClientCertificateOldTls => &[&rustls::version::TLS12],
        _ => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let demands = matches!(
        fault,
        Fault::DemandsClientCertificate | Fault::DemandsClientCertificateOldTls
    );
    let mut config = if demands {
        let mut roots = RootCertStore::empty();
        roots.add(chain[1].clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    }
    .with_single_cert(chain, key)
    .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A chain of the server's certificate and its authority's, and the key of the first.
fn certificate(fault: Fault, ca: &Path) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    authority.distinguished_name.push(DnType::CommonName, "Corp Root");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let names = match fault {
        Fault::OtherName => vec!["elsewhere.example".to_owned()],
        Fault::WithoutNames => Vec::new(),
        _ => vec!["localhost".to_owned()],
    };
    let mut leaf = CertificateParams::new(names).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.is_ca = IsCa::ExplicitNoCa;
    if fault == Fault::Expired {
        (leaf.not_before, leaf.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    }
    if fault == Fault::NotYetValid {
        (leaf.not_before, leaf.not_after) = (date_time_ymd(4000, 1, 1), date_time_ymd(4001, 1, 1));
    }
    let key = KeyPair::generate().unwrap();
    let private = |key: &KeyPair| PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    if fault == Fault::IsAuthority {
        fs::write(ca, root.pem()).unwrap();
        return (vec![root.der().clone()], private(&authority_key));
    }
    if fault == Fault::SelfSigned {
        let leaf = leaf.self_signed(&key).unwrap();
        fs::write(ca, leaf.pem()).unwrap();
        return (vec![leaf.der().clone()], private(&key));
    }
    let leaf = leaf
        .signed_by(&key, &Issuer::new(authority.clone(), &authority_key))
        .unwrap();
    let trusted = match fault {
        Fault::UnknownIssuer => authority.self_signed(&KeyPair::generate().unwrap()).unwrap().pem(),
        _ => root.pem(),
    };
    fs::write(ca, trusted).unwrap();
    (vec![leaf.der().clone(), root.der().clone()], private(&key))
}
