//! Relay of a tunnel with TLS on a side of ours: a client of `listen-tls`, or an `https://` corporate proxy.
//!
//! It ends as [a tunnel over TCP](super) does. TLS has no half-open end, so a side that closes without `close_notify` ends the
//! whole tunnel.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{HALF_CLOSED_IDLE_TIMEOUT, RelayError, reset, until_idle_for};
use crate::proxy::downstream::client_stream::ClientStream;
use crate::proxy::downstream::socket::{LINGER_TIMEOUT, SILENCE_TIMEOUT, discard_until_closed};
use crate::proxy::upstream::stream::DialedStream;

/// Relays bytes both ways until both sides have ended. Adds the bytes to `relayed`.
pub(super) async fn relay_both_ways(mut downstream: ClientStream, mut upstream: DialedStream, relayed: &AtomicU64) {
    match relay_until_ending(&mut downstream, &mut upstream, relayed).await {
        Ending::Closed => {}
        Ending::Unread => discard_until_closed(downstream.tcp()).await,
        Ending::Cut(error) => reset(&error, downstream.tcp(), upstream.tcp()),
    }
}

/// End of a tunnel.
#[derive(Debug)]
enum Ending {
    /// Nothing is left to be sent.
    Closed,
    /// The client may not have read all yet, and still sends: closing with unread bytes would reset its connection.
    Unread,
    /// A side has failed: what the other side got is not the whole.
    Cut(io::Error),
}

impl Ending {
    fn of_failure(error: RelayError) -> Self {
        match error {
            // Closed without close_notify, as many programs do once they have all that they want.
            RelayError::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            RelayError::Read(error) | RelayError::Write(error) => Self::Cut(error),
        }
    }
}

async fn relay_until_ending(
    downstream: impl AsyncRead + AsyncWrite,
    upstream: impl AsyncRead + AsyncWrite,
    relayed: &AtomicU64,
) -> Ending {
    let (client_read, client_write) = tokio::io::split(downstream);
    let (host_read, host_write) = tokio::io::split(upstream);
    let mut up = pin!(relay_to_host(client_read, host_write, relayed));
    let mut down = pin!(relay(host_read, client_write, relayed));
    tokio::select! {
        ended = up.as_mut() => match ended {
            Ok(()) => or_idle(async { down.await.map(|()| Ending::Closed) }, relayed).await,
            // The host takes no more bytes. The client must still get all that the host has sent.
            Err(RelayError::Write(_)) => or_idle(async { down.await.map(|()| Ending::Unread) }, relayed).await,
            Err(error) => Ending::of_failure(error),
        },
        ended = down.as_mut() => match ended {
            Ok(()) => {
                let up = async {
                    match up.await {
                        // The host has closed both ways, and the client may not have read the end yet.
                        Err(RelayError::Write(_)) => Ok(Ending::Unread),
                        ended => ended.map(|()| Ending::Closed),
                    }
                };
                or_idle(up, relayed).await
            }
            Err(error) => Ending::of_failure(error),
        },
    }
}

/// Finishes the relay in the other direction, unless it is idle for minutes.
async fn or_idle(other: impl Future<Output = Result<Ending, RelayError>>, relayed: &AtomicU64) -> Ending {
    tokio::select! {
        ended = other => ended.unwrap_or_else(Ending::of_failure),
        () = until_idle_for(HALF_CLOSED_IDLE_TIMEOUT, relayed) => Ending::Closed,
    }
}

/// As [`relay`]. Once the host takes no more bytes, it drops what the client still sends.
async fn relay_to_host(
    mut client: impl AsyncRead + Unpin,
    host: impl AsyncWrite + Unpin,
    relayed: &AtomicU64,
) -> Result<(), RelayError> {
    let ended = relay(&mut client, host, relayed).await;
    if matches!(ended, Err(RelayError::Write(_))) {
        let discarding = async {
            let mut discarded = vec![0; BUFFER_BYTES];
            while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE_TIMEOUT, client.read(&mut discarded)).await {}
        };
        let _ = tokio::time::timeout(LINGER_TIMEOUT, discarding).await;
    }
    ended
}

async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    relayed: &AtomicU64,
) -> Result<(), RelayError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await.map_err(RelayError::Read)?;
        if length == 0 {
            return to.shutdown().await.map_err(RelayError::Write);
        }
        relayed.fetch_add(length as u64, Ordering::Relaxed);
        let bytes = buffer.get(..length).unwrap_or_default();
        to.write_all(bytes).await.map_err(RelayError::Write)?;
        to.flush().await.map_err(RelayError::Write)?;
    }
}

/// One TLS record.
const BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use tokio::io::{ReadBuf, duplex, join};

    use super::*;

    /// Side that fails.
    struct Broken(io::ErrorKind);

    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(self.0.into()))
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(self.0.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_gets_what_a_host_sent_before_it_stopped_reading() {
        let (mut client, downstream) = duplex(2000);
        let (host, mut sender) = duplex(2000);
        let upstream = join(host, Broken(io::ErrorKind::BrokenPipe));
        let relayed = AtomicU64::new(0);
        let client = async {
            client.write_all(b"an upload that the host refuses").await.unwrap();
            // The relay has seen that the host does not read.
            tokio::time::sleep(Duration::from_secs(60)).await;
            sender.write_all(&[b'x'; 1000]).await.unwrap();
            drop(sender);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer.len()
        };
        let (ending, length) = tokio::join!(relay_until_ending(downstream, upstream, &relayed), async {
            tokio::time::timeout(Duration::from_secs(600), client).await.unwrap()
        });
        assert!(matches!(ending, Ending::Unread), "{ending:?}");
        assert_eq!(length, 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_has_closed_does_not_cut_what_the_client_still_reads() {
        let (mut client, downstream) = duplex(2000);
        let upstream = join(&b"the end"[..], Broken(io::ErrorKind::BrokenPipe));
        client.write_all(b"a window update").await.unwrap();
        let ending = relay_until_ending(downstream, upstream, &AtomicU64::new(0)).await;
        assert!(matches!(ending, Ending::Unread), "{ending:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_whose_other_side_stays_silent_ends() {
        let (_client, downstream) = duplex(64);
        let (upstream, host) = duplex(64);
        drop(host);
        let relayed = AtomicU64::new(0);
        let ending = relay_until_ending(downstream, upstream, &relayed);
        let ending = tokio::time::timeout(HALF_CLOSED_IDLE_TIMEOUT * 3, ending).await;
        assert!(matches!(ending, Ok(Ending::Closed)), "{ending:?}");
    }

    #[tokio::test]
    async fn a_side_that_fails_cuts_the_tunnel_and_one_that_ends_without_notice_does_not() {
        for (error, cut) in [
            (io::ErrorKind::ConnectionReset, true),
            (io::ErrorKind::UnexpectedEof, false),
        ] {
            let (_client, downstream) = duplex(64);
            let upstream = join(Broken(error), tokio::io::sink());
            let ending = relay_until_ending(downstream, upstream, &AtomicU64::new(0)).await;
            assert_eq!(matches!(ending, Ending::Cut(_)), cut, "{ending:?}");
        }
    }
}
