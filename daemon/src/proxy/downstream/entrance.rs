//! Entrance of a connection: the plain listener, or the one with TLS (`listen-tls`). A load balancer in front of the latter
//! may name the address of its client.
//!
//! The certificate is read again when its files change. New connections get the new one, and open ones go on. A file that
//! is half written or does not fit its key leaves the previous certificate in service.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::extensions::GeneralName;

use crate::config::TlsListener;
use crate::configured_file;
use crate::crypto;
use crate::file_watch::{FileWatch, FileWatcher};
use crate::proxy::downstream::client_stream::ClientStream;
use crate::proxy::downstream::{drain, proxy_protocol};
use crate::proxy::state::ProxyState;

/// Listener that a connection came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// `listen`: HTTP/1.1 in the clear.
    Plain,
    /// `listen-tls`: HTTP/1.1 inside TLS.
    Tls,
}

/// Reads the address of the client, if a load balancer names it.
///
/// # Errors
/// When the peer is a load balancer, and its connection begins with something else or with nothing for a while.
pub(super) async fn client_address(
    state: &ProxyState,
    stream: &mut TcpStream,
    entrance: Entrance,
) -> io::Result<Option<IpAddr>> {
    let files = state.certificate.as_ref().map(|certificate| &certificate.files);
    let Some(files) = files.filter(|_| entrance == Entrance::Tls) else {
        return Ok(None);
    };
    let peer = stream.peer_addr()?.ip();
    if !files.proxy_protocol.iter().any(|network| network.contains(peer)) {
        return Ok(None);
    }
    let header = tokio::time::timeout(HEADER_TIMEOUT, proxy_protocol::read_header(stream)).await;
    header?.inspect_err(|error| {
        tracing::debug!(%peer, %error, "closed the connection of a load balancer: no PROXY protocol header, version 2");
    })
}

/// Terminates the client's TLS, if its entrance has any. `None` if that fails.
pub(super) async fn enter(state: &ProxyState, stream: TcpStream, entrance: Entrance) -> Option<ClientStream> {
    let certificate = match entrance {
        Entrance::Plain => return Some(ClientStream::Tcp(stream)),
        Entrance::Tls => state.certificate.as_ref()?,
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&certificate.tls));
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => handshake,
        () = drain::first_request_grace(state) => return None,
    };
    match handshake {
        Ok(Ok(stream)) => Some(ClientStream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake with the proxy failed; does the client trust its certificate?");
            None
        }
        Err(_) => None,
    }
}

/// Certificate of the TLS listener.
#[derive(Debug)]
pub struct ServerCertificate {
    tls: Arc<ServerConfig>,
    current: Arc<CurrentKey>,
    files: TlsListener,
    /// Error of the last read, while the previous certificate is in service.
    problem: ArcSwap<Option<String>>,
}

#[derive(Debug)]
struct CurrentKey(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for CurrentKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerCertificate {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// [`InvalidCertificate`] when a file cannot be read, or they do not belong together.
    pub fn read(files: &TlsListener) -> Result<Self, InvalidCertificate> {
        let current = Arc::new(CurrentKey(ArcSwap::from_pointee(read(files)?)));
        let versions = ServerConfig::builder_with_provider(crypto::provider()).with_safe_default_protocol_versions();
        let mut tls = versions
            .map_err(InvalidCertificate::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<CurrentKey>::clone(&current));
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            current,
            files: files.clone(),
            problem: ArcSwap::default(),
        })
    }

    /// First DNS name of the certificate, for the proxy's URL.
    pub(crate) fn host(&self) -> Option<String> {
        let key = self.current.0.load_full();
        let (_, certificate) = x509_parser::parse_x509_certificate(key.end_entity_cert().ok()?).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
    }

    /// Reason why the certificate in service is not the one in the files.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.load().as_ref().clone()
    }

    /// Reads the files again whenever they change, until `end` is cancelled.
    pub(crate) async fn follow_files(&self, watcher: &Arc<FileWatcher>, end: CancellationToken) {
        let files = [self.files.certificate.clone(), self.files.key.clone()];
        let mut watch = FileWatch::new(watcher, files);
        let mut last_read = watch.look().await;
        let mut previous = last_read;
        loop {
            let until_look = watch.until_look_once_settled(previous == last_read, CHECK_INTERVAL);
            if end.run_until_cancelled(until_look).await.is_none() {
                return;
            }
            let stamp = watch.look().await;
            // Two files are written one after the other: they are read once they have stopped changing.
            if stamp != last_read && stamp == previous {
                last_read = stamp;
                self.read_again().await;
            }
            previous = stamp;
        }
    }

    async fn read_again(&self) {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || read(&files)).await;
        match read {
            Ok(Ok(key)) => {
                self.current.0.store(Arc::new(key));
                self.problem.store(Arc::new(None));
                tracing::info!(certificate = %self.files.certificate.display(), "read the proxy's new certificate");
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "kept the proxy's previous certificate"
                );
                self.problem.store(Arc::new(Some(error.to_string())));
            }
            Err(error) => tracing::warn!(%error, "could not read the proxy's certificate"),
        }
    }
}

fn read(files: &TlsListener) -> Result<CertifiedKey, InvalidCertificate> {
    let failed = |file: &PathBuf, error: String| InvalidCertificate::File(file.clone(), error);
    let contents = |file: &PathBuf| {
        let read = configured_file::read(file, MAX_FILE_BYTES);
        read.map_err(|error| failed(file, error.to_string()))
    };
    let chain = CertificateDer::pem_slice_iter(&contents(&files.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(&files.certificate, pem_problem(&error)))?;
    if chain.is_empty() {
        return Err(failed(&files.certificate, "it has no certificate in PEM".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&contents(&files.key)?);
    let key = key.map_err(|error| failed(&files.key, pem_problem(&error)))?;
    CertifiedKey::from_der(chain, key, &crypto::provider()).map_err(|error| InvalidCertificate::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        error,
    })
}

/// Text of a PEM error without bytes of the file: it may be a key.
fn pem_problem(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "it has no such item in PEM".to_owned(),
        _ => "it is no complete PEM file".to_owned(),
    }
}

/// Error of the certificate of `listen-tls`.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCertificate {
    /// File that cannot be read, or holds something else.
    #[error("cannot use {}: {}", .0.display(), .1)]
    File(PathBuf, String),
    /// Certificate and key that do not belong together, or that rustls rejects.
    #[error("cannot use {} with {}: {error}", .certificate.display(), .key.display())]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of its key.
        key: PathBuf,
        /// Error of rustls.
        error: rustls::Error,
    },
    /// TLS settings that rustls rejects.
    #[error("TLS is not available: {0}")]
    Tls(rustls::Error),
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// The connection is not counted before the header names its client. A load balancer sends the header with the first bytes
/// of its client at the latest.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two looks at files that are changing, or whose changes are not reported.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
const MAX_FILE_BYTES: usize = 1024 * 1024;
