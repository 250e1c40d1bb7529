//! URL of a token service. Pure.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::host::Host;
use crate::proxy::upstream::dial::METADATA_SERVER;

/// URL of a token service: `https://`, or `http://` on loopback, without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(Url);

impl Endpoint {
    /// Endpoint at the root of a host, such as `corp.jfrog.io` or `localhost:8443`.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] if the text is no host with an optional port.
    pub(crate) fn of_host(text: &str) -> Result<Self, InvalidEndpoint> {
        if text.contains(['/', '?', '#', '@']) {
            return Err(InvalidEndpoint::NotAHost);
        }
        format!("https://{text}").parse().map_err(|_| InvalidEndpoint::NotAHost)
    }

    /// Google's metadata server, which is asked in the clear over the machine's own link. Its address needs no name, which
    /// somebody else could answer for.
    ///
    /// # Errors
    /// None: the address is valid.
    pub(super) fn of_metadata_server() -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(&format!("http://{METADATA_SERVER}/"));
        url.map(Self).map_err(|_| InvalidEndpoint::NotAUrl)
    }

    /// The URL with these path segments appended, each percent-encoded.
    pub(super) fn join<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut url = self.0.clone();
        // An http or https URL has path segments.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Self(url)
    }

    /// The URL with a slash at its end.
    pub(super) fn with_final_slash(self) -> Self {
        self.join([""])
    }

    /// The URL with these parameters appended to its query.
    pub(crate) fn with_query<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        Self(url)
    }

    /// Host and, if it is not the default, port.
    pub(super) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The URL.
    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// True for `http://`, which is for loopback only.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let url: Url = text.parse().map_err(|_| InvalidEndpoint::NotAUrl)?;
        let host = url.host_str().and_then(|host| host.parse::<Host>().ok());
        let host = host.ok_or(InvalidEndpoint::NotAUrl)?;
        let has_login = !url.username().is_empty() || url.password().is_some();
        match url.scheme() {
            _ if has_login || url.fragment().is_some() => Err(InvalidEndpoint::NotAUrl),
            "https" => Ok(Self(url)),
            "http" if host.is_loopback() => Ok(Self(url)),
            "http" => Err(InvalidEndpoint::InTheClear),
            _ => Err(InvalidEndpoint::NotAUrl),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is no endpoint. The text is not repeated: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidEndpoint {
    /// Not a URL of the wanted form.
    #[error("expected a URL such as https://login.corp.example/token, without a user and a fragment")]
    NotAUrl,
    /// Not a host.
    #[error("expected a host such as corp.jfrog.io, without https:// and path")]
    NotAHost,
    /// `http://` beyond loopback.
    #[error("a token service is asked over https://; http:// is for loopback only")]
    InTheClear,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_https_or_on_loopback() {
        for (text, expected) in [
            ("https://login.example/token", Ok("https://login.example/token")),
            ("https://login.example", Ok("https://login.example/")),
            ("http://127.0.0.1:8200/", Ok("http://127.0.0.1:8200/")),
            ("http://localhost:8200", Ok("http://localhost:8200/")),
            ("http://login.example/", Err(InvalidEndpoint::InTheClear)),
            ("http://169.254.169.254/", Err(InvalidEndpoint::InTheClear)),
            ("https://me@login.example/", Err(InvalidEndpoint::NotAUrl)),
            ("https://login.example/#a", Err(InvalidEndpoint::NotAUrl)),
            ("ftp://login.example/", Err(InvalidEndpoint::NotAUrl)),
            ("login.example", Err(InvalidEndpoint::NotAUrl)),
        ] {
            let found = text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
        assert_eq!(
            Endpoint::of_host("corp.example:8443").unwrap().host(),
            "corp.example:8443"
        );
        for text in ["https://corp.example", "corp.example/x", "me@corp.example", ""] {
            assert_eq!(Endpoint::of_host(text), Err(InvalidEndpoint::NotAHost), "{text}");
        }
    }

    #[test]
    fn segments_are_encoded_and_never_leave_their_place() {
        let endpoint: Endpoint = "https://vault.example/base/".parse().unwrap();
        let joined = endpoint.join(["v1", "a/b", "..", "c?d"]);
        assert_eq!(joined.to_string(), "https://vault.example/base/v1/a%2Fb/c%3Fd");
    }
}
