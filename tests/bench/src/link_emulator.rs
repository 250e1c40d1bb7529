//! A long wire to the registry: a relay that gives every byte a round trip's delay.
//!
//! What is read is stamped and written when its time has come, in each direction for itself. A connection costs a round trip
//! before its first byte moves, as SYN and its answer would. There is no loss and no slow start; as much is under way on a
//! connection as the largest receive buffer of Linux has room for, for its TCP would wait then. What is measured is who
//! waits how often, and whose own windows are smaller than that.

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

use crate::origin::{HOST, Origin};

/// A running relay; ends with its connections when dropped.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Wire {
    /// A wire of [`ROUND_TRIP`] to the registry.
    pub(crate) fn to(origin: &Origin) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, origin.authority()));
        Self {
            address,
            _runtime: runtime,
        }
    }

    /// `localhost:PORT`: the registry, far away.
    pub(crate) fn authority(&self) -> String {
        format!("{HOST}:{}", self.address.port())
    }
}

async fn accept(listener: TcpListener, target: String) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let target = target.clone();
        connections.spawn(async move {
            // Either end may go away at any moment.
            let _ = carry(near, &target).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(near: TcpStream, target: &str) -> io::Result<()> {
    sleep(ROUND_TRIP).await;
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_reader, near_writer), (far_reader, far_writer)) = (near.into_split(), far.into_split());
    tokio::try_join!(delay(near_reader, far_writer), delay(far_reader, near_writer))?;
    Ok(())
}

async fn delay(reader: impl AsyncRead + Unpin, writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    let (entrance, exit) = mpsc::unbounded_channel();
    tokio::try_join!(enter(reader, entrance), leave(exit, writer))?;
    Ok(())
}

async fn enter(mut reader: impl AsyncRead + Unpin, entrance: mpsc::UnboundedSender<Piece>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(WINDOW as usize / 2));
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        if reader.read_buf(&mut piece).await? == 0 {
            return Ok(());
        }
        let length = u32::try_from(piece.len()).unwrap();
        let _room = Arc::clone(&room).acquire_many_owned(length).await.unwrap();
        let due = Instant::now() + ROUND_TRIP / 2;
        let bytes = piece.freeze();
        if entrance.send(Piece { due, bytes, _room }).is_err() {
            return Ok(());
        }
    }
}

async fn leave(mut exit: mpsc::UnboundedReceiver<Piece>, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(piece) = exit.recv().await {
        sleep_until(piece.due).await;
        writer.write_all(&piece.bytes).await?;
    }
    writer.shutdown().await
}

/// Some bytes under way.
struct Piece {
    due: Instant,
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// What a byte takes there and its answer back.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(60);

const PIECE: usize = 64 * 1024;

/// What may be under way in a round trip (tcp(7), `tcp_rmem`); half of it one way.
const WINDOW: u32 = 6 * 1024 * 1024;
