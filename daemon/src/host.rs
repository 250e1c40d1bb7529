//! Host names and origins, normalised once: what a CONNECT, an SNI, a Host or a scope's URL means.
//!
//! Two texts that name the same host give equal values: case, IDNA, a trailing dot, IPv6 brackets and the many ways
//! to write an IPv4 address are gone after parsing (WHATWG URL, section 3.5; RFC 9110, section 4.2.3).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A DNS name in lower-case A-labels without a trailing dot, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Whether this is the machine itself: a loopback address, `localhost` or a name below it (RFC 6761).
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
        // Percent-encoding is legal in a URL's host and in nothing else that names one.
        if text.is_empty() || text.contains(['%', '@']) || text.len() > MAX_NAME + 2 {
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

/// As it stands in a URL: IPv6 addresses in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A host and a port: where a CONNECT goes, what a scope begins with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
}

impl Origin {
    /// Parses `host:port` as CONNECT has it (RFC 9110, section 9.3.6), or a Host header, where `default_port` stands in
    /// for a missing port.
    ///
    /// # Errors
    /// [`InvalidHost`] for anything else, user information included.
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

/// `host:port`, always with the port.
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

/// Labels of 1 to 63 letters, digits, hyphens and underscores, 253 in all. Stricter than a URL, as DNS names are.
fn is_dns_name(name: &str) -> bool {
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= MAX_NAME && name.split('.').all(label_is_good)
}

/// The text names no host.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name or address")]
pub struct InvalidHost;

const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> String {
        text.parse::<Host>()
            .map_or_else(|_| "invalid".to_owned(), |host| host.to_string())
    }

    #[test]
    fn one_host_has_one_form() {
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
    fn what_names_no_host_is_invalid() {
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
    fn an_origin_has_a_port() {
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
        fn a_host_is_what_it_says_it_is(text in "\\PC{0,40}") {
            if let Ok(host) = text.parse::<Host>() {
                proptest::prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
            }
        }

        #[test]
        fn an_origin_is_what_it_says_it_is(host in "[a-zA-Z0-9.:_%@ \\[\\]-]{1,30}", port in "[0-9]{0,6}") {
            if let Ok(origin) = Origin::parse(&format!("{host}:{port}"), None) {
                let said = origin.to_string();
                proptest::prop_assert!(!said.contains(['@', '%', ' ']));
                proptest::prop_assert_eq!(Origin::parse(&said, None), Ok(origin));
            }
        }
    }
}
