//! Token services of vendors, on TLS: each checks a request as its vendor documents it, identities by their signature, and
//! answers with a token that a registry accepts for exactly its life, or with the vendor's own error.
//!
//! One file a vendor. [`identity`] verifies identities; [`received`] is a request with the checks that all share.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;

use crate::auth_gate::AuthGate;
use crate::certificates::Authority;
use crate::http_server::{self, Handler, HttpServer};
use crate::openid_provider::OpenidProvider;

mod azure;
mod cloudsmith;
mod codeartifact;
mod github_app;
mod google;
mod identity;
mod jfrog;
mod received;
mod vault;

pub use github_app::app_key;
pub use identity::Identities;
use received::Received;

/// Vendor of a service.
#[derive(Clone, Debug)]
pub enum Vendor {
    /// JFrog: audience `jfrog`, provider `corp`.
    Jfrog,
    /// Cloudsmith: organization `corp`, service `ci`.
    Cloudsmith,
    /// Vault: role `ci`, `secret/cargo` in kv v2, `database/creds/ci` with leases.
    Vault,
    /// AWS: role `arn:aws:iam::123456789012:role/ci`, domain `corp`. Security tokens come from moto at this address.
    Codeartifact(SocketAddr),
    /// Google: provider `projects/1/locations/global/workloadIdentityPools/ci/providers/corp`.
    Google,
    /// Microsoft: tenant `corp`, client `app`.
    Azure,
    /// GitHub: client id `Iv23corp`, installation 42, the key of [`app_key`].
    GithubApp,
}

/// Behaviour other than the documented one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers 503 with `Retry-After: 1`.
    Down,
    /// Answers with a web page.
    WebPage,
    /// Redirects to a path of its own, `/stolen`.
    Redirect,
    /// Tells no end of its tokens.
    Endless,
    /// Sends a body without end.
    Flood,
}

/// Running service.
#[derive(Debug)]
pub struct TokenService {
    port: u16,
    state: Arc<State>,
    _server: HttpServer,
}

/// State that the requests share.
#[derive(Debug)]
struct State {
    vendor: Vendor,
    identities: Mutex<Identities>,
    gate: AuthGate,
    lifetime: Mutex<Duration>,
    fault: Mutex<Option<Fault>>,
    minted: Mutex<Vec<String>>,
    /// Ends of tokens. A lease that is renewed gets a later one.
    ends: Mutex<BTreeMap<String, Instant>>,
    /// Identities and other secrets that it was sent or gave besides.
    secrets: Mutex<Vec<String>>,
    requests: Mutex<Vec<String>>,
    /// Secrets of AWS by key id, logins of Vault.
    sessions: Mutex<BTreeMap<String, String>>,
    leases: AtomicUsize,
}

impl TokenService {
    /// Starts a service that trusts the identities of `provider`, and whose tokens `gate` accepts.
    pub fn start(vendor: Vendor, provider: &OpenidProvider, gate: &AuthGate, authority: &Authority) -> Self {
        let state = Arc::new(State {
            vendor,
            identities: Mutex::new(Identities::of(provider)),
            gate: gate.clone(),
            lifetime: Mutex::new(Duration::from_secs(3600)),
            fault: Mutex::default(),
            minted: Mutex::default(),
            ends: Mutex::default(),
            secrets: Mutex::default(),
            requests: Mutex::default(),
            sessions: Mutex::default(),
            leases: AtomicUsize::new(0),
        });
        let tls = authority.issue(&["localhost"]).server_config(&["h2", "http/1.1"]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (server, address) = HttpServer::on_tcp(address, Some(tls), Service(Arc::clone(&state)));
        Self {
            port: address.port(),
            state,
            _server: server,
        }
    }

    /// `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `https://localhost:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.host())
    }

