//! `config.toml`: a text becomes a valid [`Config`], or every problem of it at once, each with its place.
//!
//! Nothing here touches a file, a registry or a store: the daemon reads the text, and a running one keeps its last good
//! configuration when a new text has problems. Reading walks the tables of the text (`section`, `registries`);
//! [`ConfigFile`] changes a text and keeps the comments of the person who wrote it.

mod section;

mod registries;
pub(crate) mod sources;

mod edit;
mod lines;
mod written;

mod problem;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use regauth_shared::RegistryName;
use toml::Spanned;
use toml::de::DeTable;
use url::Url;

pub use edit::ConfigFile;
pub use problem::{Problem, Problems};

use crate::credential::store::StoreKind;
use crate::registry::Registry;
use problem::Findings;
use section::{Keys, Section};

/// What the file says, with defaults for what it leaves out.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients connect: loopback; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Who may connect.
    pub clients: Clients,
    /// What keeps secrets; `None` until the first start has chosen.
    pub store: Option<StoreKind>,
    /// How long in-flight requests may still take when the daemon stops.
    pub drain_timeout: Duration,
    /// The way to the registries.
    pub upstream: UpstreamSettings,
    /// The registries. No two have the same scope.
    pub registries: BTreeMap<RegistryName, Registry>,
}

impl Config {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// [`Problems`]: all of them, in the order of the text. Besides syntax errors, only what does not follow from a guess
    /// at the broken lines.
    pub fn read(text: &str) -> Result<Self, Problems> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let place = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let errors: Vec<_> = (errors.iter().map(|error| (place(error), error.message().to_owned()))).collect();
        let mut findings = Findings::new(text, &errors);
        let mut top = Section::top(document.get_ref(), TOP, &mut findings);
        let clients = top.parsed("clients", Clients::from_str).unwrap_or_default();
        let listen =
            |text: &str| listen_address(text).and_then(|address| clients.may_listen(address).map(|()| address));
        let config = Self {
            listen: top.parsed("listen", listen).unwrap_or(DEFAULT_LISTEN),
            clients,
            store: top.parsed("store", StoreKind::from_str),
            drain_timeout: (top.parsed("drain-timeout", duration)).unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            upstream: (top.section("upstream", UPSTREAM)).map_or_else(UpstreamSettings::default, |mut section| {
                UpstreamSettings::read(&mut section)
            }),
            registries: registries::read(&mut top),
        };
        findings.conclude(config)
    }

    /// The registry whose credential a registry uses: itself, unless it says `credential-of`.
    pub fn owner<'a>(&'a self, name: &'a RegistryName) -> &'a RegistryName {
        sources::owner(&self.registries, name).unwrap_or(name)
    }
}

/// That of an empty file.
impl Default for Config {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            clients: Clients::default(),
            store: None,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            upstream: UpstreamSettings::default(),
            registries: BTreeMap::new(),
        }
    }
}

/// `[upstream]`: the way from here to the registries.
#[derive(Clone, Default, PartialEq)]
pub struct UpstreamSettings {
    /// An `http://` proxy, perhaps with a user and password; `None` leaves it to the environment.
    pub proxy: Option<Url>,
    /// Hosts and `.suffixes` that are reached without it; `None` leaves it to the environment.
    pub no_proxy: Option<Vec<String>>,
}

impl UpstreamSettings {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let no_proxy = section.list("no-proxy", one_host);
        Self {
            proxy: section.parsed("proxy", proxy_url),
            no_proxy: no_proxy.map(|hosts| hosts.into_iter().map(Spanned::into_inner).collect()),
        }
    }
}

/// Without the proxy's user and password.
impl fmt::Debug for UpstreamSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = (self.proxy.as_ref()).map(|url| (url.host_str(), url.port_or_known_default()));
        f.debug_struct("UpstreamSettings")
            .field("proxy", &proxy)
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Reads the address to listen on, for the file and for `--listen`. Whether it may be used is for [`Clients::may_listen`]
/// to say.
///
/// # Errors
/// [`InvalidListen::NotAnAddress`].
pub fn listen_address(text: &str) -> Result<SocketAddr, InvalidListen> {
    text.parse().map_err(|_| InvalidListen::NotAnAddress)
}

/// Who may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// The daemon's own user from this machine, and the bearers of grants.
    #[default]
    SameUser,
    /// The bearers of grants only.
    Grants,
}

impl Clients {
    /// The word for it in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameUser => "same-user",
            Self::Grants => "grants",
        }
    }

    /// Refuses an address that other machines can reach, unless everyone needs a grant.
    ///
    /// # Errors
    /// [`InvalidListen::BeyondLoopback`].
    pub fn may_listen(self, address: SocketAddr) -> Result<(), InvalidListen> {
        if self == Self::Grants || address.ip().is_loopback() {
            Ok(())
        } else {
            Err(InvalidListen::BeyondLoopback)
        }
    }
}

