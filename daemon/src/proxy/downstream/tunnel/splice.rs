//! Moves a tunnel's bytes inside the kernel: from socket to pipe to socket, never into this process (splice(2)).
//!
//! A pipe is held only while there are bytes in it, and shared by all tunnels of a thread in turn: an idle tunnel costs its
//! two sockets and nothing else.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Carries bytes one way until `from` ends, and passes its end on. `moved` counts them as they come.
///
/// # Errors
/// When either side is gone.
pub(super) async fn carry(from: &TcpStream, to: &TcpStream, moved: &AtomicU64) -> io::Result<()> {
    loop {
        from.readable().await?;
        let pipe = Pipe::take()?;
        match from.try_io(Interest::READABLE, || pipe.fill(from)) {
            Ok(0) => {
                pipe.put_back();
                return SockRef::from(to).shutdown(Shutdown::Write);
            }
            Ok(taken) => {
                moved.fetch_add(taken as u64, Ordering::Relaxed);
                pipe.empty(to, taken).await?;
                pipe.put_back();
                tokio::task::coop::consume_budget().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => pipe.put_back(),
            Err(error) => return Err(error),
        }
    }
}

/// Empty whenever it is not in somebody's hand.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

thread_local! {
    static IDLE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

impl Pipe {
    fn take() -> io::Result<Self> {
        match IDLE.with_borrow_mut(Vec::pop) {
            Some(pipe) => Ok(pipe),
            None => Self::new(),
        }
    }

    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Users have a limit (pipe(7), pipe-user-pages-soft); the usual size works as well, in smaller steps.
        let _ = fcntl_setpipe_size(&write, CAPACITY);
        Ok(Self { read, write })
    }

    fn put_back(self) {
        IDLE.with_borrow_mut(|idle| {
            if idle.len() < MOST_IDLE {
                idle.push(self);
            }
        });
    }

    fn fill(&self, from: &TcpStream) -> io::Result<usize> {
        Ok(splice(from, None, &self.write, None, CAPACITY, FLAGS)?)
    }

    async fn empty(&self, to: &TcpStream, mut left: usize) -> io::Result<()> {
        while left > 0 {
            to.writable().await?;
            match to.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.read, None, to, None, left, FLAGS)?)
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

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
const CAPACITY: usize = 256 * 1024;
const MOST_IDLE: usize = 8;

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
    async fn carries_every_byte_and_the_end() {
        let ((mut client, from), (to, mut server)) = (pair().await, pair().await);
        let sent: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
        let moved = AtomicU64::new(0);
        let send = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (carried, (), length) = tokio::join!(carry(&from, &to, &moved), send, server.read_to_end(&mut received));
        carried.unwrap();
        assert_eq!(length.unwrap(), sent.len());
        assert!(received == sent);
        assert_eq!(moved.into_inner(), sent.len() as u64);
    }

    #[tokio::test]
    async fn a_reader_that_stops_holds_up_nobody_else() {
        let ((mut client, from), (to, server)) = (pair().await, pair().await);
        let moved = AtomicU64::new(0);
        let flood = async { while client.write_all(&[7; 65536]).await.is_ok() {} };
        let other = async {
            let ((mut client, from), (to, mut server)) = (pair().await, pair().await);
            let moved = AtomicU64::new(0);
            client.write_all(b"hello").await.unwrap();
            client.shutdown().await.unwrap();
            let mut received = Vec::new();
            let (carried, _) = tokio::join!(carry(&from, &to, &moved), server.read_to_end(&mut received));
            carried.unwrap();
            assert_eq!(received, b"hello");
        };
        tokio::select! {
            _ = carry(&from, &to, &moved) => panic!("nobody reads"),
            () = flood => panic!("nobody reads"),
            () = other => {}
        }
        drop(server);
    }
}
