//! `[upstream]` and the URL of a corporate proxy, from the file or from an environment variable.
//!
//! [`ProxyUrl`] parses without the `url` crate, because that drops a port that is the scheme's default, and because
//! curl's defaults for an environment variable differ.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use toml::Spanned;

use crate::config::table_reader::TableReader;
use crate::host::{Host, Origin};

/// `[upstream]`: proxy settings for connections to registries and other hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamSettings {
    /// Corporate proxy for all connections. `None`: the environment decides.
    pub proxy: Option<ProxyUrl>,
    /// Hosts, suffixes and address ranges that are reached without the proxy. `None`: the environment decides, unless
    /// `proxy` is set.
    pub no_proxy: Option<Vec<String>>,
}

impl UpstreamSettings {
    /// True if the text can be an element of `no-proxy`.
    pub fn accepts_no_proxy(text: &str) -> bool {
        host_pattern(text).is_ok()
    }

    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        let no_proxy = table.list("no-proxy", host_pattern);
        Self {
            proxy: table.parsed("proxy", ProxyUrl::from_file),
            no_proxy: no_proxy.map(|hosts| hosts.into_iter().map(Spanned::into_inner).collect()),
        }
    }
}

/// URL of a corporate proxy. `Debug` and `Display` leave out the user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    /// Protocol that the proxy speaks.
    pub scheme: ProxyScheme,
    /// Address of the proxy.
    pub origin: Origin,
    /// User and password for the proxy.
    pub login: Option<ProxyLogin>,
}

impl ProxyUrl {
    /// Parses the value of `proxy` in the file. Without a port, `http://` means port 80.
    ///
    /// # Errors
    /// [`InvalidProxyUrl`]; the message repeats nothing of the text, which may hold a password.
    pub fn from_file(text: &str) -> Result<Self, InvalidProxyUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidProxyUrl::NotAProxy)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(InvalidProxyUrl::Path);
        }
        let scheme = ProxyScheme::parse(scheme)?;
        let default_port = if scheme == ProxyScheme::Http {
            80
        } else {
            scheme.default_port()
        };
        Self::new(scheme, authority, default_port)
    }

    /// Parses the value of an environment variable such as `https_proxy`, as curl does: the scheme is optional, a path is
    /// ignored, and the default port is 1080, or 443 with `https://`.
    ///
    /// # Errors
    /// [`InvalidProxyUrl`]; the message repeats nothing of the text.
    pub fn from_variable(text: &str) -> Result<Self, InvalidProxyUrl> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = ProxyScheme::parse(scheme)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Self::new(scheme, authority, scheme.default_port())
    }

    /// True if the URL has a user whose password is elsewhere.
    pub(crate) fn lacks_password(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.password.is_none())
    }

    /// Password of the URL.
    pub(crate) fn password(&self) -> Option<&str> {
        self.login.as_ref()?.password.as_deref()
    }

    /// True if the URL has a user and a password.
    pub(crate) fn has_password(&self) -> bool {
        self.password().is_some()
    }

    /// URL with this password for its user.
    #[must_use]
    pub(crate) fn with_password(&self, password: Option<String>) -> Self {
        let login = self.login.as_ref().map(|login| ProxyLogin {
            user: login.user.clone(),
            password,
        });
        Self { login, ..self.clone() }
    }

    /// Text for the file or the store, with user and password.
    pub(crate) fn to_text(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let login = self.login.as_ref().map_or_else(String::new, |login| {
            let password = login
                .password
                .as_deref()
                .map(|password| format!(":{}", encoded(password)));
            format!("{}{}@", encoded(&login.user), password.unwrap_or_default())
        });
        format!("{}://{login}{}", self.scheme.as_str(), self.origin)
    }

    fn new(scheme: ProxyScheme, authority: &str, default_port: u16) -> Result<Self, InvalidProxyUrl> {
        let (login, origin) = match authority.rsplit_once('@') {
            Some((login, origin)) => (Some(ProxyLogin::parse(login)?), origin),
            None => (None, authority),
        };
        Ok(Self {
            scheme,
            origin: Origin::parse(origin, Some(default_port)).map_err(|_| InvalidProxyUrl::NotAProxy)?,
            login,
        })
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.origin)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Protocol of a corporate proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP in the clear.
    Http,
    /// HTTP inside TLS, whose certificate is verified.
    Https,
    /// SOCKS5; the daemon resolves names.
    Socks5,
    /// SOCKS5; the proxy resolves names.
    Socks5h,
}

impl ProxyScheme {
    fn parse(text: &str) -> Result<Self, InvalidProxyUrl> {
        let known = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];
        let found = known
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()));
        found.ok_or(InvalidProxyUrl::Scheme)
    }

    /// Scheme of the URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// True if the proxy speaks SOCKS.
    pub fn is_socks(self) -> bool {
        matches!(self, Self::Socks5 | Self::Socks5h)
    }

    /// curl's default port.
    fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http | Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

/// User and password for a corporate proxy. It has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    /// User, decoded.
    pub user: String,
    /// Password, decoded. `None`: the URL has none.
    pub password: Option<String>,
}

impl ProxyLogin {
    fn parse(text: &str) -> Result<Self, InvalidProxyUrl> {
        let (user, password) = text
            .split_once(':')
            .map_or((text, None), |(user, rest)| (user, Some(rest)));
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().ok()?;
            let fits = text.len() <= MAX_LOGIN_BYTES && !text.contains(char::is_control);
            fits.then(|| text.into_owned())
        };
        let user = decoded(user).ok_or(InvalidProxyUrl::Login)?;
        let password = password.map(|password| decoded(password).ok_or(InvalidProxyUrl::Login));
        Ok(Self {
            user,
            password: password.transpose()?,
        })
    }
}

