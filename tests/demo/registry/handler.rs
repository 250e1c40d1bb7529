//! Request handler of the registry: index, downloads and 401, with a record of every request. No I/O.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use serde_json::json;

/// Value of `Authorization` for a user name and a token (RFC 7617).
pub(crate) fn basic(username: &str, token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{token}")))
}

/// Access rules of the registry.
pub(crate) struct AccessRules {
    /// The only accepted value of `Authorization`.
    pub(crate) authorization: String,
    /// Value of `auth-required` in `config.json`. If true, cargo without a token of its own fails before it sends a
    /// request, so a proxy cannot help. If false, cargo sends its own token for `config.json` only.
    pub(crate) auth_required: bool,
}

/// Packaged crate, as `cargo package` makes it.
pub(crate) struct Crate {
    /// Name, four letters or more.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// Content of the `.crate` file.
    pub(crate) archive: Vec<u8>,
}

/// Request that the registry received, with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedRequest {
    /// Method and path.
    pub(crate) line: String,
    /// Value of `Authorization`.
    pub(crate) authorization: Option<String>,
    /// Status of the answer.
    pub(crate) status: u16,
}

/// Files of the registry, the accepted credential and the recorded requests.
pub(super) struct Handler {
    files: BTreeMap<String, Bytes>,
    authorization: Mutex<String>,
    requests: Mutex<Vec<RecordedRequest>>,
}

impl Handler {
    pub(super) fn new(origin: &str, rules: AccessRules, crates: Vec<Crate>) -> Self {
        let downloads = format!("{origin}/crates");
        let config = json!({ "dl": downloads, "api": origin, "auth-required": rules.auth_required });
        let mut files = BTreeMap::from([("/index/config.json".to_owned(), Bytes::from(config.to_string()))]);
        for krate in crates {
            files.insert(index_path(&krate.name), Bytes::from(index_line(&krate)));
            let download = format!("/crates/{}/{}/download", krate.name, krate.version);
            files.insert(download, Bytes::from(krate.archive));
        }
        Self {
            files,
            authorization: Mutex::new(rules.authorization),
            requests: Mutex::default(),
        }
    }

    pub(super) fn set_authorization(&self, authorization: &str) {
        authorization.clone_into(&mut lock(&self.authorization));
    }

    pub(super) fn take_requests(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut lock(&self.requests))
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let given = request.headers().get(AUTHORIZATION);
        let given = given.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let path = request.uri().path();
        let authorized = given.as_deref() == Some(lock(&self.authorization).as_str());
        let response = match self.files.get(path) {
            _ if !authorized => unauthorized(),
            Some(file) => Response::new(Full::new(file.clone())),
            None => plain(StatusCode::NOT_FOUND, "file not found in this registry\n"),
        };
        lock(&self.requests).push(RecordedRequest {
            line: format!("{} {path}", request.method()),
            authorization: given,
            status: response.status().as_u16(),
        });
        response
    }
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = plain(
        StatusCode::UNAUTHORIZED,
        "this registry requires a user name and a token\n",
    );
    let challenge = HeaderValue::from_static("Basic realm=\"corp\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

/// Path in the index for names of four letters or more (The Cargo Book, "Index Format").
fn index_path(name: &str) -> String {
    let pair = |start: usize| name.get(start..start + 2).unwrap_or_default();
    format!("/index/{}/{}/{name}", pair(0), pair(2))
}

fn index_line(krate: &Crate) -> String {
    let line = json!({
        "name": krate.name, "vers": krate.version, "deps": [], "features": {}, "yanked": false,
        "cksum": sha256(&krate.archive),
    });
    format!("{line}\n")
}

/// SHA-256 in hexadecimal. rustls contains the function, so the demo needs no further crate.
fn sha256(bytes: &[u8]) -> String {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let rustls::SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
        unreachable!("TLS13_AES_128_GCM_SHA256 is a suite of TLS 1.3");
    };
    let digest = suite.common.hash_provider.hash(bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_matches_the_fips_180_example() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn serves_files_only_with_the_accepted_authorization() {
        let rules = AccessRules {
            authorization: "Basic right".to_owned(),
            auth_required: false,
        };
        let handler = Handler::new("https://x", rules, Vec::new());
        let status = |path: &str, authorization: Option<&str>| {
            let mut request = Request::get(path);
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            handler.answer(&request.body(()).unwrap()).status().as_u16()
        };
        for path in ["/index/config.json", "/index/gr/ee/greeting", "/nowhere"] {
            assert_eq!(status(path, None), 401);
            assert_eq!(status(path, Some("Basic wrong")), 401);
        }
        assert_eq!(status("/index/config.json", Some("Basic right")), 200);
        assert_eq!(status("/nowhere", Some("Basic right")), 404);
        handler.set_authorization("Basic new");
        assert_eq!(status("/index/config.json", Some("Basic right")), 401);
        assert_eq!(status("/index/config.json", Some("Basic new")), 200);
        assert_eq!(handler.take_requests().len(), 10);
        assert!(handler.take_requests().is_empty());
    }
}
