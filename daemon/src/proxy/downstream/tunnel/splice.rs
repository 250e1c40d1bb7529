//! Relay of a tunnel's bytes inside the kernel, with splice(2): from socket to pipe to socket, never into this process.
//!
//! Our own code, since no well-kept library splices between tokio sockets. The tunnels of a thread share idle pipes, and one
//! takes a pipe only while bytes are in it: an idle tunnel costs its two sockets.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::RelayError;

/// Relays bytes one way until `from` ends, then shuts down the write side of `to`. Adds the bytes to `relayed`.
///
/// # Errors
/// [`RelayError`] with the side that failed.
pub(super) async fn relay(from: &TcpStream, to: &TcpStream, relayed: &AtomicU64) -> Result<(), RelayError> {
    loop {
        from.readable().await.map_err(RelayError::Read)?;
        let pipe = Pipe::take().map_err(RelayError::Read)?;
        match from.try_io(Interest::READABLE, || pipe.fill_from(from)) {
            Ok(0) => {
                pipe.put_back();
                return SockRef::from(to).shutdown(Shutdown::Write).map_err(RelayError::Write);
            }
            Ok(length) => {
                relayed.fetch_add(length as u64, Ordering::Relaxed);
                pipe.drain_into(to, length).await.map_err(RelayError::Write)?;
                pipe.put_back();
                tokio::task::coop::consume_budget().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => pipe.put_back(),
            Err(error) => return Err(RelayError::Read(error)),
        }
    }
}

/// Pipe that is empty unless a relay is using it.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

thread_local! {
    static IDLE_PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

impl Pipe {
    fn take() -> io::Result<Self> {
        match IDLE_PIPES.with_borrow_mut(Vec::pop) {
            Some(pipe) => Ok(pipe),
            None => Self::new(),
        }
    }

    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Fails above the user's limit (pipe(7), pipe-user-pages-soft). The default size works too, in smaller steps.
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Self { read, write })
    }

    fn put_back(self) {
        IDLE_PIPES.with_borrow_mut(|idle| {
            if idle.len() < MAX_IDLE_PIPES {
                idle.push(self);
            }
        });
    }

    fn fill_from(&self, from: &TcpStream) -> io::Result<usize> {
        Ok(splice(from, None, &self.write, None, PIPE_BYTES, SPLICE_FLAGS)?)
    }

    async fn drain_into(&self, to: &TcpStream, mut left: usize) -> io::Result<()> {
        while left > 0 {
            to.writable().await?;
            match to.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.read, None, to, None, left, SPLICE_FLAGS)?)
            }) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => left = left.saturating_sub(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

const SPLICE_FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
const PIPE_BYTES: usize = 256 * 1024;
const MAX_IDLE_PIPES: usize = 8;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn relays_every_byte_and_the_end() {
        let ((mut client, from), (to, mut server)) = (pair().await, pair().await);
        let sent: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
        let relayed = AtomicU64::new(0);
        let send = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (ended, (), length) = tokio::join!(relay(&from, &to, &relayed), send, server.read_to_end(&mut received));
        ended.unwrap();
        assert_eq!(length.unwrap(), sent.len());
        assert!(received == sent);
        assert_eq!(relayed.into_inner(), sent.len() as u64);
    }

    #[tokio::test]
    async fn a_stalled_reader_does_not_block_another_tunnel() {
        let ((mut client, from), (to, server)) = (pair().await, pair().await);
        let relayed = AtomicU64::new(0);
        let flood = async { while client.write_all(&[7; 65536]).await.is_ok() {} };
        let other = async {
            let ((mut client, from), (to, mut server)) = (pair().await, pair().await);
            let relayed = AtomicU64::new(0);
            client.write_all(b"hello").await.unwrap();
            client.shutdown().await.unwrap();
            let mut received = Vec::new();
            let (ended, _) = tokio::join!(relay(&from, &to, &relayed), server.read_to_end(&mut received));
            ended.unwrap();
            assert_eq!(received, b"hello");
        };
        tokio::select! {
            _ = relay(&from, &to, &relayed) => panic!("nobody reads"),
            () = flood => panic!("nobody reads"),
            () = other => {}
        }
        drop(server);
    }
}
