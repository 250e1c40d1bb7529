//! Index and scopes of a registry.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use url::Url;

use crate::host::{Host, Origin};
use crate::policy::path;

/// Location of a registry's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// `sparse+https://…/`, RFC 2789. The URL ends with a slash.
    Sparse(Url),
    /// A git repository over HTTPS.
    Git(Url),
}

impl Index {
    /// URL without `sparse+`.
    pub fn url(&self) -> &Url {
        match self {
            Self::Sparse(url) | Self::Git(url) => url,
        }
    }

    /// Scope that covers the index itself.
    ///
    /// # Errors
    /// [`InvalidScope`] if the URL cannot be a scope.
    pub fn scope(&self) -> Result<Scope, InvalidScope> {
        Scope::from_url(self.url().clone())
    }
}

impl FromStr for Index {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let (sparse, rest) = match text.strip_prefix("sparse+") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut url = Url::parse(rest).map_err(|_| InvalidScope::NotAUrl)?;
        rest.parse::<Scope>()?;
        if !sparse {
            return Ok(Self::Git(url));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self::Sparse(url))
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sparse(url) => write!(f, "sparse+{url}"),
            Self::Git(url) => write!(f, "{url}"),
        }
    }
}

/// URL prefix `https://host[:port]/path/` that a registry covers, by whole path segments.
///
/// Spellings that every server treats as equal, such as `%40` and `@`, give equal scopes. A segment may contain an encoded
/// slash, as in GitLab's `team%2Fapp`. Requests must then encode it too.
///
/// # Examples
/// ```
/// use regauthd::registry::Scope;
///
/// let scope: Scope = "https://Corp.example:443/api/cargo".parse()?;
/// assert_eq!(scope.to_string(), "https://corp.example/api/cargo/");
/// assert!(scope.covers_path("/api/cargo/index/config.json"));
/// assert!(!scope.covers_path("/api/cargo-evil"));
/// assert!("http://corp.example/".parse::<Scope>().is_err());
/// # Ok::<(), regauthd::registry::InvalidScope>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// True for plain HTTP, which is allowed on loopback only.
    pub plain: bool,
    /// Host and port.
    pub origin: Origin,
    /// Path prefix in the literal form of [`path::Readings`]; begins and ends with `/`. Only `%2F` is left encoded.
    path: Box<str>,
    /// The prefix as a lenient server interprets it: `%2F` is a slash.
    lenient_path: Box<str>,
}

