//! A stranger: a server with a certificate of its own that records every request with all its headers and answers as
//! it was told. Redirect targets, unconfigured hosts, echoing registries.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};

use crate::certificates::{Authority, Certificate};
use crate::http_server::{Handler, HttpServer};
use crate::poll;

/// What a honeypot is to be.
#[derive(Debug)]
pub struct Builder {
    tls: Option<Certificate>,
    host: String,
    protocols: Vec<&'static str>,
    answer: Answer,
}

#[derive(Clone, Debug)]
enum Answer {
    Fixed {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    Echo,
}

impl Builder {
    /// Speaks plain HTTP.
    pub fn plain(mut self) -> Self {
        self.tls = None;
        self
    }

    /// Offers these by ALPN. Default: `h2`, `http/1.1`.
    pub fn protocols(mut self, protocols: &[&'static str]) -> Self {
        protocols.clone_into(&mut self.protocols);
        self
    }

    /// Answers every request with this. Default: 200, `honeypot`.
    pub fn answer(mut self, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        self.answer = Answer::Fixed {
            status,
            headers,
            body: body.to_owned(),
        };
        self
    }

    /// Redirects every request.
    pub fn redirect(self, status: u16, location: &str) -> Self {
        self.answer(status, &[("location", location)], "")
    }

    /// Answers with the request itself: its headers as text in the body, and each again as `echo-NAME`.
    pub fn echo(mut self) -> Self {
        self.answer = Answer::Echo;
        self
    }

    /// Starts it on a free port.
    pub fn start(self) -> MockServer {
        let address = self.host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let service = RecordingService {
            answer: self.answer,
            requests: Arc::clone(&requests),
        };
        let tls = self
            .tls
            .as_ref()
            .map(|certificate| certificate.server_config(&self.protocols));
        let (server, address) = HttpServer::on_tcp(SocketAddr::new(address, 0), tls, service);
        MockServer {
            _server: server,
            host: self.host,
            port: address.port(),
            certificate: self.tls,
            requests,
        }
    }
}

/// A running honeypot.
#[derive(Debug)]
pub struct MockServer {
    _server: HttpServer,
    host: String,
    port: u16,
    certificate: Option<Certificate>,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl MockServer {
    /// A honeypot called `host`, a name or a loopback address, with a certificate of this authority.
    pub fn builder(authority: &Authority, host: &str) -> Builder {
        Builder {
            tls: Some(authority.issue(&[host])),
            host: host.to_owned(),
            protocols: vec!["h2", "http/1.1"],
            answer: Answer::Fixed {
                status: 200,
                headers: Vec::new(),
                body: "mock_server\n".to_owned(),
            },
        }
    }

    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        match self.host.parse() {
            Ok(address) => SocketAddr::new(address, self.port).to_string(),
            Err(_) => format!("{}:{}", self.host, self.port),
        }
    }

    /// Its URL with `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority())
    }

    /// Its certificate.
    ///
    /// # Panics
    /// When it is a plain one.
    pub fn certificate(&self) -> &Certificate {
        self.certificate
            .as_ref()
            .expect("a plain mock_server has no certificate")
    }

    /// Every request so far, in the order they came.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Forgets the requests so far.
    ///
    /// # Panics
    /// When a request was recorded by a thread that panicked.
    pub fn clear_requests(&self) {
        *self.requests.lock().unwrap() = Vec::new();
    }

    /// Waits until there are at least this many requests.
    ///
    /// # Panics
    /// When they don't come.
    pub fn wait_for_requests(&self, count: usize) -> Vec<RecordedRequest> {
        poll::wait_for("requests at the mock_server", || {
            Some(self.requests()).filter(|found| found.len() >= count)
        })
    }
}

/// One request with everything it carried.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// The request target as hyper saw it; with scheme and authority on HTTP/2.
    pub uri: String,
    /// The protocol.
    pub version: Version,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl RecordedRequest {
    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Everything as one text, to hunt secrets in.
    pub fn text(&self) -> String {
        let Self {
            method,
            uri,
            version,
            headers,
            body,
        } = self;
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        format!(
            "{method} {uri} {version:?}\n{headers}\n{}",
            String::from_utf8_lossy(body)
        )
    }
}

#[derive(Clone)]
struct RecordingService {
    answer: Answer,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl Handler for RecordingService {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let recorded = RecordedRequest {
            method: head.method.to_string(),
            uri: head.uri.to_string(),
            version: head.version,
            headers: head.headers,
            body,
        };
        let response = self.answer.to(&recorded);
        self.requests.lock().unwrap().push(recorded);
        response
    }
}

impl Answer {
    fn to(&self, request: &RecordedRequest) -> Response<Full<Bytes>> {
        let mut response = Response::builder();
        match self {
            Self::Fixed { status, headers, body } => {
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                let status = StatusCode::from_u16(*status).unwrap();
                response.status(status).body(Full::from(body.clone())).unwrap()
            }
            Self::Echo => {
                for (name, value) in &request.headers {
                    response = response.header(format!("echo-{name}"), value);
                }
                response.body(Full::from(request.text())).unwrap()
            }
        }
    }
}
