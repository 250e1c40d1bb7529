//! HTTP server that records every request with its headers and answers as configured. It stands for registries,
//! redirect targets and hosts that are no registry.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};

use crate::certificates::{Authority, Certificate};
use crate::http_server::{Handler, HttpServer};
use crate::poll;

/// Builder of a [`MockServer`].
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
    /// Serves plain HTTP.
    pub fn plain(mut self) -> Self {
        self.tls = None;
        self
    }

    /// Sets the protocols offered by ALPN. Default: `h2`, `http/1.1`.
    pub fn protocols(mut self, protocols: &[&'static str]) -> Self {
        protocols.clone_into(&mut self.protocols);
        self
    }

    /// Sets the response to every request. Default: 200, `mock server`.
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

    /// Answers with the request itself: its text in the body, and each header as `echo-NAME`.
    pub fn echo(mut self) -> Self {
        self.answer = Answer::Echo;
        self
    }

    /// Starts the server on a free port.
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

/// Running server.
#[derive(Debug)]
pub struct MockServer {
    _server: HttpServer,
    host: String,
    port: u16,
    certificate: Option<Certificate>,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl MockServer {
    /// Builder for `host`, a name or a loopback address, with a certificate of this authority.
    pub fn builder(authority: &Authority, host: &str) -> Builder {
        Builder {
            tls: Some(authority.issue(&[host])),
            host: host.to_owned(),
            protocols: vec!["h2", "http/1.1"],
            answer: Answer::Fixed {
                status: 200,
                headers: Vec::new(),
                body: "mock server\n".to_owned(),
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

    /// URL with `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority())
    }

    /// Certificate of the server.
    ///
    /// # Panics
    /// When the server is plain HTTP.
    pub fn certificate(&self) -> &Certificate {
        self.certificate
            .as_ref()
            .expect("a plain HTTP server has no certificate")
    }

    /// Requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Deletes the recorded requests.
    ///
    /// # Panics
    /// When a recording thread panicked.
    pub fn clear_requests(&self) {
        *self.requests.lock().unwrap() = Vec::new();
    }

    /// Waits for at least this many requests.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`].
    pub fn wait_for_requests(&self, count: usize) -> Vec<RecordedRequest> {
        poll::wait_for("requests at the mock server", || {
            Some(self.requests()).filter(|found| found.len() >= count)
        })
    }
}

/// Recorded request.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Method.
    pub method: String,
    /// Request target; on HTTP/2 with scheme and authority.
    pub uri: String,
    /// HTTP version.
    pub version: Version,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl RecordedRequest {
    /// Value of a header as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Whole request as one text, to scan for secrets.
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