impl Scope {
    fn from_url(url: Url) -> Result<Self, InvalidScope> {
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            "ssh" | "git" => return Err(InvalidScope::NotHttp),
            _ => return Err(InvalidScope::NotAUrl),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidScope::UserInformation);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidScope::QueryOrFragment);
        }
        let host: Host = url
            .host_str()
            .and_then(|host| host.parse().ok())
            .ok_or(InvalidScope::NotAUrl)?;
        if plain && !host.is_loopback() {
            return Err(InvalidScope::PlainHttp);
        }
        let port = url
            .port_or_known_default()
            .filter(|port| *port != 0)
            .ok_or(InvalidScope::NotAUrl)?;
        let mut path = url.path().to_owned();
        if !path.ends_with('/') {
            path.push('/');
        }
        let (path, lenient_path) = parse_path(&path)?;
        Ok(Self {
            plain,
            origin: Origin { host, port },
            path,
            lenient_path,
        })
    }

    /// Path prefix in literal form (see [`path::Readings::literal`]); begins and ends with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path prefix as a lenient server interprets it.
    pub fn lenient_path(&self) -> &str {
        &self.lenient_path
    }

    /// Is a request's path, in literal form, inside the scope? `/cargo/` covers `/cargo` and `/cargo/x`, but not
    /// `/cargo-evil`.
    pub fn covers_path(&self, literal: &str) -> bool {
        literal.starts_with(&*self.path) || Some(literal) == self.path.strip_suffix('/')
    }

    /// Is a lenient server's interpretation of a path inside the scope, as that server interprets the scope?
    pub fn covers_lenient(&self, reading: &str) -> bool {
        reading.starts_with(&*self.lenient_path) || Some(reading) == self.lenient_path.strip_suffix('/')
    }

    /// As [`covers_lenient`](Self::covers_lenient), for a server that ignores the case of ASCII letters.
    pub fn covers_in_any_case(&self, reading: &str) -> bool {
        let prefix = self.lenient_path.trim_end_matches('/');
        reading.split_at_checked(prefix.len()).is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(prefix) && (rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Longest folder that is a prefix of the scope's path and of `path`.
    pub(crate) fn common_parent<'a>(&self, path: &'a str) -> &'a str {
        let pairs = self.path.bytes().zip(path.bytes());
        let common = pairs.take_while(|(one, other)| one == other).count();
        let end = path
            .get(..common)
            .and_then(|common| common.rfind('/'))
            .map_or(0, |slash| slash + 1);
        path.get(..end).unwrap_or_default()
    }

    /// The scope `path` on the same host; `/` if `path` is no folder of this scope.
    pub(crate) fn with_path(&self, path: &str) -> Self {
        let path = if self.path.starts_with(path) && path.ends_with('/') {
            path
        } else {
            "/"
        };
        Self {
            path: path.into(),
            ..self.clone()
        }
    }

    /// True if a request for the URL belongs to the scope. A path that could be read in more than one way does not.
    pub(crate) fn covers_url(&self, url: &Url) -> bool {
        let readings = crate::policy::path::readings(url.path());
        self.is_on_host_of(url)
            && readings.is_ok_and(|readings| readings.is_plain() && self.covers_path(readings.literal()))
    }

    /// True if the URL has the scope's host, port and URL scheme.
    pub(crate) fn is_on_host_of(&self, url: &Url) -> bool {
        let is_plain = url.scheme() == "http";
        let host = url.host_str().and_then(|host| host.parse::<Host>().ok());
        is_plain == self.plain
            && host.as_ref() == Some(&self.origin.host)
            && url.port_or_known_default() == Some(self.origin.port)
    }

    /// Is every request inside `other` inside `self` too?
    pub fn covers(&self, other: &Self) -> bool {
        self.plain == other.plain && self.origin == other.origin && other.path.starts_with(&*self.path)
    }

    /// As [`covers`](Self::covers), for a lenient server that ignores the case of ASCII letters.
    pub fn covers_leniently(&self, other: &Self) -> bool {
        self.plain == other.plain && self.origin == other.origin && self.covers_in_any_case(&other.lenient_path)
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        // The URL parser resolves dot segments silently, but a person who wrote one should get an error.
        let text = text.trim();
        let path = text
            .split_once("://")
            .and_then(|(_, rest)| rest.split(['?', '#']).next())
            .and_then(|rest| rest.split_once('/'))
            .map_or("", |(_, path)| path);
        parse_path(&format!("/{path}"))?;
        Self::from_url(Url::parse(text).map_err(|_| InvalidScope::NotAUrl)?)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default_port) = if self.plain { ("http", 80) } else { ("https", 443) };
        let path = utf8_percent_encode(&self.path, INVALID_IN_URL);
        if self.origin.port == default_port {
            write!(f, "{scheme}://{}{path}", self.origin.host)
        } else {
            write!(f, "{scheme}://{}{path}", self.origin)
        }
    }
}

/// Literal and lenient form of a scope's path. They may differ by encoded slashes only.
fn parse_path(text: &str) -> Result<(Box<str>, Box<str>), InvalidScope> {
    let readings = path::readings(text).map_err(|_| InvalidScope::AmbiguousPath)?;
    let literal = readings.literal();
    let with_slashes = literal.replace("%2F", "/");
    if readings.lenient().any(|reading| reading != with_slashes) {
        return Err(InvalidScope::AmbiguousPath);
    }
    Ok((literal.into(), with_slashes.into()))
}

/// Characters that a path in a URL cannot contain (RFC 3986, section 3.3). `%` is left out: in a scope it begins `%2F`.
const INVALID_IN_URL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Error of parsing a [`Scope`] or an [`Index`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// Text that is not `https://host/path/`.
    #[error("it is not a URL of the form https://host/path/")]
    NotAUrl,
    /// SSH or git URL, which carries no HTTP header.
    #[error("ssh and git URLs carry no HTTP credential; give the registry's https URL")]
    NotHttp,
    /// Plain HTTP beyond loopback, which would show the token to the network.
    #[error("plain http would show the token to the network; only https is allowed (loopback aside)")]
    PlainHttp,
    /// URL with user information: `https://user:password@host/`.
    #[error("it contains a user name or password; remove them, regauthctl asks for the token separately")]
    UserInformation,
    /// URL with a query or a fragment.
    #[error("it has a query or a fragment; a scope is a path and everything below it")]
    QueryOrFragment,
    /// Path with `..`, `//`, `%2e` and the like.
    #[error(
        "servers can interpret its path in more than one way (dots, double slashes, `;`, a backslash, or one of them \
         encoded); give the part of the path before it"
    )]
    AmbiguousPath,
}

#[cfg(test)]
mod tests;
