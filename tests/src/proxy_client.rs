//! Client of the proxy: CONNECT, then TLS through the tunnel. It sends any CONNECT head, any SNI and any bytes.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::read_pem;
use crate::daemon::Daemon;
use crate::http_server::runtime;
use crate::poll;

/// TLS stream inside a CONNECT tunnel.
pub type TlsTunnel = TlsStream<TcpStream>;

/// Client of one proxy.
#[derive(Clone, Debug)]
pub struct ProxyClient {
    proxy: String,
    config: ClientConfig,
}

impl ProxyClient {
    /// Client of a daemon that accepts any server certificate.
    pub fn new(daemon: &Daemon) -> Self {
        let verifier = Arc::new(TrustAny(Arc::new(aws_lc_rs::default_provider())));
        let config = config_builder().dangerous().with_custom_certificate_verifier(verifier);
        Self::with_config(&daemon.proxy(), config.with_no_client_auth())
    }

    /// Client of `proxy` (`host:port` or `http://host:port`) that trusts the roots in the PEM file `bundle`.
    ///
    /// # Panics
    /// When the file cannot be read.
    pub fn trusting(proxy: &str, bundle: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(read_pem(bundle));
        let config = config_builder().with_root_certificates(roots);
        Self::with_config(proxy, config.with_no_client_auth())
    }

    fn with_config(proxy: &str, config: ClientConfig) -> Self {
        Self {
            proxy: proxy.trim_start_matches("http://").to_owned(),
            config,
        }
    }

    /// Opens a TCP connection to the proxy and sends nothing.
    ///
    /// # Errors
    /// Those of the network.
    pub async fn dial(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.proxy).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends the head of a CONNECT and returns the tunnel.
    ///
    /// # Errors
    /// The proxy's response when its status is not 200, or the network error.
    pub async fn connect(&self, head: &str) -> Result<TcpStream, String> {
        let described = |error: io::Error| format!("CONNECT: {error}");
        let mut stream = self.dial().await.map_err(described)?;
        stream.write_all(head.as_bytes()).await.map_err(described)?;
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            response.push(stream.read_u8().await.map_err(described)?);
        }
        if response.starts_with(b"HTTP/1.1 200 ") {
            return Ok(stream);
        }
        response.extend(read_available(&mut stream).await);
        Err(String::from_utf8_lossy(&response).into_owned())
    }

    /// Performs a TLS handshake with this SNI, or without one, that offers `protocols` by ALPN.
    ///
    /// # Errors
    /// When the handshake fails.
    ///
    /// # Panics
    /// When `sni` is no DNS name and no IP address.
    pub async fn handshake(&self, stream: TcpStream, sni: Option<&str>, protocols: &[&str]) -> io::Result<TlsTunnel> {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_sni = sni.is_some();
        // Each handshake is a full one, as a new client's is.
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(sni.unwrap_or("localhost").to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Opens a tunnel to `authority` (`host:port`) with TLS inside, as a well-behaved client does.
    ///
    /// # Errors
    /// The proxy's response when it refuses, or the reason of a failed handshake.
    pub async fn open(&self, authority: &str, protocols: &[&str]) -> Result<TlsTunnel, String> {
        let stream = self.connect(&connect_head(authority)).await?;
        let (host, _) = authority.rsplit_once(':').unwrap();
        let host = host.trim_matches(['[', ']']);
        let handshake = self.handshake(stream, Some(host), protocols).await;
        handshake.map_err(|error| format!("handshake: {error}"))
    }

    /// Sends `request` on a new connection and returns the response, until the proxy closes or falls silent.
    ///
    /// # Panics
    /// When the proxy cannot be reached or does not respond within [`poll::TIMEOUT`].
    pub fn exchange(&self, request: &str) -> String {
        block_on(async {
            let mut stream = self.dial().await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&read_answer(&mut stream).await.unwrap()).into_owned()
        })
    }
}

/// Runs a conversation to its end on the harness's runtime.
pub fn block_on<T>(conversation: impl Future<Output = T>) -> T {
    runtime().block_on(conversation)
}

/// Head of a CONNECT whose `Host` agrees with its target.
pub fn connect_head(authority: &str) -> String {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
}

/// Reads until the peer closes the stream or sends nothing for 700 ms.
pub async fn read_available(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut received = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    while let Ok(Ok(length @ 1..)) = tokio::time::timeout(SILENCE, stream.read(&mut piece)).await {
        received.extend_from_slice(&piece[..length]);
    }
    received
}

/// Reads as [`read_available`], but waits for the first byte as long as a slow machine needs.
///
/// # Errors
/// The stream fails before the first byte.
///
/// # Panics
/// When the peer neither sends nor closes within [`poll::TIMEOUT`].
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; 16 * 1024];
    let first = tokio::time::timeout(poll::TIMEOUT, stream.read(&mut answer));
    let length = first.await.expect("the proxy does not respond")?;
    answer.truncate(length);
    if length > 0 {
        answer.extend(read_available(stream).await);
    }
    Ok(answer)
}

fn config_builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
}

/// Accepts every certificate. Handshake signatures are verified as usual.
#[derive(Debug)]
struct TrustAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const SILENCE: Duration = Duration::from_millis(700);
