//! Registry whose answer depends on the path and on the token, as real ones are: it says no to a bad token with any
//! status, and no to a good token on some paths. Its rules can change while it runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::certificates::Authority;
use crate::http_server::{Handler, HttpServer};

/// Running server on `localhost`.
#[derive(Debug)]
pub struct PathServer {
    _server: HttpServer,
    port: u16,
    authority: Authority,
    shared: Arc<Mutex<Shared>>,
}

/// Status, headers and body of an answer.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

#[derive(Debug, Default)]
struct Shared {
    tokens: Vec<String>,
    /// Answers by prefix of the path: to everybody, or to clients with a good token.
    rules: Vec<(String, bool, Answer)>,
    rejection: Option<Answer>,
    requests: Vec<(String, Option<String>, u16)>,
}

impl PathServer {
    /// Server that accepts `Authorization: Bearer TOKEN` on every path, and answers 401 to others.
    pub fn start(token: &str) -> Self {
        let authority = Authority::new("Corp Root");
        let certificate = authority.issue(&["localhost"]);
        let shared = Arc::new(Mutex::new(Shared {
            tokens: vec![token.to_owned()],
            ..Shared::default()
        }));
        let tls = certificate.server_config(&["h2", "http/1.1"]);
        let service = Service(Arc::clone(&shared));
        let (server, address) = HttpServer::on_tcp(([127, 0, 0, 1], 0).into(), Some(tls), service);
        Self {
            _server: server,
            port: address.port(),
            authority,
            shared,
        }
    }

    /// Sets the answer to requests with a good token below a path. The longest path counts.
    pub fn answer(&self, path: &str, status: u16, headers: &[(&str, &str)], body: &str) -> &Self {
        self.rule(path, false, Answer::new(status, headers, body))
    }

    /// Sets the answer to all requests below a path, with any token or none.
    pub fn answer_everybody(&self, path: &str, status: u16, headers: &[(&str, &str)], body: &str) -> &Self {
        self.rule(path, true, Answer::new(status, headers, body))
    }

    /// Sets the answer to a bad token or none.
    pub fn reject_with(&self, status: u16, headers: &[(&str, &str)]) -> &Self {
        self.shared().rejection = Some(Answer::new(status, headers, "rejected\n"));
        self
    }

    /// Sets the good tokens.
    pub fn accept(&self, tokens: &[&str]) -> &Self {
        self.shared().tokens = tokens.iter().map(|&token| token.to_owned()).collect();
        self
    }

    /// URL with `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// File of its root certificate.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// Tokens of the requests for a path so far, in order of arrival; empty for a request without one.
    pub fn tokens(&self, path: &str) -> Vec<String> {
        let shared = self.shared();
        let same = shared.requests.iter().filter(|(known, ..)| known == path);
        same.map(|(_, token, _)| token.clone().unwrap_or_default()).collect()
    }

    /// Number of requests with a token so far that got this status.
    pub fn count(&self, status: u16) -> usize {
        let is_counted = |(_, token, got): &&(String, Option<String>, u16)| token.is_some() && *got == status;
        self.shared().requests.iter().filter(is_counted).count()
    }

    /// Paths of the requests with a token so far, in order of arrival.
    pub fn paths_with_token(&self) -> Vec<String> {
        let shared = self.shared();
        let with_token = shared.requests.iter().filter(|(_, token, _)| token.is_some());
        with_token.map(|(path, ..)| path.clone()).collect()
    }

    fn rule(&self, path: &str, for_everybody: bool, answer: Answer) -> &Self {
        let mut shared = self.shared();
        shared.rules.retain(|(known, ..)| known != path);
        shared.rules.push((path.to_owned(), for_everybody, answer));
        shared.rules.sort_by_key(|(path, ..)| std::cmp::Reverse(path.len()));
        drop(shared);
        self
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }
}

impl Answer {
    fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            status,
            headers: headers.iter().map(owned).collect(),
            body: body.to_owned(),
        }
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        response.body(Full::from(self.body.clone())).unwrap()
    }
}

impl Shared {
    fn answer(&self, path: &str, token: Option<&str>) -> Answer {
        let is_good = token.is_some_and(|token| self.tokens.iter().any(|good| good == token));
        let rule = self.rules.iter().find(|(prefix, ..)| path.starts_with(prefix.as_str()));
        match rule {
            Some((_, for_everybody, answer)) if *for_everybody || is_good => answer.clone(),
            _ if is_good => Answer::new(200, &[], "good\n"),
            _ => {
                let default = || Answer::new(401, &[("www-authenticate", "Basic realm=\"corp\"")], "rejected\n");
                self.rejection.clone().unwrap_or_else(default)
            }
        }
    }
}

#[derive(Clone)]
struct Service(Arc<Mutex<Shared>>);

impl Handler for Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get("authorization");
        let token = authorization.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let token = token.map(|value| value.strip_prefix("Bearer ").unwrap_or(&value).to_owned());
        let mut shared = self.0.lock().unwrap();
        let answer = shared.answer(&path, token.as_deref());
        shared.requests.push((path, token, answer.status));
        answer.response()
    }
}
