use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A client, and what a server has of it after the handshake, with `room` bytes between them each way.
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
async fn what_is_flushed_in_one_go_is_written_in_one_go() {
    let (mut client, io, session) = connected(1 << 20).await;
    let writes = Arc::default();
    let (mut stream, cork) = cork(Watched::new(io, &writes), session);
    let frames = async {
        for _ in 0..FRAMES {
            stream.write_all(&[7; FRAME]).await.unwrap();
            stream.flush().await.unwrap();
        }
    };
    cork.drive(std::pin::pin!(frames)).await;
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    let mut received = [0; FRAMES * FRAME];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(received, [7; FRAMES * FRAME]);
}

#[tokio::test]
async fn no_more_is_gathered_than_enough_and_all_arrives() {
    const ROOM: usize = 64 * 1024;
    let (mut client, io, session) = connected(ROOM).await;
    let (mut stream, cork) = cork(io, session);
    let accepted = AtomicUsize::new(0);
    let endless = async {
        for number in 0..100_u8 {
            stream.write_all(&[number; FRAME]).await.unwrap();
            accepted.fetch_add(FRAME, Ordering::Relaxed);
        }
        stream.shutdown().await.unwrap();
    };
    let mut endless = Box::pin(endless);
    assert!(cork.drive(endless.as_mut()).now_or_never().is_none());
    let gathered = accepted.load(Ordering::Relaxed);
    assert!(
        (ENOUGH - FRAME..ENOUGH + ROOM).contains(&gathered),
        "{gathered} bytes for a client that does not read"
    );
    let mut received = Vec::new();
    let (_, read) = tokio::join!(cork.drive(endless.as_mut()), client.read_to_end(&mut received));
    assert_eq!(read.unwrap(), 100 * FRAME);
    assert!(
        received
            .chunks(FRAME)
            .zip(0..)
            .all(|(chunk, number)| chunk == [number; FRAME])
    );
}

#[tokio::test]
async fn an_end_is_one_only_where_the_client_says_so() {
    for says_so in [true, false] {
        let (mut client, io, session) = connected(1 << 16).await;
        let (mut stream, _cork) = cork(io, session);
        client.write_all(b"last words").await.unwrap();
        if says_so {
            client.shutdown().await.unwrap();
        }
        drop(client);
        let mut received = Vec::new();
        let ended = stream.read_to_end(&mut received).await.map_err(|error| error.kind());
        let expected = if says_so {
            Ok(10)
        } else {
            Err(io::ErrorKind::UnexpectedEof)
        };
        assert_eq!((ended, &received[..]), (expected, &b"last words"[..]));
    }
}

#[tokio::test]
async fn a_client_that_is_gone_is_told_to_whoever_reads_next() {
    let (_client, io, session) = connected(1 << 16).await;
    let writes = Arc::new(AtomicUsize::new(BROKEN));
    let (mut stream, cork) = cork(Watched::new(io, &writes), session);
    let asking = async {
        stream.write_all(b"are you there?").await.unwrap();
        stream.read(&mut [0; 1]).await.map_err(|error| error.kind())
    };
    let told = cork.drive(std::pin::pin!(asking)).await;
    assert_eq!(told, Err(io::ErrorKind::BrokenPipe));
}

/// Counts how often it is written to, unless that fails.
struct Watched {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl Watched {
    fn new(io: DuplexStream, writes: &Arc<AtomicUsize>) -> Self {
        Self {
            io,
            writes: Arc::clone(writes),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
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
/// A DATA frame of the usual size, with its head.
const FRAME: usize = 9 + 16 * 1024;
