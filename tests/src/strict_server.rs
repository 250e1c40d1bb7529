//! Strict HTTP/1.1 server: it rejects any deviation from RFC 9112, answers every request alike, and records each request
//! or the reason why the bytes are not one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::http_server::runtime;

/// Request, or the reason why the received bytes are none.
pub type Recorded = Result<ReceivedRequest, String>;

/// Well-formed request.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Request line.
    pub line: String,
    /// Header lines with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body without chunked framing.
    pub body: Vec<u8>,
}

/// Running server.
#[derive(Debug)]
pub struct StrictServer {
    port: u16,
    requests: Arc<Mutex<Vec<Recorded>>>,
    accepting: AbortHandle,
}

impl StrictServer {
    /// Starts a server for `localhost` with a certificate of this authority, HTTP/1.1 only.
    pub fn start(authority: &Authority) -> Self {
        Self::answering(authority, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    }

    /// Starts a server that answers every request with these bytes.
    pub fn answering(authority: &Authority, answer: &str) -> Self {
        let answer: Arc<[u8]> = answer.as_bytes().into();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let acceptor = TlsAcceptor::from(authority.issue(&["localhost"]).server_config(&["http/1.1"]));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime().block_on(TcpListener::bind(any)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::clone(&requests);
        let task = runtime().spawn(async move {
            // Aborting the task drops the set and aborts its connections.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                connections.spawn(serve(stream, acceptor, answer, Arc::clone(&record)));
            }
        });
        Self {
            port,
            requests,
            accepting: task.abort_handle(),
        }
    }

    /// `localhost:PORT`.
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Requests and errors so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for StrictServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, answer: Arc<[u8]>, record: Arc<Mutex<Vec<Recorded>>>) {
    if let Ok(stream) = acceptor.accept(stream).await {
        listen(stream, &answer, &record).await;
    }
}

async fn listen(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8], record: &Mutex<Vec<Recorded>>) {
    let mut bytes = Vec::new();
    while let Some(recorded) = next(&mut stream, &mut bytes).await {
        let is_good = recorded.is_ok();
        record.lock().unwrap().push(recorded);
        if !is_good || stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// Reads the next request; `None` when the connection ends before one is complete.
async fn next(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<Recorded> {
    loop {
        match parse(bytes) {
            Err(wrong) => return Some(Err(format!("{wrong}: {:?}", String::from_utf8_lossy(bytes)))),
            Ok(Some((message, length))) => {
                bytes.drain(..length);
                return Some(Ok(message));
            }
            Ok(None) => {}
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            // An incomplete request counts as none: an aborted upload looks like this.
            Ok(0) | Err(_) => return None,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<(ReceivedRequest, usize)>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = &bytes[..end];
    let is_control = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
    let text = String::from_utf8_lossy(head).into_owned();
    if text
        .split("\r\n")
        .any(|line| line.bytes().any(|byte| is_control(&byte)))
    {
        return Err("a control character, a bare CR or LF");
    }
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Err("not a request line");
    };
    if method.is_empty() || !method.bytes().all(is_token) || !target.starts_with('/') {
        return Err("not a method and an origin-form target");
    }
    let headers = lines.map(header).collect::<Result<Vec<_>, _>>()?;
    let length = framing(&headers)?;
    let body = &bytes[end + 4..];
    let read = match length {
        Some(length) => (body.len() >= length).then(|| (body[..length].to_vec(), length)),
        None => chunked(body)?,
    };
    Ok(read.map(|(body, length)| (ReceivedRequest { line, headers, body }, end + 4 + length)))
}

fn header(line: &str) -> Result<(String, String), &'static str> {
    let (name, value) = line.split_once(": ").ok_or("not a header line")?;
    if name.is_empty() || !name.bytes().all(is_token) || value != value.trim() {
        return Err("not a header's name or value");
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

/// Length of the body; `None` for chunked.
fn framing(headers: &[(String, String)]) -> Result<Option<usize>, &'static str> {
    let of = |name: &str| -> Vec<&str> {
        let found = headers.iter().filter(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).collect()
    };
    if of("host").len() != 1 {
        return Err("not one Host");
    }
    let hop = ["connection", "keep-alive", "te", "upgrade", "trailer", "http2-settings"];
    if hop.iter().any(|name| !of(name).is_empty()) || headers.iter().any(|(name, _)| name.starts_with("proxy-")) {
        return Err("a header that belongs to one hop");
    }
    if of("expect").iter().any(|expectation| *expectation != "100-continue") {
        return Err("an unknown expectation");
    }
    match (&of("content-length")[..], &of("transfer-encoding")[..]) {
        ([], []) => Ok(Some(0)),
        ([], ["chunked"]) => Ok(None),
        ([digits], []) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| "a length that is none")
        }
        _ => Err("ambiguous framing"),
    }
}

fn chunked(mut bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, begin) = (Vec::new(), bytes.len());
    loop {
        let Some(end) = find(bytes, b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(&bytes[..end]).map_err(|_| "a chunk's length")?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a chunk's length");
        }
        let length = usize::from_str_radix(digits, 16).map_err(|_| "a chunk's length")?;
        let Some(rest) = bytes[end + 2..].get(length..) else {
            return Ok(None);
        };
        if rest.len() < 2 {
            return Ok(None);
        }
        if !rest.starts_with(b"\r\n") {
            return Err("a chunk's end, or a trailer");
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &rest[2..];
        if length == 0 {
            return Ok(Some((body, begin - bytes.len())));
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
