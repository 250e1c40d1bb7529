//! OAuth 2.0 server for logins with a code, which rotates refresh tokens and ends a login whose token is sent twice (RFC 9700,
//! section 4.14.2). It holds an answer until the test releases it: the refresh token of that request is spent by then.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::auth_gate::AuthGate;
use crate::http_server::{Handler, HttpServer};
use crate::poll;

/// Running server.
#[derive(Debug)]
pub struct DeviceService {
    port: u16,
    state: Arc<State>,
    _server: HttpServer,
}

#[derive(Debug)]
struct State {
    gate: AuthGate,
    /// Number of the last code or token.
    last: AtomicUsize,
    confirmed: AtomicBool,
    down: AtomicBool,
    poll_error: Mutex<Option<&'static str>>,
    has_ended: AtomicBool,
    lifetime: Mutex<Duration>,
    /// Refresh tokens, and whether each was sent already.
    refresh_tokens: Mutex<BTreeMap<String, bool>>,
    reuses: AtomicUsize,
    polls: AtomicUsize,
    holds: watch::Sender<bool>,
    held: AtomicUsize,
}

impl DeviceService {
    /// Starts a server whose access tokens `gate` accepts. Nobody has confirmed its codes.
    pub fn start(gate: &AuthGate) -> Self {
        let state = Arc::new(State {
            gate: gate.clone(),
            last: AtomicUsize::new(0),
            confirmed: AtomicBool::new(false),
            down: AtomicBool::new(false),
            poll_error: Mutex::default(),
            has_ended: AtomicBool::new(false),
            lifetime: Mutex::new(Duration::from_secs(3600)),
            refresh_tokens: Mutex::default(),
            reuses: AtomicUsize::new(0),
            polls: AtomicUsize::new(0),
            holds: watch::Sender::new(false),
            held: AtomicUsize::new(0),
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (server, address) = HttpServer::on_tcp(address, None, Service(Arc::clone(&state)));
        Self {
            port: address.port(),
            state,
            _server: server,
        }
    }

    /// Source of a login at this server, for `--source`.
    pub fn source(&self) -> String {
        let url = format!("http://127.0.0.1:{}", self.port);
        format!("oauth:token-url={url}/token,device-url={url}/device,client-id=person,identity=device")
    }

    /// Confirms all codes, as a person does on the server's page.
    pub fn confirm(&self) {
        self.state.confirmed.store(true, Ordering::SeqCst);
    }

    /// Answers 503 to everything, or no more.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    /// Answers polls with this error (RFC 8628, section 3.5), or no more.
    pub fn set_poll_error(&self, code: Option<&'static str>) {
        *self.state.poll_error.lock().unwrap() = code;
    }

    /// Ends the login, as its owner can: the refresh token is revoked.
    pub fn end_login(&self) {
        self.state.has_ended.store(true, Ordering::SeqCst);
    }

    /// Sets the life of the access tokens that it gives from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        *self.state.lifetime.lock().unwrap() = lifetime;
    }

    /// Holds the answers to requests with a confirmed code or a refresh token from now on.
    pub fn hold(&self) {
        self.state.held.store(0, Ordering::SeqCst);
        self.state.holds.send_replace(true);
    }

    /// Waits for a request whose answer is held.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`].
    pub fn wait_for_held(&self) {
        poll::wait_for("a held answer", || {
            (self.state.held.load(Ordering::SeqCst) > 0).then_some(())
        });
    }

    /// Sends the held answers, and holds no more.
    pub fn release(&self) {
        self.state.holds.send_replace(false);
    }

    /// Number of requests with a refresh token that was sent before. After the first, the login has ended.
    pub fn reuses(&self) -> usize {
        self.state.reuses.load(Ordering::SeqCst)
    }

    /// Number of requests with a device code.
    pub fn polls(&self) -> usize {
        self.state.polls.load(Ordering::SeqCst)
    }

    /// Refresh tokens that it has given, for a leak scan.
    pub fn refresh_tokens(&self) -> Vec<String> {
        self.state.refresh_tokens.lock().unwrap().keys().cloned().collect()
    }
}

impl State {
    fn next(&self, kind: &str) -> String {
        format!("{kind}-of-the-person-{}", self.last.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn tokens(&self) -> (u16, Value) {
        let [access, refresh] = ["access-t0ken", "refresh-t0ken"].map(|kind| self.next(kind));
        self.gate.accept_also(&access);
        self.refresh_tokens.lock().unwrap().insert(refresh.clone(), false);
        let lifetime = self.lifetime.lock().unwrap().as_secs();
        let document = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": lifetime, "refresh_token": refresh,
        });
        (200, document)
    }

    /// Answer, and whether it may be held.
    fn answer(&self, path: &str, form: &BTreeMap<String, String>) -> ((u16, Value), bool) {
        let error = |code: &str| ((400, json!({ "error": code })), false);
        if self.down.load(Ordering::SeqCst) {
            return ((503, Value::Null), false);
        }
        if path == "/device" {
            let document = json!({
                "device_code": self.next("device-c0de"), "user_code": "ABCD", "expires_in": 600, "interval": 1,
                "verification_uri": "https://login.example/device",
            });
            return ((200, document), false);
        }
        if form.contains_key("device_code") {
            self.polls.fetch_add(1, Ordering::SeqCst);
            if let Some(code) = *self.poll_error.lock().unwrap() {
                return error(code);
            }
            return match self.confirmed.load(Ordering::SeqCst) {
                true => (self.tokens(), true),
                false => error("authorization_pending"),
            };
        }
        if self.has_ended.load(Ordering::SeqCst) {
            return error("invalid_grant");
        }
        let sent = form.get("refresh_token").cloned().unwrap_or_default();
        let was_sent = self.refresh_tokens.lock().unwrap().insert(sent, true);
        if was_sent != Some(false) || self.reuses() > 0 {
            self.reuses.fetch_add(1, Ordering::SeqCst);
            return error("invalid_grant");
        }
        (self.tokens(), true)
    }

    fn reuses(&self) -> usize {
        self.reuses.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Service(Arc<State>);

impl Handler for Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        let form = url::form_urlencoded::parse(&body.unwrap_or_default())
            .into_owned()
            .collect();
        let ((status, document), may_be_held) = self.0.answer(&path, &form);
        let mut holds = self.0.holds.subscribe();
        if may_be_held && *holds.borrow_and_update() {
            self.0.held.fetch_add(1, Ordering::SeqCst);
            let _ = holds.wait_for(|holds| !holds).await;
        }
        let mut response = Response::new(Full::from(document.to_string()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }
}
