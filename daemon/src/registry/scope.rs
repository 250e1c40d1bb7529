//! Where a registry is: its index and its scopes.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::host::{Host, Origin};

/// Where a registry's index is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// `sparse+https://…/`, RFC 2789. The URL ends with a slash.
    Sparse(Url),
    /// A git repository over HTTPS.
    Git(Url),
}

impl Index {
    /// Where it is, without `sparse+`.
    pub fn url(&self) -> &Url {
        match self {
            Self::Sparse(url) | Self::Git(url) => url,
        }
    }

    /// The scope that covers the index itself.
    ///
    /// # Errors
    /// [`InvalidScope`] when the URL cannot be a scope.
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

/// `https://host[:port]/path/`: an origin and a path prefix of whole segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Plain HTTP, which is allowed on loopback only.
    pub plain: bool,
    /// The host and port.
    pub origin: Origin,
    /// Begins and ends with `/`.
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
        if crate::policy::path::readings_differ(&path) {
            return Err(InvalidScope::AmbiguousPath);
        }
        Ok(Self {
            plain,
            origin: Origin { host, port },
            path: path.into(),
        })
    }

    /// The path prefix; begins and ends with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a request's path is inside, by whole segments: `/cargo/` covers `/cargo` and `/cargo/x`, never
    /// `/cargo-evil`.
    pub fn covers_path(&self, path: &str) -> bool {
        path.starts_with(&*self.path) || Some(path) == self.path.strip_suffix('/')
    }

    /// Whether every request inside `other` is inside `self`.
    pub fn covers(&self, other: &Self) -> bool {
        self.plain == other.plain && self.origin == other.origin && other.path.starts_with(&*self.path)
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        // The URL parser resolves dot segments silently; a person who wrote one should hear of it.
        let path = text
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(_, path)| path);
        if crate::policy::path::readings_differ(&format!("/{path}")) {
            return Err(InvalidScope::AmbiguousPath);
        }
        Self::from_url(Url::parse(text).map_err(|_| InvalidScope::NotAUrl)?)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.plain { ("http", 80) } else { ("https", 443) };
        if self.origin.port == usual {
            write!(f, "{scheme}://{}{}", self.origin.host, self.path)
        } else {
            write!(f, "{scheme}://{}{}", self.origin, self.path)
        }
    }
}

/// Why a text is not a scope or an index.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// Not `https://host/path/`.
    #[error("it is not a URL of the form https://host/path/")]
    NotAUrl,
    /// SSH and git URLs carry no HTTP header.
    #[error("ssh and git URLs carry no HTTP credential; give the registry's https URL")]
    NotHttp,
    /// Plain HTTP beyond loopback would show the token to the network.
    #[error("plain http would show the token to the network; only https is allowed (loopback aside)")]
    PlainHttp,
    /// `https://user:password@host/`.
    #[error("it holds a user name or password; remove them, the token is asked for separately")]
    UserInformation,
    /// A query or fragment.
    #[error("it has a query or a fragment; a scope is a path and what lies below it")]
    QueryOrFragment,
    /// `..`, `//`, `%2e` and the like.
    #[error("its path can be read in more than one way (dot segments, double slashes or encoded ones)")]
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
    fn a_scope_has_one_form() {
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
    fn refuses_scopes_that_are_unsafe_or_unclear() {
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
        fn a_scope_is_what_it_says_it_is_and_covers_whole_segments(
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
