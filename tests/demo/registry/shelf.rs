//! What the registry answers, and its list of visits. No I/O: a request in, a response out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use serde_json::json;

/// The value of `Authorization` for a name and a token (RFC 7617).
pub(crate) fn basic(username: &str, token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{token}")))
}

/// On what terms the registry gives out files.
pub(crate) struct Terms {
    /// The one good value of `Authorization`.
    pub(crate) authorization: String,
    /// Whether `config.json` says `auth-required`. If not, cargo sends its own token to nothing but `config.json`; if
    /// so, cargo stops inside itself for want of a token of its own, whatever a proxy would add.
    pub(crate) auth_required: bool,
}

/// A packaged crate, as `cargo package` made it.
pub(crate) struct Crate {
    /// Its name; four letters or more.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// The `.crate` file.
    pub(crate) archive: Vec<u8>,
}

/// One request that the registry saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    /// The method and the path.
    pub(crate) request: String,
    /// What came as `Authorization`.
    pub(crate) authorization: Option<String>,
    /// What it was answered.
    pub(crate) status: u16,
}

/// The crates, who may have them, and who asked.
pub(super) struct Shelf {
    files: BTreeMap<String, Bytes>,
    authorization: Mutex<String>,
    visits: Mutex<Vec<Visit>>,
}

impl Shelf {
    pub(super) fn new(origin: &str, terms: Terms, crates: Vec<Crate>) -> Self {
        let downloads = format!("{origin}/crates");
        let config = json!({ "dl": downloads, "api": origin, "auth-required": terms.auth_required });
        let mut files = BTreeMap::from([("/index/config.json".to_owned(), Bytes::from(config.to_string()))]);
        for one in crates {
            files.insert(index_path(&one.name), Bytes::from(index_line(&one)));
            let download = format!("/crates/{}/{}/download", one.name, one.version);
            files.insert(download, Bytes::from(one.archive));
        }
        Self {
            files,
            authorization: Mutex::new(terms.authorization),
            visits: Mutex::default(),
        }
    }

    pub(super) fn change_authorization(&self, authorization: &str) {
        authorization.clone_into(&mut locked(&self.authorization));
    }

    pub(super) fn visits(&self) -> Vec<Visit> {
        std::mem::take(&mut locked(&self.visits))
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let given = request.headers().get(AUTHORIZATION);
        let given = given.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let path = request.uri().path();
        let welcome = given.as_deref() == Some(locked(&self.authorization).as_str());
        let response = match self.files.get(path) {
            _ if !welcome => unauthorized(),
            Some(file) => Response::new(Full::new(file.clone())),
            None => plain(StatusCode::NOT_FOUND, "no such file in this registry\n"),
        };
        locked(&self.visits).push(Visit {
            request: format!("{} {path}", request.method()),
            authorization: given,
            status: response.status().as_u16(),
        });
        response
    }
}

fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = plain(
        StatusCode::UNAUTHORIZED,
        "this registry is for colleagues: name and token, please\n",
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

/// The Cargo Book, "Index Format": names of four letters and more.
fn index_path(name: &str) -> String {
    let pair = |start: usize| name.get(start..start + 2).unwrap_or_default();
    format!("/index/{}/{}/{name}", pair(0), pair(2))
}

fn index_line(one: &Crate) -> String {
    let line = json!({
        "name": one.name, "vers": one.version, "deps": [], "features": {}, "yanked": false,
        "cksum": sha256(&one.archive),
    });
    format!("{line}\n")
}

/// In hexadecimal. rustls has the function, so the demo needs no crate for it.
fn sha256(bytes: &[u8]) -> String {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let rustls::SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
        unreachable!("TLS13_AES_128_GCM_SHA256 is a suite of TLS 1.3");
    };
    let digest = suite.common.hash_provider.hash(bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_that_of_fips_180() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn nothing_is_given_without_the_right_authorization() {
        let terms = Terms {
            authorization: "Basic right".to_owned(),
            auth_required: false,
        };
        let shelf = Shelf::new("https://x", terms, Vec::new());
        let status = |path: &str, authorization: Option<&str>| {
            let mut request = Request::get(path);
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            shelf.answer(&request.body(()).unwrap()).status().as_u16()
        };
        for path in ["/index/config.json", "/index/gr/ee/greeting", "/nowhere"] {
            assert_eq!(status(path, None), 401);
            assert_eq!(status(path, Some("Basic wrong")), 401);
        }
        assert_eq!(status("/index/config.json", Some("Basic right")), 200);
        assert_eq!(status("/nowhere", Some("Basic right")), 404);
        shelf.change_authorization("Basic new");
        assert_eq!(status("/index/config.json", Some("Basic right")), 401);
        assert_eq!(status("/index/config.json", Some("Basic new")), 200);
        assert_eq!(shelf.visits().len(), 10);
        assert!(shelf.visits().is_empty());
    }
}