    /// Sets the life of the tokens that it gives from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        *self.state.lifetime.lock().unwrap() = lifetime;
    }

    /// Begins or ends a fault.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// Trusts the identities of this provider and of no other, as after a change of keys.
    pub fn trust(&self, provider: &OpenidProvider) {
        *self.state.identities.lock().unwrap() = Identities::of(provider);
    }

    /// Accepts requests that these keys of AWS have signed. `session_token` is empty for keys without an end.
    pub fn accept_aws_keys(&self, id: &str, secret: &str, session_token: &str) {
        let session = format!("{secret} {session_token}");
        self.state.sessions.lock().unwrap().insert(id.to_owned(), session);
        self.state.note_secret(secret);
    }

    /// Tokens that it has given.
    pub fn minted(&self) -> Vec<String> {
        self.state.minted.lock().unwrap().clone()
    }

    /// Every secret of its requests and answers, for a leak scan.
    pub fn secrets(&self) -> Vec<String> {
        let others = self.state.secrets.lock().unwrap().clone();
        [self.minted(), others].concat()
    }

    /// Method, path and status of its requests.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl State {
    /// A new token, accepted by the registry until its end and a little longer, for requests under way.
    fn mint(self: &Arc<Self>) -> (String, u64) {
        let lifetime = self.lifetime();
        let mut minted = self.minted.lock().unwrap();
        let token = format!("minted-t0ken-of-the-service-{}", minted.len() + 1);
        minted.push(token.clone());
        self.accept(&token, lifetime);
        (token, lifetime.as_secs())
    }

    fn accept(self: &Arc<Self>, token: &str, lifetime: Duration) {
        self.gate.accept_also(token);
        let end = Instant::now() + lifetime;
        self.ends.lock().unwrap().insert(token.to_owned(), end);
        let (state, token) = (Arc::clone(self), token.to_owned());
        http_server::runtime().spawn(async move {
            tokio::time::sleep(lifetime + GRACE).await;
            if state.ends.lock().unwrap().get(&token) == Some(&end) {
                state.gate.reject(&token);
            }
        });
    }

    fn note_secret(&self, secret: &str) {
        self.secrets.lock().unwrap().push(secret.to_owned());
    }

    fn lifetime(&self) -> Duration {
        *self.lifetime.lock().unwrap()
    }

    fn fault(&self) -> Option<Fault> {
        *self.fault.lock().unwrap()
    }

    /// An identity of the job whose audience is one of these.
    fn verify(&self, token: &str, audiences: &[&str]) -> Result<(), String> {
        self.note_secret(token);
        let claims = self.identities.lock().unwrap().verify(token)?;
        let audience = claims["aud"].as_str().unwrap_or_default();
        if !audiences.contains(&audience) {
            return Err(format!("the audience {audience} is not accepted"));
        }
        if claims["repository"] != "corp/project" {
            return Err("the role is not for this repository".to_owned());
        }
        Ok(())
    }

    async fn answer(self: &Arc<Self>, request: &Received) -> Answer {
        match self.fault() {
            Some(Fault::Down) => return Answer::text(503, "text/plain", "down").header("retry-after", "1"),
            Some(Fault::WebPage) => return Answer::text(200, "text/html", "<html>sign in</html>"),
            Some(Fault::Redirect) => return Answer::text(307, "text/plain", "").header("location", "/stolen"),
            Some(Fault::Flood) => return Answer::text(200, "application/json", &" ".repeat(1 << 20)),
            Some(Fault::Endless) | None => {}
        }
        match &self.vendor {
            Vendor::Jfrog => jfrog::answer(self, request),
            Vendor::Cloudsmith => cloudsmith::answer(self, request),
            Vendor::Vault => vault::answer(self, request),
            Vendor::Codeartifact(moto) => codeartifact::answer(self, request, *moto).await,
            Vendor::Google => google::answer(self, request),
            Vendor::Azure => azure::answer(self, request),
            Vendor::GithubApp => github_app::answer(self, request),
        }
    }
}

/// Answer of a service.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    fn json(status: u16, document: &Value) -> Self {
        Self::text(status, "application/json", &document.to_string())
    }

    fn text(status: u16, kind: &str, body: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type", kind.to_owned())],
            body: body.to_owned(),
        }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

#[derive(Clone)]
struct Service(Arc<State>);

impl Handler for Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let request = Received::new(&head, &body);
        let answer = self.0.answer(&request).await;
        let line = format!("{} {} {}", request.method, request.path, answer.status);
        self.0.requests.lock().unwrap().push(line);
        let mut response = Response::new(Full::from(answer.body));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
        for (name, value) in answer.headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }
}

impl State {
    fn next_number(&self) -> usize {
        self.leases.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Time for requests that were sent with a token at its end.
const GRACE: Duration = Duration::from_millis(400);