/// Error of the URL of a corporate proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxyUrl {
    /// Text that is no URL with a host.
    #[error("expected the URL of a proxy such as \"http://proxy.corp.example:3128\"")]
    NotAProxy,
    /// Protocol that the daemon does not speak.
    #[error("this kind of proxy is not supported; use an http://, https://, socks5h:// or socks5:// URL")]
    Scheme,
    /// URL with more than a host and a port.
    #[error("a proxy's URL ends after the port")]
    Path,
    /// User or password with bad percent-encoding or control characters, or longer than SOCKS5 allows.
    #[error("the user or password in a proxy's URL is not valid; write special characters as in %40 for @")]
    Login,
}

fn host_pattern(text: &str) -> Result<String, &'static str> {
    let has_separator = text.contains([',', ' ', '/']);
    if text.is_empty() || has_separator && !is_address_range(text) {
        return Err("expected one host, .suffix or address range for each string");
    }
    if has_port(text) {
        return Err("expected a host without a port; the host is reached without the proxy on all its ports");
    }
    Ok(text.to_owned())
}

/// True for an address range in CIDR notation, such as `10.0.0.0/8`.
fn is_address_range(text: &str) -> bool {
    let is_range = |(address, bits): (&str, &str)| {
        let longest = match address.parse().ok()? {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Some(bits.parse::<u8>().ok()? <= longest)
    };
    text.split_once('/').and_then(is_range) == Some(true)
}

fn has_port(text: &str) -> bool {
    text.parse::<Host>().is_err()
        && text
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Characters that a user or password may not have (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// RFC 1929, section 2. HTTP has no limit.
const MAX_LOGIN_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn described(parsed: Result<ProxyUrl, InvalidProxyUrl>) -> String {
        match parsed {
            Ok(url) => match url.login {
                Some(ref login) => format!("{url} {} {}", login.user, login.password.as_deref().unwrap_or("-")),
                None => url.to_string(),
            },
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn reads_a_variable_as_curl_does() {
        for (text, expected) in [
            ("http://proxy.corp:3128", "http://proxy.corp:3128"),
            ("http://proxy.corp:80", "http://proxy.corp:80"),
            ("proxy.corp:3128", "http://proxy.corp:3128"),
            ("proxy.corp", "http://proxy.corp:1080"),
            ("http://proxy.corp", "http://proxy.corp:1080"),
            ("https://proxy.corp", "https://proxy.corp:443"),
            ("HTTPS://proxy.corp/path?query", "https://proxy.corp:443"),
            ("socks5h://[::1]", "socks5h://[::1]:1080"),
            ("socks5://10.0.0.1:9050/", "socks5://10.0.0.1:9050"),
            ("me:pass%40word@proxy.corp:1", "http://proxy.corp:1 me pass@word"),
            ("http://me@proxy.corp:1", "http://proxy.corp:1 me -"),
            ("http://me:@proxy.corp:1", "http://proxy.corp:1 me "),
            ("http://me:p@ss@proxy.corp:1", "http://proxy.corp:1 me p@ss"),
            ("http://a%0ab:c@proxy.corp:1", "Login"),
            ("http://a%ffb:c@proxy.corp:1", "Login"),
            ("ftp://proxy.corp:1", "Scheme"),
            ("socks4a://proxy.corp:1", "Scheme"),
            ("socks://proxy.corp:1", "Scheme"),
            ("http://", "NotAProxy"),
            ("http://proxy.corp:0", "NotAProxy"),
            ("http://proxy.corp:70000", "NotAProxy"),
            ("not a proxy", "NotAProxy"),
        ] {
            assert_eq!(described(ProxyUrl::from_variable(text)), expected, "{text}");
        }
    }

    #[test]
    fn reads_a_url_of_the_file_without_guessing() {
        for (text, expected) in [
            ("http://proxy.corp", "http://proxy.corp:80"),
            ("http://proxy.corp:3128/", "http://proxy.corp:3128"),
            ("https://u:p@proxy.corp", "https://proxy.corp:443 u p"),
            ("socks5h://proxy.corp", "socks5h://proxy.corp:1080"),
            ("proxy.corp:3128", "NotAProxy"),
            ("http://proxy.corp/path", "Path"),
            ("http://proxy.corp?query", "Path"),
        ] {
            assert_eq!(described(ProxyUrl::from_file(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_url_that_is_written_reads_back_as_the_same() {
        for text in [
            "http://me:p%40ss%2Fword%3A@proxy.corp:3128",
            "socks5h://[::1]:1",
            "http://me@proxy.corp:3128",
            "http://me:@proxy.corp:3128",
            "https://proxy.corp",
        ] {
            let url = ProxyUrl::from_file(text).unwrap();
            assert_eq!(ProxyUrl::from_file(&url.to_text()), Ok(url), "{text}");
        }
    }

    #[test]
    fn accepts_every_form_of_no_proxy_that_works() {
        for (text, works) in [
            ("corp.example", true),
            (".corp.example", true),
            ("*.corp.example", true),
            ("*", true),
            ("10.0.0.0/8", true),
            ("fd00::/8", true),
            ("fd00::1", true),
            ("[fd00::1]", true),
            ("10.0.0.0/33", false),
            ("corp.example/8", false),
            ("corp.example:443", false),
            ("[fd00::1]:443", false),
            ("a b", false),
            ("a,b", false),
            ("", false),
        ] {
            assert_eq!(host_pattern(text).is_ok(), works, "{text}");
        }
    }

    #[test]
    fn shows_no_user_and_no_password() {
        let url = ProxyUrl::from_file("http://someone:canary@proxy.corp:3128").unwrap();
        let shown = format!("{url} {url:?}");
        assert!(!shown.contains("canary") && !shown.contains("someone"), "{shown}");
    }
}
