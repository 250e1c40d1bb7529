//! The first request of a connection: a CONNECT becomes a tunnel or is intercepted, an absolute-form request is plain HTTP.
//!
//! The head is read without a byte beyond it, so that what follows (usually TLS) stays in the socket. The client is
//! [authenticated](crate::proxy::downstream::authenticate) before the target is looked at.
//!
//! [`Routes::decide`](crate::proxy::routes::Routes::decide) chooses what happens next.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host::Origin;
use crate::proxy::downstream::authenticate::{Client, UnauthenticatedClient};
use crate::proxy::downstream::client_stream::ClientStream;
use crate::proxy::downstream::entrance::{self, Entrance};
use crate::proxy::downstream::{drain, intercept, plain, tunnel};
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::failure_log::registry_failed;
use crate::proxy::exchange::recording::Recording;
use crate::proxy::exchange::request_problem::RequestProblem;
use crate::proxy::routes::Decision;
use crate::proxy::state::Worker;

/// Serves one connection from its first byte to its end.
///
/// Its large states are boxed, because a task reserves memory for the largest of its states.
pub(crate) async fn serve(worker: Worker, mut stream: TcpStream, entrance: Entrance) {
    let Ok(address) = entrance::client_address(&worker.state, &mut stream, entrance).await else {
        return;
    };
    let unauthenticated = match UnauthenticatedClient::identify(&worker.state, &stream, address) {
        Ok(client) => client,
        Err(error) => {
            // The client has too many connections to wait for this one, or for its event. The empty send buffer takes the
            // response. A client that expects TLS cannot read it.
            let _ = stream.writable().await;
            if entrance == Entrance::Plain {
                let _ = stream.try_write(error.raw_response().as_bytes());
            }
            return;
        }
    };
    let first = tokio::select! {
        first = read_first_request(&worker, &unauthenticated, stream, entrance) => first,
        () = unauthenticated.displaced() => return log_displaced(&unauthenticated),
    };
    match first {
        Some((stream, Admitted::Connect(target, client))) => {
            // From here on, only the authenticated client's permit counts.
            drop(unauthenticated);
            tokio::select! {
                () = route(worker, client.clone(), stream, target) => {}
                () = client.grant_ended() => {}
            }
        }
        Some((stream, Admitted::Plain(head))) => tokio::select! {
            () = Box::pin(plain::serve(worker, unauthenticated.clone(), stream, head)) => {}
            () = unauthenticated.displaced() => log_displaced(&unauthenticated),
        },
        None => {}
    }
}

fn log_displaced(client: &UnauthenticatedClient) {
    let caller = client.caller();
    tracing::debug!(
        ?caller,
        "ended a connection that had shown no grant: its peer has opened too many"
    );
}

/// Terminates TLS, then reads the first request and authenticates its client. `None` if the connection ends with that.
async fn read_first_request(
    worker: &Worker,
    unauthenticated: &UnauthenticatedClient,
    stream: TcpStream,
    entrance: Entrance,
) -> Option<(ClientStream, Admitted)> {
    let mut stream = entrance::enter(&worker.state, stream, entrance).await?;
    let head = tokio::select! {
        head = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut stream)) => head,
        () = drain::first_request_grace(&worker.state) => return None,
    };
    let refused = match head {
        Ok(Ok(head)) => match admit(head, worker, unauthenticated).await {
            Ok(admitted) => return Some((stream, admitted)),
            Err(error) => error,
        },
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => RequestProblem::LongHead.into(),
        // A client that is silent or gone gets no response.
        _ => return None,
    };
    let recording = Recording::begin(worker, unauthenticated.caller());
    unauthenticated.slow_down(&worker.state, &refused).await;
    refuse(stream, &refused, recording).await;
    None
}

async fn route(worker: Worker, client: Client, mut stream: ClientStream, target: Origin) {
    let decision = worker.state.routes.load().decide(&target);
    let recording = || Recording::begin_connect(&worker, &client, &target);
    match decision {
        Decision::Tunnel => match tunnel::dial(client.dialer(&worker.state), &target, stream.tcp()).await {
            None => {}
            Some(Ok(upstream)) if worker.state.is_own_connection(upstream.tcp()) => {
                refuse(stream, &RequestProblem::OwnPort.into(), recording()).await;
            }
            Some(Ok(upstream)) if establish(&mut stream).await => {
                tunnel::relay_until_done(&worker.state, stream, upstream).await;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                worker.state.failures.host_failed(&target, &error);
                refuse(stream, &error, recording()).await;
            }
        },
        Decision::Intercept(host, tls) => {
            if establish(&mut stream).await {
                Box::pin(intercept::serve(worker, client, stream, host, tls)).await;
            }
        }
        Decision::Refuse(error) => {
            log_refusal(&worker, &target, &error);
            refuse(stream, &error, recording()).await;
        }
    }
}

/// Logs a refused host under the names of its registries.
fn log_refusal(worker: &Worker, target: &Origin, error: &ProxyError) {
    let routes = worker.state.routes.load();
    match routes.host(target) {
        Some(host) => host
            .registries()
            .for_each(|registry| registry_failed(registry, target, error)),
        None => worker.state.failures.host_failed(target, error),
    }
}

/// Accepts the CONNECT. False if the client has gone.
async fn establish(stream: &mut ClientStream) -> bool {
    stream.write_all(ESTABLISHED).await.is_ok() && stream.flush().await.is_ok()
}

