//! Normalised host names and origins, parsed from a CONNECT, an SNI, a Host header or a scope's URL.
//!
//! Two texts that name the same host parse to equal values. Parsing removes differences of case, IDNA, trailing dot,
//! IPv6 brackets and IPv4 notation (WHATWG URL, section 3.5; RFC 9110, section 4.2.3).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// DNS name in lower-case A-labels without a trailing dot, or IP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// DNS name.
    Name(Box<str>),
    /// IP address.
    Address(IpAddr),
}

impl Host {
    /// Is this a loopback address, `localhost` or a name below it (RFC 6761)?
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => &**name == "localhost" || name.ends_with(".localhost"),
            Self::Address(address) => address.is_loopback(),
        }
    }
}

impl FromStr for Host {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        // Percent-encoding is legal in the host of a URL, but not in the other texts that are parsed here.
        if text.is_empty() || text.contains(['%', '@']) || text.len() > MAX_NAME_LENGTH + 2 {
            return Err(InvalidHost);
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self::Address(IpAddr::V6(address)));
        }
        match url::Host::parse(text.strip_suffix('.').unwrap_or(text)).map_err(|_| InvalidHost)? {
            url::Host::Ipv4(address) => Ok(Self::Address(IpAddr::V4(address))),
            url::Host::Ipv6(address) => Ok(Self::Address(IpAddr::V6(address))),
            url::Host::Domain(name) if is_dns_name(&name) => Ok(Self::Name(name.into())),
            url::Host::Domain(_) => Err(InvalidHost),
        }
    }
}

/// Form of a URL's host: IPv6 addresses in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Host and port (RFC 6454 without the scheme): the target of a CONNECT, the start of a scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Host.
    pub host: Host,
    /// TCP port, never 0.
    pub port: u16,
}

impl Origin {
    /// Parses `host:port` of a CONNECT (RFC 9110, section 9.3.6). For a Host header, `default_port` replaces a missing
    /// port.
    ///
    /// # Errors
    /// [`InvalidHost`] for any other text, including one with user information.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, InvalidHost> {
        let (host, port) = split_port(text)?;
        let port = match (port, default_port) {
            (Some(digits), _) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| InvalidHost)?
            }
            (None, Some(default)) => default,
            _ => return Err(InvalidHost),
        };
        // RFC 6335: port 0 cannot be connected to.
        if port == 0 {
            return Err(InvalidHost);
        }
        Ok(Self {
            host: host.parse()?,
            port,
        })
    }
}

/// Writes `host:port`, always with the port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), InvalidHost> {
    if text.starts_with('[') {
        let (host, rest) = text.split_at(text.find(']').ok_or(InvalidHost)? + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(InvalidHost),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(InvalidHost),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

/// Checks labels of 1 to 63 letters, digits, hyphens and underscores, and 253 characters in all. URLs allow more.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= MAX_NAME_LENGTH && name.split('.').all(is_label)
}

/// Error of parsing a [`Host`] or [`Origin`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name or address")]
pub struct InvalidHost;

const MAX_NAME_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> String {
        text.parse::<Host>()
            .map_or_else(|_| "invalid".to_owned(), |host| host.to_string())
    }

    #[test]
    fn equal_hosts_have_one_form() {
        for (text, form) in [
            ("Corp.Example", "corp.example"),
            ("corp.example.", "corp.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("::1", "[::1]"),
            ("[::0001]", "[::1]"),
        ] {
            assert_eq!(host(text), form, "{text}");
        }
    }

    #[test]
    fn refuses_text_that_is_not_a_host() {
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "a%2eb",
            "me@a",
            "a/b",
            "[::1",
            "[]",
            "*.a",
            "a\0b",
            "corp.example..",
        ] {
            assert_eq!(host(text), "invalid", "{text:?}");
        }
    }

    #[test]
    fn parses_origins_with_a_port() {
        let parse = |text, default| Origin::parse(text, default).map(|origin| origin.to_string());
        assert_eq!(parse("Corp.example:443", None).unwrap(), "corp.example:443");
        assert_eq!(parse("corp.example", Some(8443)).unwrap(), "corp.example:8443");
        assert_eq!(parse("[::1]:8443", None).unwrap(), "[::1]:8443");
        for text in [
            "corp.example",
            "a:",
            "a:0",
            "a:65536",
            "a:+443",
            "a:1:2",
            "::1:443",
            "me@a:443",
            "[::1]443",
        ] {
            assert!(parse(text, None).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_printed_host_parses_to_the_same_host(text in "\\PC{0,40}") {
            if let Ok(host) = text.parse::<Host>() {
                proptest::prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
            }
        }

        #[test]
        fn a_printed_origin_parses_to_the_same_origin(host in "[a-zA-Z0-9.:_%@ \\[\\]-]{1,30}", port in "[0-9]{0,6}") {
            if let Ok(origin) = Origin::parse(&format!("{host}:{port}"), None) {
                let printed = origin.to_string();
                proptest::prop_assert!(!printed.contains(['@', '%', ' ']));
                proptest::prop_assert_eq!(Origin::parse(&printed, None), Ok(origin));
            }
        }
    }
}
