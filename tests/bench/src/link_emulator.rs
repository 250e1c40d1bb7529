//! Emulator of a long network link: a relay in front of the registry that adds a round-trip time to every byte.
//!
//! Each direction stamps the bytes that it reads and writes them half a round trip later. A new connection waits one round
//! trip before its first byte, as the SYN and its answer would. There is no loss and no slow start. Each connection has as
//! many bytes in flight as Linux's largest receive buffer allows, since TCP would stop there. So the emulator shows how often
//! a candidate waits for a round trip, and whether the candidate's own windows are smaller than TCP's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::registry::{HOST, TestRegistry};

/// Running relay. Dropping it closes its connections.
#[derive(Debug)]
pub(crate) struct LinkEmulator {
    address: SocketAddr,
    _runtime: Runtime,
}

impl LinkEmulator {
    /// Starts a relay to the registry with a round-trip time of [`ROUND_TRIP_TIME`].
    pub(crate) fn start(registry: &TestRegistry) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, registry.authority()));
        Self {
            address,
            _runtime: runtime,
        }
    }

    /// Host and port of the registry behind the link: `localhost:PORT`.
    pub(crate) fn authority(&self) -> String {
        format!("{HOST}:{}", self.address.port())
    }
}

async fn accept(listener: TcpListener, target: String) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let target = target.clone();
        connections.spawn(async move {
            // Client and registry may close the connection at any moment.
            let _ = relay(client, &target).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(client: TcpStream, target: &str) -> io::Result<()> {
    sleep(ROUND_TRIP_TIME).await;
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((client_reader, client_writer), (server_reader, server_writer)) = (client.into_split(), server.into_split());
    tokio::try_join!(delay(client_reader, server_writer), delay(server_reader, client_writer))?;
    Ok(())
}

/// Relays one direction with a delay of half a round trip.
async fn delay(reader: impl AsyncRead + Unpin, writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::try_join!(read_chunks(reader, sender), write_when_due(receiver, writer))?;
    Ok(())
}

async fn read_chunks(mut reader: impl AsyncRead + Unpin, sender: mpsc::UnboundedSender<Chunk>) -> io::Result<()> {
    let window = Arc::new(Semaphore::new(WINDOW as usize / 2));
    loop {
        let mut bytes = BytesMut::with_capacity(CHUNK_SIZE);
        if reader.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let length = u32::try_from(bytes.len()).unwrap();
        let _permit = Arc::clone(&window).acquire_many_owned(length).await.unwrap();
        let due = Instant::now() + ROUND_TRIP_TIME / 2;
        let bytes = bytes.freeze();
        if sender.send(Chunk { due, bytes, _permit }).is_err() {
            return Ok(());
        }
    }
}

async fn write_when_due(
    mut receiver: mpsc::UnboundedReceiver<Chunk>,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(chunk) = receiver.recv().await {
        sleep_until(chunk.due).await;
        writer.write_all(&chunk.bytes).await?;
    }
    writer.shutdown().await
}

/// Bytes in flight, with their share of the window.
struct Chunk {
    due: Instant,
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// Time for a byte to the registry and its answer back.
pub(crate) const ROUND_TRIP_TIME: Duration = Duration::from_millis(60);

const CHUNK_SIZE: usize = 64 * 1024;

/// Bytes in flight per round trip and connection (tcp(7), `tcp_rmem`). Each direction has half.
const WINDOW: u32 = 6 * 1024 * 1024;
