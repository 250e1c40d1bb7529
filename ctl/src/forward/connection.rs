//! One connection of a forwarder.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::grant_source::GrantedProxy;
use super::head::{self, Head};
use super::{Context, owner};
use crate::output;

/// Serves a connection to its end.
pub(super) async fn serve(mut client: TcpStream, context: &Context) {
    if let Err(failure) = try_serve(&mut client, context).await {
        let _ = client.write_all(failure.response().as_bytes()).await;
        let _ = client.shutdown().await;
    }
}

async fn try_serve(client: &mut TcpStream, context: &Context) -> Result<(), Failure> {
    let (Ok(peer), Ok(local)) = (client.peer_addr(), client.local_addr()) else {
        return Ok(());
    };
    if !owner::is_own(peer, local) {
        return Err(Failure::OtherUser);
    }
    let grant = context.grant.read().map_err(|error| Failure::NoGrant(error.message))?;
    let received = timeout(HEAD_TIMEOUT, read_head(client, &grant)).await;
    let Some((head, received)) = received.map_err(|_| Failure::BadRequest)?? else {
        return Ok(());
    };
    let proxy = TcpStream::connect((grant.host.as_str(), grant.port));
    let mut proxy = match timeout(CONNECT_TIMEOUT, proxy).await {
        Ok(Ok(proxy)) => proxy,
        Ok(Err(error)) => return Err(Failure::Unreachable(error.kind())),
        Err(_) => return Err(Failure::Unreachable(io::ErrorKind::TimedOut)),
    };
    let _ = (client.set_nodelay(true), proxy.set_nodelay(true));
    let _ = notice_dead_peer(&proxy);
    let rest = received.get(head.length..).unwrap_or_default();
    let sent = async {
        proxy.write_all(&head.text).await?;
        proxy.write_all(rest).await
    };
    sent.await
        .map_err(|error: io::Error| Failure::Unreachable(error.kind()))?;
    if head.is_connect {
        report_refused_grant(&proxy, context).await;
    }
    let _ = copy_bidirectional(client, &mut proxy).await;
    Ok(())
}

/// Reads the head of the first request. Returns it with all bytes received; `None` if the client closes before.
async fn read_head(client: &mut TcpStream, grant: &GrantedProxy) -> Result<Option<(Head, Vec<u8>)>, Failure> {
    let mut received = Vec::new();
    loop {
        match client.read_buf(&mut received).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
        match head::with_grant(&received, &grant.authorization) {
            Ok(Some(head)) => return Ok(Some((head, received))),
            Ok(None) if received.len() < MAX_HEAD_BYTES => {}
            Ok(None) | Err(_) => return Err(Failure::BadRequest),
        }
    }
}

/// Has the kernel close a connection whose other end is gone: a proxy on another machine may disappear with its network.
fn notice_dead_peer(proxy: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(proxy, true)?;
    sockopt::set_tcp_keepidle(proxy, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(proxy, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(proxy, MAX_UNANSWERED_KEEPALIVES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(proxy, USER_TIMEOUT_MS)?;
    Ok(())
}

/// Reports the first answer 407 to a CONNECT. Most clients show just the number.
async fn report_refused_grant(proxy: &TcpStream, context: &Context) {
    let mut start = [0; STATUS_407.len()];
    let answered = timeout(ANSWER_TIMEOUT, proxy.peek(&mut start)).await;
    let is_refused = matches!(answered, Ok(Ok(_))) && start == *STATUS_407;
    if is_refused && !context.has_reported_refusal.swap(true, Ordering::Relaxed) {
        output::print_to_stderr(
            "note: the proxy refuses the grant: it has expired or was revoked; `regauthctl grant` makes a new one\n",
        );
    }
}

/// Reason why a connection is not forwarded.
enum Failure {
    OtherUser,
    NoGrant(String),
    BadRequest,
    Unreachable(io::ErrorKind),
}

impl Failure {
    fn response(&self) -> String {
        let (status, message) = match self {
            Self::OtherUser => (
                "403 Forbidden",
                "this forwarder serves only processes of the user who started it; start your own with `regauthctl forward`"
                    .to_owned(),
            ),
            Self::NoGrant(why) => (
                "502 Bad Gateway",
                format!("the forwarder has no grant: {}", why.replace(char::is_control, " ")),
            ),
            Self::BadRequest => ("400 Bad Request", "this is a proxy for HTTP/1.1 requests".to_owned()),
            Self::Unreachable(why) => ("502 Bad Gateway", format!("the grant's proxy is not reachable: {why}")),
        };
        // Java and many others show the reason phrase and not the body.
        format!(
            "HTTP/1.1 {status}: {message}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{message}\n",
            message.len() + 1
        )
    }
}

const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for the proxy's answer to a CONNECT, until the answer is passed on unread.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const KEEPALIVE: Duration = Duration::from_secs(30);
const MAX_UNANSWERED_KEEPALIVES: u32 = 4;
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MS: u32 = 120_000;
const MAX_HEAD_BYTES: usize = 64 * 1024;
const STATUS_407: &[u8; 12] = b"HTTP/1.1 407";