impl FromStr for Clients {
    type Err = InvalidClients;

    fn from_str(text: &str) -> Result<Self, InvalidClients> {
        [Self::SameUser, Self::Grants]
            .into_iter()
            .find(|clients| clients.as_str() == text)
            .ok_or(InvalidClients)
    }
}

/// The text does not say who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("clients are \"same-user\" or \"grants\"")]
pub struct InvalidClients;

/// Why the daemon cannot listen there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListen {
    /// Not `address:port`.
    #[error("expected an IP address and a port such as \"127.0.0.1:9001\" or \"[::1]:0\"")]
    NotAnAddress,
    /// Whoever connects from another machine cannot be told apart without a grant.
    #[error("other machines can reach that; say clients = \"grants\" in config.toml too, or use 127.0.0.1 or [::1]")]
    BeyondLoopback,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "expected a duration such as \"30s\", \"5m\", \"11h\" or \"2d\"")
}

fn proxy_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| NOT_A_PROXY)?;
    match url.scheme() {
        "https" => return Err("a proxy that itself speaks TLS is not supported; use its http:// URL"),
        "http" if url.has_host() => {}
        _ => return Err(NOT_A_PROXY),
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("a proxy's URL ends after the port");
    }
    Ok(url)
}

fn one_host(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains([',', ' ', '/']) {
        Err("expected one host, .suffix or address range for each string")
    } else {
        Ok(text.to_owned())
    }
}

/// What a new file says: nothing that is not a comment.
pub const INITIAL: &str = r#"# regauth: which registries there are, and how the daemon works.
#
# Tokens never stand in this file. `regauthctl add-registry NAME --index URL` asks for one and writes the rest here;
# `regauthctl rotate NAME` replaces it. After an edit by hand, `regauthctl reload` says what is wrong, if anything.

# Where build tools connect. Loopback only, unless everyone needs a grant; port 0 picks a free port.
# listen = "127.0.0.1:9001"

# Who may connect: "same-user" (this user's own processes need nothing) or "grants" (everyone needs one, from
# `regauthctl grant`). Other users, containers and machines need one in any case.
# clients = "same-user"

# How long requests in flight may still take when the daemon stops.
# drain-timeout = "30s"

# What keeps the tokens: "keychain", "vault" (an encrypted file) or "memory". The first start records its choice.
# store = "keychain"

# The proxy between here and the registries. Without this the environment decides, as it does for curl.
# [upstream]
# proxy = "http://proxy.corp.example:3128"
# no-proxy = ["localhost", ".corp.example"]

# A registry, with everything that can be said about one. Most need no more than `index`.
# [registries.corp]
# kind = "cargo"                    # cargo | git | pypi | npm | generic
# index = "sparse+https://corp.example/api/cargo/index/"
# scopes = ["https://corp.example/api/cargo/"]    # what gets the token; without it, what lies below the index
# scheme = "basic"                  # bearer | basic | raw | "X-Api-Key: {token}"
# username = "me@corp.example"      # for basic only
# source = "store"                  # store | env:VARIABLE | file:/path | { command = ["program", "argument"] } | a
#                                   # preset: codeartifact, google, azure, vault, 1password
#                                   # or instead of a source, credential-of: the name of a registry that has one
# writes = "deny"                   # deny | allow; `regauthctl allow corp --for 5m` opens it for a while
# ca-file = "/etc/corp-root.pem"    # further roots, trusted for this registry only
# client-cert = "/etc/corp/me.pem"  # for registries that ask for a certificate
# client-key = "/etc/corp/me.key"
"#;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const NOT_A_PROXY: &str = "expected the URL of a proxy such as \"http://proxy.corp.example:3128\"";

const TOP: Keys = &[
    ("listen", r#""127.0.0.1:9001""#),
    ("clients", r#""same-user""#),
    ("store", r#""keychain""#),
    ("drain-timeout", r#""30s""#),
    ("upstream", "[upstream]"),
    ("registries", "[registries.corp]"),
];

const UPSTREAM: Keys = &[
    ("proxy", r#""http://proxy.corp.example:3128""#),
    ("no-proxy", r#"["localhost", ".corp.example"]"#),
];

/// Where a key belongs that stands in the wrong table, which is easily done: a table goes on until the next header.
const SECTIONS: [(&str, Keys); 4] = [
    ("at the top, before the first [table]", TOP),
    ("in [upstream]", UPSTREAM),
    ("in [registries.NAME]", registries::REGISTRY),
    ("in the table of a source", sources::COMMAND),
];

#[cfg(test)]
mod tests;
