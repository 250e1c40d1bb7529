//! Record of one request, of fixed size: written by a worker, read by the collector.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http::uri::Authority;
use regauth_shared::RegistryName;
use regauth_shared::event::{self, EventKind, Exchange, MAX_PATH};

use crate::bearer::Bearer;
use crate::events::caller::Caller;
use crate::policy::Operation;

/// Facts about a request that has ended. Clones of shared values, so that a record costs no allocation.
#[derive(Clone, Debug)]
pub(crate) struct RequestRecord {
    /// Time of the end.
    pub(crate) ended: Instant,
    /// Time from the request's head to the end.
    pub(crate) total: Duration,
    /// Time from the request's head to the head of the registry's answer.
    pub(crate) first_byte: Option<Duration>,
    /// Time before the request was on its way to the registry.
    pub(crate) own: Option<Duration>,
    /// Client's end of the connection.
    pub(crate) caller: Arc<Caller>,
    /// Grant or token that the client has shown.
    pub(crate) bearer: Option<Bearer>,
    /// Registry whose scope covers the request.
    pub(crate) registry: Option<RegistryName>,
    /// Host and port.
    pub(crate) host: Option<Authority>,
    /// Method; `None` for a refused CONNECT.
    pub(crate) method: Option<Method>,
    /// Path without its query.
    pub(crate) path: PathText,
    /// Operation, once it is known.
    pub(crate) operation: Option<Operation>,
    /// Status that the client got.
    pub(crate) status: Option<u16>,
    /// Code of our refusal.
    pub(crate) code: Option<&'static str>,
    /// Generation that the request carried.
    pub(crate) generation: Option<u64>,
    /// Bytes of the request's body.
    pub(crate) bytes_up: u64,
    /// Bytes of the answer's body.
    pub(crate) bytes_down: u64,
    /// True if the connection to the registry has carried an earlier request.
    pub(crate) reused: Option<bool>,
    /// True if the audit record has the request already.
    pub(crate) is_recorded: bool,
}

impl RequestRecord {
    /// Record of a request of which nothing but its client is known.
    pub(crate) fn begin(caller: Arc<Caller>, now: Instant) -> Self {
        Self {
            ended: now,
            total: Duration::ZERO,
            first_byte: None,
            own: None,
            caller,
            bearer: None,
            registry: None,
            host: None,
            method: None,
            path: PathText::NONE,
            operation: None,
            status: None,
            code: None,
            generation: None,
            bytes_up: 0,
            bytes_down: 0,
            reused: None,
            is_recorded: false,
        }
    }

    /// Records the client's use of the registry. True for one more read of a client whose use is known: only subscribers to
    /// all requests need its event.
    pub(super) fn take_routine(&self) -> bool {
        let is_news = self.caller.take_news(self.registry.as_ref(), self.bearer.as_ref());
        self.code.is_none() && self.operation != Some(Operation::Write) && !is_news
    }

    /// The record as an event.
    pub(crate) fn to_event(&self) -> EventKind {
        let exchange = Exchange {
            registry: self.registry.clone(),
            host: self.host.as_ref().map(Authority::to_string),
            client: self.caller.view(self.bearer.as_ref()),
            operation: self.operation.map(|operation| match operation {
                Operation::Read => event::Operation::Read,
                Operation::Write => event::Operation::Write,
            }),
            method: (self.method.as_ref()).map(|method| cut(method.as_str(), MAX_METHOD).to_owned()),
            path: self.path.as_text().map(Cow::into_owned),
            status: self.status,
            code: self.code.map(str::to_owned),
            generation: self.generation,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            total_us: micros(self.total),
            first_byte_us: self.first_byte.map(micros),
            own_us: self.own.map(micros),
            reused: self.reused,
        };
        if self.code.is_some() {
            EventKind::Refusal(exchange)
        } else {
            EventKind::Request(exchange)
        }
    }
}

