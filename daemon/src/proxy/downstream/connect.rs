//! Reads the first request of a connection: a CONNECT gives a target, an absolute-form request is plain, all else is
//! refused.
//!
//! The head is read without a byte beyond it, so what follows, TLS as a rule, stays in the socket.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host::{Host, Origin};
use crate::proxy::decide::{Route, decide};
use crate::proxy::downstream::authenticate::{Client, UnauthenticatedClient};
use crate::proxy::downstream::worker::Worker;
use crate::proxy::downstream::{drain, intercept, plain, tunnel};
use crate::proxy::exchange::error::ProxyError;

/// Carries one connection from its first byte to its end.
pub(crate) async fn serve(worker: Worker, mut stream: TcpStream) {
    let visitor = match UnauthenticatedClient::at_the_door(&worker.plane, &stream) {
        Ok(visitor) => visitor,
        Err(refusal) => {
            // There are too many of its kind to wait for: what fits into the socket's buffer, which is empty, has to do.
            let _ = stream.writable().await;
            let _ = stream.try_write(refusal.raw_response().as_bytes());
            return;
        }
    };
    let head = tokio::select! {
        head = tokio::time::timeout(HEAD, read_head(&mut stream)) => head,
        () = drain::undecided(&worker.plane) => return,
    };
    // A client that is silent or gone is owed no answer.
    let Ok(Ok(head)) = head else { return };
    match admit(&head, &worker, &visitor) {
        Ok(Admitted::Target(target, client)) => {
            // A connection at the door is counted until it is let in.
            drop(visitor);
            tokio::select! {
                () = route(worker, client.clone(), stream, target) => {}
                () = client.over() => {}
            }
        }
        Ok(Admitted::Plain) => plain::serve(worker, visitor, stream, head).await,
        Err(refusal) => refuse(stream, &refusal).await,
    }
}

async fn route(worker: Worker, client: Client, stream: TcpStream, target: Origin) {
    match decide(&worker.plane.routes.load(), &target) {
        Route::Tunnel => {
            let dialer = client.dialer(&worker.plane);
            tunnel::serve(worker, dialer, stream, target).await;
        }
        Route::Intercept(site, tls) => intercept::serve(worker, client, stream, site, tls).await,
        Route::Refuse(refusal) => refuse(stream, &refusal).await,
    }
}

/// Answers the CONNECT itself with a refusal and ends the connection.
pub(crate) async fn refuse(mut stream: TcpStream, refusal: &ProxyError) {
    tracing::debug!(code = refusal.code(), "refused");
    if stream.write_all(refusal.raw_response().as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
        // Closing with unread bytes would reset the connection and take our answer with it.
        let _ = tokio::time::timeout(
            LINGER,
            tokio::io::copy(&mut stream.take(MAX_HEAD as u64), &mut tokio::io::sink()),
        )
        .await;
    }
}

enum Admitted {
    Target(Origin, Client),
    Plain,
}

fn admit(head: &[u8], worker: &Worker, visitor: &UnauthenticatedClient) -> Result<Admitted, ProxyError> {
    let First::Connect(connect) = First::parse(head)? else {
        return Ok(Admitted::Plain);
    };
    // Before it is looked at where it wants to go: that is nothing to tell a stranger.
    let client = visitor.admit(&worker.plane, connect.authorization.iter().copied())?;
    let target = connect.target()?;
    if is_ours(&target, worker) {
        return Err(ProxyError::BadRequest);
    }
    Ok(Admitted::Target(target, client))
}

/// The first request of a connection, taken apart. It may hold a grant's token, so it has no `Debug`.
pub enum First<'a> {
    /// A CONNECT.
    Connect(Connect<'a>),
    /// Anything else, for [`plain`] to look at.
    Plain,
}

/// What a CONNECT says that matters here.
pub struct Connect<'a> {
    authority: &'a str,
    hosts: Vec<&'a [u8]>,
    authorization: Vec<&'a [u8]>,
}

impl<'a> First<'a> {
    /// Takes a head apart that ends with its empty line.
    ///
    /// # Errors
    /// [`ProxyError::BadRequest`] when it is no head, or one with two ends.
    pub fn parse(head: &'a [u8]) -> Result<Self, ProxyError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(head).map_err(|_| ProxyError::BadRequest)?;
        // A head that ends before ours does (bare line feeds) has two readings.
        let complete = parsed == httparse::Status::Complete(head.len());
        let (Some(method), Some(authority), true) = (request.method, request.path, complete) else {
            return Err(ProxyError::BadRequest);
        };
        if method != "CONNECT" {
            return Ok(Self::Plain);
        }
        let values = |name: &str| {
            let named = request
                .headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| header.value).collect()
        };
        Ok(Self::Connect(Connect {
            authority,
            hosts: values("host"),
            authorization: values("proxy-authorization"),
        }))
    }
}