/// Answers the first request with an error and ends the connection.
async fn refuse(mut stream: ClientStream, error: &ProxyError, mut recording: Recording) {
    tracing::debug!(code = error.code(), "refused the first request of a connection");
    recording.note_refusal(error);
    // The connection is refused, whether the audit record has it or not.
    let _ = recording.confirm().await;
    drop(recording);
    if stream.write_all(error.raw_response().as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
        // Closing with unread bytes would reset the connection and discard our response.
        let mut unread = stream.take(MAX_HEAD_BYTES as u64);
        let _ = tokio::time::timeout(LINGER_TIMEOUT, tokio::io::copy(&mut unread, &mut tokio::io::sink())).await;
    }
}

enum Admitted {
    Connect(Origin, Client),
    /// Request with this head, authenticated later, as each one.
    Plain(Vec<u8>),
}

async fn admit(
    head: Vec<u8>,
    worker: &Worker,
    unauthenticated: &UnauthenticatedClient,
) -> Result<Admitted, ProxyError> {
    let FirstRequest::Connect(connect) = FirstRequest::parse(&head)? else {
        return Ok(Admitted::Plain(head));
    };
    // Before the target is looked at: an unauthenticated client must not learn which targets are valid.
    let authorization = connect.authorization.iter().copied();
    let client = unauthenticated.authenticate(&worker.state, authorization).await?;
    let target = connect.target()?;
    if worker.state.is_own_listener(&target) {
        return Err(RequestProblem::OwnPort.into());
    }
    Ok(Admitted::Connect(target, client))
}

/// Parsed head of the first request. It may hold the token of a grant, so it has no `Debug`.
pub enum FirstRequest<'a> {
    /// A CONNECT.
    Connect(Connect<'a>),
    /// Any other request.
    Plain,
}

/// The parts of a CONNECT that the proxy uses.
pub struct Connect<'a> {
    authority: &'a str,
    hosts: Vec<&'a [u8]>,
    authorization: Vec<&'a [u8]>,
}

impl<'a> FirstRequest<'a> {
    /// Parses a head, up to and including its empty line.
    ///
    /// # Errors
    /// [`ProxyError::BadRequest`] when it is malformed, or ends earlier by another reading.
    pub fn parse(head: &'a [u8]) -> Result<Self, ProxyError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(head).map_err(|_| ProxyError::BadRequest)?;
        // A head with bare line feeds may end earlier for httparse than for us.
        let complete = parsed == httparse::Status::Complete(head.len());
        let (Some(method), Some(authority), true) = (request.method, request.path, complete) else {
            return Err(ProxyError::BadRequest);
        };
        if method != "CONNECT" {
            return Ok(Self::Plain);
        }
        let values = |name: &str| -> Vec<&'a [u8]> {
            let named = request
                .headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| header.value).collect()
        };
        // Maven's own transport sends the proxy's login in the wrong header. On CONNECT only the proxy reads it.
        let for_proxy = values("proxy-authorization");
        let authorization = if for_proxy.is_empty() {
            values("authorization")
        } else {
            for_proxy
        };
        Ok(Self::Connect(Connect {
            authority,
            hosts: values("host"),
            authorization,
        }))
    }
}

impl Connect<'_> {
    /// Host and port of the tunnel.
    ///
    /// # Errors
    /// [`ProxyError::BadRequest`] when the CONNECT names none, or more than one. RFC 9112, section 3.2, asks for one Host
    /// equal to the target; some clients leave out its port.
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

/// Reads a request's head, up to and including its empty line.
async fn read_head(stream: &mut ClientStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(READ_BYTES);
    loop {
        let begin = head.len();
        head.resize(begin + READ_BYTES, 0);
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
        if head.len() > MAX_HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Offset of the head's end; `begin` is the offset of the bytes that have not been searched yet.
fn end_of_head(bytes: &[u8], begin: usize) -> Option<usize> {
    let from = begin.saturating_sub(3);
    let tail = bytes.get(from..)?;
    tail.windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| from + at + 4)
}

/// Response to a CONNECT that is tunnelled or intercepted (RFC 9110, section 9.3.6).
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 1024;
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_reserves_little_for_what_it_may_become() {
        fn size<F>(_: impl FnOnce(Worker, TcpStream, Entrance) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(serve) <= 4 * 1024, "{}", size(serve));
    }

    #[test]
    fn finds_the_end_of_a_head_across_reads() {
        assert_eq!(end_of_head(b"CONNECT a:1 HTTP/1.1\r\n\r\n\x16", 0), Some(24));
        assert_eq!(end_of_head(b"ab\r\n\r\n", 5), Some(6));
        assert_eq!(end_of_head(b"ab\r\n\r", 0), None);
        assert_eq!(end_of_head(b"", 0), None);
    }

    #[tokio::test]
    async fn leaves_bytes_after_the_head_in_the_socket() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = ClientStream::Tcp(listener.accept().await.unwrap().0);
        let head = format!("CONNECT a:1 HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(3000));
        client.write_all(format!("{head}TLS").as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut server).await.unwrap(), head.as_bytes());
        let mut rest = [0; 3];
        server.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"TLS");
    }

    proptest::proptest! {
        #[test]
        fn a_connect_has_one_target_that_host_agrees_with_or_none(
            authority in "(corp\\.example|\\[::1\\]|[a-zA-Z0-9.@%\\[\\]-]{0,12})(:[0-9]{0,6})?",
            hosts in proptest::collection::vec("(corp\\.example|\\[::1\\]|[a-zA-Z0-9.@,-]{0,12})(:[0-9]{0,6})?", 0..3),
        ) {
            let lines: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
            let head = format!("CONNECT {authority} HTTP/1.1\r\n{lines}\r\n");
            if let Ok(FirstRequest::Connect(connect)) = FirstRequest::parse(head.as_bytes())
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
