use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// Client stream, and the server's socket and session after the handshake. `room` bytes fit between them each way.
pub(crate) async fn connected(room: usize) -> (TlsStream<DuplexStream>, DuplexStream, ServerConnection) {
    let (theirs, ours) = tokio::io::duplex(room);
    let identity = rcgen::generate_simple_self_signed(["corp.example".to_owned()]).unwrap();
    let (certificate, key) = (identity.cert.der().clone(), identity.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let name = ServerName::try_from("corp.example").unwrap();
    let (client, server) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect(name, theirs),
        TlsAcceptor::from(Arc::new(server)).accept(ours)
    );
    let (io, session) = server.unwrap().into_inner();
    (client.unwrap(), io, session)
}

#[tokio::test]
async fn several_flushes_in_one_poll_make_one_write() {
    let (mut client, io, session) = connected(1 << 20).await;
    let writes = Arc::default();
    let (mut stream, coalescer) = coalesce(CountedSocket::new(io, &writes), session);
    let frames = async {
        for _ in 0..FRAMES {
            stream.write_all(&[7; FRAME]).await.unwrap();
            stream.flush().await.unwrap();
        }
    };
    coalescer.drive(std::pin::pin!(frames)).await;
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    let mut received = [0; FRAMES * FRAME];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(received, [7; FRAMES * FRAME]);
}

#[tokio::test]
async fn gathers_up_to_the_limit_and_loses_nothing() {
    const ROOM: usize = 64 * 1024;
    let (mut client, io, session) = connected(ROOM).await;
    let (mut stream, coalescer) = coalesce(io, session);
    let accepted = AtomicUsize::new(0);
    let endless = async {
        for number in 0..100_u8 {
            stream.write_all(&[number; FRAME]).await.unwrap();
            accepted.fetch_add(FRAME, Ordering::Relaxed);
        }
        stream.shutdown().await.unwrap();
    };
    let mut endless = Box::pin(endless);
    assert!(coalescer.drive(endless.as_mut()).now_or_never().is_none());
    let gathered = accepted.load(Ordering::Relaxed);
    assert!(
        (BUFFER_LIMIT - FRAME..BUFFER_LIMIT + ROOM).contains(&gathered),
        "{gathered} bytes for a client that does not read"
    );
    let mut received = Vec::new();
    let (_, read) = tokio::join!(coalescer.drive(endless.as_mut()), client.read_to_end(&mut received));
    assert_eq!(read.unwrap(), 100 * FRAME);
    assert!(
        received
            .chunks(FRAME)
            .zip(0..)
            .all(|(chunk, number)| chunk == [number; FRAME])
    );
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_error() {
    for close_notify in [true, false] {
        let (mut client, io, session) = connected(1 << 16).await;
        let (mut stream, _coalescer) = coalesce(io, session);
        client.write_all(b"last words").await.unwrap();
        if close_notify {
            client.shutdown().await.unwrap();
        }
        drop(client);
        let mut received = Vec::new();
        let ended = stream.read_to_end(&mut received).await.map_err(|error| error.kind());
        let expected = if close_notify {
            Ok(10)
        } else {
            Err(io::ErrorKind::UnexpectedEof)
        };
        assert_eq!((ended, &received[..]), (expected, &b"last words"[..]));
    }
}

#[tokio::test]
async fn the_next_read_reports_a_failed_write() {
    let (_client, io, session) = connected(1 << 16).await;
    let writes = Arc::new(AtomicUsize::new(BROKEN));
    let (mut stream, coalescer) = coalesce(CountedSocket::new(io, &writes), session);
    let exchange = async {
        stream.write_all(b"are you there?").await.unwrap();
        stream.read(&mut [0; 1]).await.map_err(|error| error.kind())
    };
    let result = coalescer.drive(std::pin::pin!(exchange)).await;
    assert_eq!(result, Err(io::ErrorKind::BrokenPipe));
}

/// Socket that counts its writes, or fails them.
struct CountedSocket {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl CountedSocket {
    fn new(io: DuplexStream, writes: &Arc<AtomicUsize>) -> Self {
        Self {
            io,
            writes: Arc::clone(writes),
        }
    }
}

impl AsyncRead for CountedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedSocket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.writes.load(Ordering::Relaxed) == BROKEN {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.writes.load(Ordering::Relaxed) == BROKEN {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

const BROKEN: usize = usize::MAX;
const FRAMES: usize = 3;
/// DATA frame of the usual size, with its header.
const FRAME: usize = 9 + 16 * 1024;