/// Path of a request, cut at [`MAX_PATH`] bytes and kept in place.
#[derive(Clone, Copy)]
pub(crate) struct PathText {
    bytes: [u8; MAX_PATH],
    /// Length before the cut, as far as it fits.
    length: u8,
    is_cut: bool,
}

impl PathText {
    /// No path.
    pub(crate) const NONE: Self = Self {
        bytes: [0; MAX_PATH],
        length: 0,
        is_cut: false,
    };

    /// Copies a path, with `…` for each segment that is a token of the client.
    pub(crate) fn new(path: &str) -> Self {
        let mut text = Self::NONE;
        let mut before = ["", ""];
        for (number, segment) in path.split('/').enumerate() {
            if number > 0 {
                text.push("/");
            }
            text.push(if is_token(before, segment) { "…" } else { segment });
            before = [before[1], segment];
        }
        text
    }

    fn push(&mut self, part: &str) {
        let (begin, room) = (usize::from(self.length), MAX_PATH - usize::from(self.length));
        let kept = if self.is_cut { 0 } else { part.floor_char_boundary(room) };
        self.is_cut |= kept < part.len();
        let to = self.bytes.iter_mut().skip(begin);
        for (to, from) in to.zip(part.as_bytes().iter().take(kept)) {
            *to = *from;
        }
        self.length = u8::try_from(begin + kept).unwrap_or(u8::MAX);
    }

    /// The path with `…` at a cut; `None` if there is none.
    pub(super) fn as_text(&self) -> Option<Cow<'_, str>> {
        let kept = self.bytes.get(..usize::from(self.length))?;
        let mut text = String::from_utf8_lossy(kept);
        if self.is_cut {
            text.to_mut().push('…');
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_text())
    }
}

/// True for a segment of a path that is a token: npm ends a login by `DELETE /-/user/token/TOKEN`, conda reads below
/// `/t/TOKEN/`, and some tokens have a prefix of their own.
fn is_token(before: [&str; 2], segment: &str) -> bool {
    let is_named = before == ["user", "token"] || before[1] == "t";
    (is_named && segment.len() >= MIN_TOKEN) || TOKEN_PREFIXES.iter().any(|prefix| segment.starts_with(prefix))
}

/// The text, cut to at most `length` bytes.
pub(super) fn cut(text: &str, length: usize) -> &str {
    text.get(..text.floor_char_boundary(length)).unwrap_or_default()
}

/// The duration in whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

const MIN_TOKEN: usize = 8;
const TOKEN_PREFIXES: [&str; 10] = [
    "eyJ",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "gldt-",
    "glpat-",
    "npm_",
    "pypi-Ag",
];
/// Longest method in an event. Any token is a method (RFC 9110, section 9.1).
pub(super) const MAX_METHOD: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_without_tokens_and_cut_between_characters() {
        let long = format!("/{}", "ä".repeat(MAX_PATH));
        for (path, kept) in [
            ("", None),
            ("/index/se/rd/serde", Some("/index/se/rd/serde".to_owned())),
            (long.as_str(), Some(format!("/{}…", "ä".repeat((MAX_PATH - 1) / 2)))),
        ] {
            assert_eq!(PathText::new(path).as_text().map(Cow::into_owned), kept, "{path}");
        }
        for (path, kept) in [
            ("/npm/-/user/token/0f5a3c0e-9a51-4c4e", "/npm/-/user/token/…"),
            (
                "/t/ab-1234567890/main/noarch/repodata.json",
                "/t/…/main/noarch/repodata.json",
            ),
            ("/simple/glpat-abcdefgh/x", "/simple/…/x"),
            (
                "/v2/corp/blobs/sha256:0f5a3c0e9a514c4e",
                "/v2/corp/blobs/sha256:0f5a3c0e9a514c4e",
            ),
            ("/se/rd/serde/", "/se/rd/serde/"),
        ] {
            assert_eq!(PathText::new(path).as_text().as_deref(), Some(kept), "{path}");
        }
        let exact = "x".repeat(MAX_PATH);
        assert_eq!(PathText::new(&exact).as_text().as_deref(), Some(exact.as_str()));
    }
}
