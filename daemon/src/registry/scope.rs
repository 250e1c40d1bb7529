//! Index and scopes of a registry.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::host::{Host, Origin};

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
    /// Path prefix; begins and ends with `/`.
    path: Box<str>,
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
        if crate::policy::path::is_ambiguous(&path) {
            return Err(InvalidScope::AmbiguousPath);
        }
        Ok(Self {
            plain,
            origin: Origin { host, port },
            path: path.into(),
        })
    }

    /// Path prefix; begins and ends with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Is a request's path inside the scope? `/cargo/` covers `/cargo` and `/cargo/x`, but not `/cargo-evil`.
    pub fn covers_path(&self, path: &str) -> bool {
        path.starts_with(&*self.path) || Some(path) == self.path.strip_suffix('/')
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
        self.is_on_host_of(url) && !crate::policy::path::is_ambiguous(url.path()) && self.covers_path(url.path())
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
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        // The URL parser resolves dot segments silently, but a person who wrote one should get an error.
        let path = text
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(_, path)| path);
        if crate::policy::path::is_ambiguous(&format!("/{path}")) {
            return Err(InvalidScope::AmbiguousPath);
        }
        Self::from_url(Url::parse(text).map_err(|_| InvalidScope::NotAUrl)?)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default_port) = if self.plain { ("http", 80) } else { ("https", 443) };
        if self.origin.port == default_port {
            write!(f, "{scheme}://{}{}", self.origin.host, self.path)
        } else {
            write!(f, "{scheme}://{}{}", self.origin, self.path)
        }
    }
}

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
    #[error("servers can interpret its path in more than one way (dot segments, double slashes or encoded ones)")]
    AmbiguousPath,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_cover_whole_segments() {
        let scope: Scope = "https://corp.example/cargo".parse().unwrap();
        for (path, covered) in [
            ("/cargo", true),
            ("/cargo/", true),
            ("/cargo/a/b", true),
            ("/cargo-evil", false),
            ("/cargo.evil/x", false),
            ("/", false),
            ("/Cargo/x", false),
        ] {
            assert_eq!(scope.covers_path(path), covered, "{path}");
        }
    }

    #[test]
    fn equal_scopes_have_one_form() {
        for (text, form) in [
            ("https://Corp.Example", "https://corp.example/"),
            ("https://corp.example:443/a", "https://corp.example/a/"),
            ("https://corp.example:8443/a/", "https://corp.example:8443/a/"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
            ("https://[::1]/x", "https://[::1]/x/"),
        ] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), form, "{text}");
        }
    }

    #[test]
    fn refuses_unsafe_and_ambiguous_scopes() {
        for (text, error) in [
            ("http://corp.example/", InvalidScope::PlainHttp),
            ("https://me:pw@corp.example/", InvalidScope::UserInformation),
            ("https://corp.example/?a", InvalidScope::QueryOrFragment),
            ("ssh://git@corp.example/x", InvalidScope::NotHttp),
            ("corp.example", InvalidScope::NotAUrl),
            ("https://corp.example/a/../b/", InvalidScope::AmbiguousPath),
            ("https://corp.example/a//b/", InvalidScope::AmbiguousPath),
            ("https://corp.example/a%2fb/", InvalidScope::AmbiguousPath),
        ] {
            assert_eq!(text.parse::<Scope>(), Err(error), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_printed_scope_reads_back_and_covers_whole_segments(
            text in "https?://[a-zA-Z0-9.@:\\[\\]-]{1,16}(/[a-z.%/;?#-]{0,12}){0,2}",
            more in "[a-z.%/;-]{0,8}",
        ) {
            if let Ok(scope) = text.parse::<Scope>() {
                proptest::prop_assert_eq!(scope.to_string().parse(), Ok(scope.clone()));
                proptest::prop_assert!(!scope.plain || scope.origin.host.is_loopback());
                let bare = scope.path().trim_end_matches('/');
                let covered = scope.covers_path(&format!("{bare}{more}"));
                proptest::prop_assert_eq!(covered, more.is_empty() || more.starts_with('/'));
            }
        }
    }
}