impl Connect<'_> {
    /// The one place that it names.
    ///
    /// # Errors
    /// [`ProxyError::BadRequest`] when it names none, or more than one. RFC 9112, section 3.2: one Host, equal to the target;
    /// some clients leave its port out.
    pub fn target(&self) -> Result<Origin, ProxyError> {
        let target = Origin::parse(self.authority, None).map_err(|_| ProxyError::BadRequest)?;
        let agrees = |host: &[u8]| {
            let text = std::str::from_utf8(host).unwrap_or_default();
            Origin::parse(text, Some(target.port)).is_ok_and(|host| host == target)
        };
        match *self.hosts {
            [] => Ok(target),
            [host] if agrees(host) => Ok(target),
            _ => Err(ProxyError::BadRequest),
        }
    }
}

/// A request for our own listener would come back to us, and again.
pub(crate) fn is_ours(origin: &Origin, worker: &Worker) -> bool {
    let listen = worker.plane.listen;
    origin.port == listen.port() && (origin.host.is_loopback() || origin.host == Host::Address(listen.ip()))
}

/// Reads up to and including the empty line that ends a request's head.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(FIRST_READ);
    loop {
        let begin = head.len();
        head.resize(begin + FIRST_READ, 0);
        let fresh = head.get_mut(begin..).unwrap_or_default();
        let peeked = stream.peek(fresh).await?;
        if peeked == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.truncate(begin + peeked);
        let end = end_of_head(&head, begin);
        let length = end.unwrap_or(head.len());
        stream
            .read_exact(head.get_mut(begin..length).unwrap_or_default())
            .await?;
        head.truncate(length);
        if end.is_some() {
            return Ok(head);
        }
        if head.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Where the head ends; `begin` is where the bytes that were not looked at yet begin.
fn end_of_head(bytes: &[u8], begin: usize) -> Option<usize> {
    let from = begin.saturating_sub(3);
    let tail = bytes.get(from..)?;
    tail.windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| from + at + 4)
}

/// How long a client may take for its first request's head.
const HEAD: Duration = Duration::from_secs(20);
const LINGER: Duration = Duration::from_secs(1);
const FIRST_READ: usize = 1024;
const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_of_a_head_across_reads() {
        assert_eq!(end_of_head(b"CONNECT a:1 HTTP/1.1\r\n\r\n\x16", 0), Some(24));
        assert_eq!(end_of_head(b"ab\r\n\r\n", 5), Some(6));
        assert_eq!(end_of_head(b"ab\r\n\r", 0), None);
        assert_eq!(end_of_head(b"", 0), None);
    }

    #[tokio::test]
    async fn leaves_what_follows_the_head_in_the_socket() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let head = format!("CONNECT a:1 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(3000));
        client.write_all(format!("{head}TLS").as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut server).await.unwrap(), head.as_bytes());
        let mut rest = [0; 3];
        server.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"TLS");
    }

    proptest::proptest! {
        /// Whatever stands in the head, there is one place, and Host and the target both name it.
        #[test]
        fn a_connect_names_one_place_or_none(
            authority in "(corp\\.example|\\[::1\\]|[a-zA-Z0-9.@%\\[\\]-]{0,12})(:[0-9]{0,6})?",
            hosts in proptest::collection::vec("(corp\\.example|\\[::1\\]|[a-zA-Z0-9.@,-]{0,12})(:[0-9]{0,6})?", 0..3),
        ) {
            let lines: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
            let head = format!("CONNECT {authority} HTTP/1.1\r\n{lines}\r\n");
            if let Ok(First::Connect(connect)) = First::parse(head.as_bytes())
                && let Ok(target) = connect.target()
            {
                proptest::prop_assert_eq!(Origin::parse(&authority, None), Ok(target.clone()));
                proptest::prop_assert!(hosts.len() <= 1);
                for host in hosts {
                    proptest::prop_assert_eq!(Origin::parse(&host, Some(target.port)), Ok(target.clone()));
                }
            }
        }
    }
}
