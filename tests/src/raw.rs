//! A client that says whatever it is told: any CONNECT, any SNI, any bytes inside. It trusts every certificate, since
//! what it wants is to be let in.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::daemon::Daemon;
use crate::serve::runtime;

/// A TLS stream inside a tunnel.
pub type Inside = TlsStream<TcpStream>;

/// Runs a conversation to its end.
pub fn run<T>(conversation: impl Future<Output = T>) -> T {
    runtime().block_on(conversation)
}

/// A connection to the proxy.
///
/// # Errors
/// Those of the network.
pub async fn dial(daemon: &Daemon) -> io::Result<TcpStream> {
    let proxy = daemon.proxy();
    let stream = TcpStream::connect(proxy.trim_start_matches("http://")).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a CONNECT's head; the stream behind it, or the refusal's text.
///
/// # Errors
/// The refusal.
pub async fn connect(daemon: &Daemon, head: &str) -> Result<TcpStream, String> {
    let mut stream = dial(daemon).await.map_err(|error| error.to_string())?;
    stream
        .write_all(head.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) => return Err(error.to_string()),
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(stream);
    }
    answer.extend(read(&mut stream).await);
    Err(String::from_utf8_lossy(&answer).into_owned())
}

/// TLS with this SNI, or none, offering these protocols.
///
/// # Errors
/// When the handshake fails.
pub async fn handshake(stream: TcpStream, sni: Option<&str>, protocols: &[&str]) -> io::Result<Inside> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous_trust();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.enable_sni = sni.is_some();
    let name = ServerName::try_from(sni.unwrap_or("localhost").to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A tunnel to `authority` with TLS inside, as a well-behaved client has it.
///
/// # Errors
/// The refusal, or what the handshake said.
pub async fn open(daemon: &Daemon, authority: &str, protocols: &[&str]) -> Result<Inside, String> {
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let stream = connect(daemon, &head).await?;
    handshake(stream, Some("localhost"), protocols)
        .await
        .map_err(|error| error.to_string())
}

/// What comes until the peer ends or has been silent for a while.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    while let Ok(Ok(length @ 1..)) = tokio::time::timeout(SILENCE, stream.read(&mut piece)).await {
        answer.extend_from_slice(&piece[..length]);
    }
    answer
}

trait DangerousTrust {
    fn dangerous_trust(self) -> ClientConfig;
}

impl DangerousTrust for rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    fn dangerous_trust(self) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        self.dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible(provider)))
            .with_no_client_auth()
    }
}

#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl ServerCertVerifier for Gullible {
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

/// Frames of HTTP/2 as bytes (RFC 9113), for what no library would send.
pub mod h2 {
    /// The connection preface and an empty SETTINGS.
    pub fn preface() -> Vec<u8> {
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
    }

    /// One frame.
    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// A header block of literals that nobody indexes (RFC 7541, section 6.2.2).
    pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in headers {
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127, "one byte of length");
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.bytes());
            }
        }
        block
    }

    /// HEADERS with END_HEADERS; END_STREAM unless a body follows.
    pub fn headers(stream: u32, headers: &[(&str, &str)], ends: bool) -> Vec<u8> {
        frame(1, 4 | u8::from(ends), stream, &block(headers))
    }

    /// RST_STREAM with CANCEL.
    pub fn reset(stream: u32) -> Vec<u8> {
        frame(3, 0, stream, &8_u32.to_be_bytes())
    }
}
