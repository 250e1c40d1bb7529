//! Container registry with a token service on the same host (distribution, "Token Authentication Specification"): each
//! request needs a short token for its repository, and every token can be ended.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::auth_gate::Scheme;
use crate::certificates::Authority;
use crate::http_server::{Handler, HttpServer};

/// Running registry.
#[derive(Debug)]
pub struct TokenRegistry {
    authority: Authority,
    port: u16,
    state: Arc<Mutex<State>>,
    _server: HttpServer,
}

#[derive(Debug)]
struct State {
    /// Value of Authorization that the token service accepts.
    password: String,
    realm: String,
    life: u64,
    fault: Option<StatusCode>,
    storage: String,
    /// Short tokens in force, with their scopes.
    tokens: BTreeMap<String, String>,
    issued: Vec<String>,
    scopes: Vec<String>,
    requests: Vec<(String, Option<String>)>,
}

impl TokenRegistry {
    /// Starts a registry whose token service takes this user's password.
    pub fn start(user: &str, password: &str) -> Self {
        let authority = Authority::new("Corp Root");
        let state = Arc::new(Mutex::new(State {
            password: Scheme::basic(user).value(password),
            realm: String::new(),
            life: 300,
            fault: None,
            storage: String::new(),
            tokens: BTreeMap::new(),
            issued: Vec::new(),
            scopes: Vec::new(),
            requests: Vec::new(),
        }));
        let tls = authority.issue(&["localhost"]).server_config(&["h2", "http/1.1"]);
        let service = Service(Arc::clone(&state));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (server, address) = HttpServer::on_tcp(address, Some(tls), service);
        let registry = Self {
            authority,
            port: address.port(),
            state,
            _server: server,
        };
        registry.set_realm(&registry.url("/token"));
        registry
    }

    /// URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Private root.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Private root as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// Sends clients to this token service from now on.
    pub fn set_realm(&self, realm: &str) {
        realm.clone_into(&mut self.lock().realm);
    }

    /// Sets the password that the token service takes from now on.
    pub fn set_password(&self, user: &str, password: &str) {
        self.lock().password = Scheme::basic(user).value(password);
    }

    /// Sets the life of the tokens from now on, in seconds.
    pub fn set_life(&self, seconds: u64) {
        self.lock().life = seconds;
    }

    /// Answers all requests for a token with this status and a web page, or again with tokens.
    pub fn set_fault(&self, status: Option<u16>) {
        self.lock().fault = status.map(|status| StatusCode::from_u16(status).unwrap());
    }

    /// Redirects requests for blobs to this URL.
    pub fn set_storage(&self, url: &str) {
        url.clone_into(&mut self.lock().storage);
    }

    /// Accepts no token any more that was given until now.
    pub fn end_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// Tokens that were given.
    pub fn issued(&self) -> Vec<String> {
        self.lock().issued.clone()
    }

    /// Scopes of the tokens that were given, each with spaces between.
    pub fn scopes(&self) -> Vec<String> {
        self.lock().scopes.clone()
    }

    /// Method and path of each request, and its Authorization.
    pub fn requests(&self) -> Vec<(String, Option<String>)> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn answer(&mut self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get(AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let line = format!("{} {path}", request.method());
        self.requests.push((line, authorization.clone()));
        match path.as_str() {
            "/token" => self.give(authorization.as_deref(), request.uri().query().unwrap_or_default()),
            _ if self.admits(authorization.as_deref(), request.method(), &path) => self.serve(&path),
            _ => self.challenge(),
        }
    }

    fn give(&mut self, authorization: Option<&str>, query: &str) -> Response<Full<Bytes>> {
        if let Some(status) = self.fault {
            return answer(status, "<html>down</html>".to_owned());
        }
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let is_known = pairs.iter().any(|(name, value)| name == "service" && value == "corp");
        if authorization != Some(&self.password) || !is_known {
            return answer(StatusCode::UNAUTHORIZED, json!({"errors": []}).to_string());
        }
        let scopes: Vec<_> = pairs.iter().filter(|(name, _)| name == "scope").collect();
        let scopes: Vec<&str> = scopes.iter().map(|(_, scope)| scope.as_str()).collect();
        let token = format!("short-t0ken-number-{}", self.issued.len());
        self.scopes.push(scopes.join(" "));
        self.tokens.insert(token.clone(), scopes.join(" "));
        self.issued.push(token.clone());
        answer(
            StatusCode::OK,
            json!({"token": token, "expires_in": self.life}).to_string(),
        )
    }

    fn admits(&self, authorization: Option<&str>, method: &Method, path: &str) -> bool {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let Some(scopes) = token.and_then(|token| self.tokens.get(token)) else {
            return false;
        };
        let action = if *method == Method::GET || *method == Method::HEAD {
            "pull"
        } else {
            "push"
        };
        let is_for = |scope: &str| {
            let (name, actions) = scope.trim_start_matches("repository:").split_once(':').unwrap();
            path.starts_with(&format!("/v2/{name}/")) && actions.split(',').any(|given| given == action)
        };
        path == "/v2/" || scopes.split(' ').any(is_for)
    }

    fn serve(&self, path: &str) -> Response<Full<Bytes>> {
        if path.contains("/blobs/") && !self.storage.is_empty() {
            let mut response = answer(StatusCode::TEMPORARY_REDIRECT, String::new());
            let location = HeaderValue::from_str(&self.storage).unwrap();
            response.headers_mut().insert(LOCATION, location);
            return response;
        }
        answer(StatusCode::OK, "content".to_owned())
    }

    fn challenge(&self) -> Response<Full<Bytes>> {
        let mut response = answer(StatusCode::UNAUTHORIZED, json!({"errors": []}).to_string());
        let challenge = format!(
            "Bearer realm=\"{}\",service=\"corp\",scope=\"repository:x:pull\"",
            self.realm
        );
        let challenge = HeaderValue::from_str(&challenge).unwrap();
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}

fn answer(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

#[derive(Clone)]
struct Service(Arc<Mutex<State>>);

impl Handler for Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.0.lock().unwrap().answer(&request)
    }
}
