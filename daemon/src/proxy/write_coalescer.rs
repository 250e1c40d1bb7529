//! TLS under HTTP/2 that coalesces writes, for both sides of the proxy.
//!
//! The HTTP/2 library flushes after every DATA frame of 16 KiB. Each flush to the socket would cost a system call, a TLS
//! record for nine remaining bytes, and a wake-up of the peer. Here a flush does nothing: [`WriteCoalescer::drive`] writes
//! the gathered frames after each poll of the connection. More than [`BUFFER_LIMIT`] bytes are written in between.
//!
//! Our own code, since tokio-rustls writes at every flush.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, BufRead as _, IoSlice, Read, Write};
use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::{ConnectionCommon, SideData};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// TLS stream after its handshake, for one HTTP/2 connection to read and write.
pub(crate) struct CoalescedStream<IO, C>(Arc<Mutex<Tls<IO, C>>>);

/// Writer of the frames that a [`CoalescedStream`] has gathered.
pub(crate) struct WriteCoalescer<IO, C>(Arc<Mutex<Tls<IO, C>>>);

struct Tls<IO, C> {
    io: IO,
    session: C,
    /// Write error for the next read or write: no caller waits while the coalescer writes.
    failed: Option<io::Error>,
}

/// Makes a coalesced stream of a TLS session whose handshake on `io` has been written completely.
pub(crate) fn coalesce<IO, C, S>(io: IO, mut session: C) -> (CoalescedStream<IO, C>, WriteCoalescer<IO, C>)
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    session.set_buffer_limit(Some(BUFFER_LIMIT));
    let tls = Arc::new(Mutex::new(Tls {
        io,
        session,
        failed: None,
    }));
    (CoalescedStream(Arc::clone(&tls)), WriteCoalescer(tls))
}

impl<IO, C, S> WriteCoalescer<IO, C>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    /// Drives the HTTP/2 connection on the stream to its end, and writes its frames after each poll. Exactly one task may
    /// poll it.
    pub(crate) async fn drive<F: Future>(&self, mut connection: Pin<&mut F>) -> F::Output {
        poll_fn(|context| {
            let polled = connection.as_mut().poll(context);
            let mut tls = lock(&self.0);
            if let Poll::Ready(Err(error)) = tls.poll_write_tls(context) {
                tls.failed = Some(error);
                context.waker().wake_by_ref();
            }
            polled
        })
        .await
    }
}

impl<IO, C, S> Tls<IO, C>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        while self.session.wants_read() {
            if ready!(self.poll_read_tls(context))? == 0 {
                break;
            }
        }
        let mut reader = self.session.reader();
        let plain = reader.fill_buf()?;
        let length = plain.len().min(buffer.remaining());
        buffer.put_slice(plain.get(..length).unwrap_or_default());
        reader.consume(length);
        Poll::Ready(Ok(()))
    }

    /// Reads TLS records from the socket; zero bytes at its end.
    fn poll_read_tls(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut io = Blocking {
            io: &mut self.io,
            context,
        };
        let length = ready!(unless_blocked(self.session.read_tls(&mut io)))?;
        if let Err(error) = self.session.process_new_packets() {
            // Sends the alert, if the socket takes it.
            let _ = self.poll_write_tls(context);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        Poll::Ready(Ok(length))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check()?;
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            match self.session.writer().write_vectored(slices)? {
                0 => ready!(self.poll_write_tls(context))?,
                length => return Poll::Ready(Ok(length)),
            }
        }
    }

    fn poll_write_tls(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut io = Blocking {
                io: &mut self.io,
                context,
            };
            if ready!(unless_blocked(self.session.write_tls(&mut io)))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.send_close_notify();
        ready!(self.poll_write_tls(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl<IO, C, S> AsyncRead for CoalescedStream<IO, C>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(context, buffer)
    }
}

impl<IO, C, S> AsyncWrite for CoalescedStream<IO, C>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: [`WriteCoalescer::drive`] flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(lock(&self.0).check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_shutdown(context)
    }
}

impl<IO, C> fmt::Debug for CoalescedStream<IO, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CoalescedStream")
    }
}

/// One task uses the stream and the coalescer, so the lock is never contended.
fn lock<IO, C>(tls: &Mutex<Tls<IO, C>>) -> MutexGuard<'_, Tls<IO, C>> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adapter from an async socket to the blocking one of rustls: it returns "would block" and wakes the task later.
struct Blocking<'a, 'b, IO> {
    io: &'a mut IO,
    context: &'a mut Context<'b>,
}

impl<IO: AsyncRead + Unpin> Read for Blocking<'_, '_, IO> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        blocked_if_pending(Pin::new(&mut *self.io).poll_read(self.context, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl<IO: AsyncWrite + Unpin> Write for Blocking<'_, '_, IO> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocked_if_pending(Pin::new(&mut *self.io).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        blocked_if_pending(Pin::new(&mut *self.io).poll_write_vectored(self.context, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        blocked_if_pending(Pin::new(&mut *self.io).poll_flush(self.context))
    }
}

fn blocked_if_pending<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn unless_blocked<T>(outcome: io::Result<T>) -> Poll<io::Result<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        outcome => Poll::Ready(outcome),
    }
}

/// Limit on gathered bytes.
const BUFFER_LIMIT: usize = 64 * 1024;

#[cfg(test)]
pub(crate) mod tests;
