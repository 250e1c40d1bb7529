//! Answers over HTTP/1.1 that end in the wrong way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Decrement, Shared, until_closed};

/// Serves requests; `below` gives the socket below TLS.
pub(super) async fn serve_h1<S>(shared: &Shared, mut stream: S, below: impl FnOnce(S) -> TcpStream)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(head) = read_head(&mut stream).await {
        let line = head.lines().next().unwrap_or_default().to_owned();
        let path = line.split(' ').nth(1).unwrap_or_default();
        let behaviour = path.rsplit('/').next().unwrap_or_default().to_owned();
        let behaviour = behaviour.split('?').next().unwrap_or_default();
        shared.requests.lock().unwrap().push(line.clone());
        if behaviour != "early" && read_body(&mut stream, &head).await.is_none() {
            return;
        }
        if behaviour == "held" {
            hold(shared).await;
        }
        let (answer, next) = answer(behaviour);
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match next {
            Next::Serve => {}
            Next::Close => {
                let _ = stream.shutdown().await;
                return;
            }
            Next::CloseBelow => {
                let _ = below(stream).shutdown().await;
                return;
            }
            Next::Reset => {
                // The body must arrive before the reset, which discards unread bytes.
                tokio::time::sleep(ARRIVAL).await;
                let _ = below(stream).set_zero_linger();
                return;
            }
            Next::Silence => return until_closed(&mut stream).await,
            Next::Dribble => {
                if dribble(&mut stream).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Bytes of a response, and what follows them.
fn answer(behaviour: &str) -> (String, Next) {
    let (rest, next) = match behaviour {
        "half-length" => ("content-length: 100\r\n\r\nhalf", Next::Close),
        "half-chunked" => ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", Next::Close),
        "stops" => ("content-length: 100\r\n\r\nhalf", Next::Silence),
        "until-close" => ("connection: close\r\n\r\nwhole", Next::Close),
        "no-close-notify" => ("connection: close\r\n\r\nwhole", Next::CloseBelow),
        "reset" => ("connection: close\r\n\r\nhalf", Next::Reset),
        "early" => return (TOO_LARGE.to_owned(), Next::Close),
        "dribble" => ("content-length: 5\r\n\r\n", Next::Dribble),
        "both-lengths" => (
            "content-length: 100\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Next::Serve,
        ),
        "hangs-up" => ("content-length: 2\r\n\r\nok", Next::Close),
        _ => ("content-length: 2\r\n\r\nok", Next::Serve),
    };
    (format!("HTTP/1.1 200 OK\r\n{rest}"), next)
}

/// Sends one byte a second.
async fn dribble(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    for byte in b"whole" {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
    }
    Ok(())
}

enum Next {
    Serve,
    Close,
    CloseBelow,
    Reset,
    Silence,
    Dribble,
}

/// Waits for [`MisbehavingServer::release`].
async fn hold(shared: &Shared) {
    let held = shared.held.fetch_add(1, Ordering::Relaxed) + 1;
    shared.most_held.fetch_max(held, Ordering::Relaxed);
    let _ends = Decrement(&shared.held);
    let _ = shared.release.subscribe().wait_for(|released| *released).await;
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Reads a body with a length; chunked bodies are read up to the chunk of length zero.
async fn read_body(stream: &mut (impl AsyncRead + Unpin), head: &str) -> Option<()> {
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    if let Some(length) = header("content-length").and_then(|length| length.parse::<u64>().ok()) {
        let read = tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await;
        return (read.ok()? == length).then_some(());
    }
    if header("transfer-encoding").is_some() {
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(stream.read_u8().await.ok()?);
        }
    }
    Some(())
}

const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// Time for bytes on loopback to be read by the peer.
const ARRIVAL: Duration = Duration::from_millis(300);
