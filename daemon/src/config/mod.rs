//! `config.toml`: reads a text into a valid [`Config`], or reports every problem at once, with line and column.
//!
//! This module does no I/O. The daemon reads the file; a running daemon keeps its last valid configuration when a new
//! text has problems. Reading walks the tables of the text (`table_reader`, `registries`, `sources`). [`ConfigFile`]
//! edits a text and keeps the comments in it.
//!
//! serde would stop at the first error, so the reader is our own: a person fixes a whole file in one go.

mod table_reader;

mod audit;
mod clients;
mod gateway;
mod presence;
mod upstream;

mod registries;
pub(crate) mod sources;

mod changes;
mod definition;
mod edit;
pub(crate) mod serialize;

mod problem;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use regauth_shared::RegistryName;
use toml::de::DeTable;

pub use audit::{AuditMode, AuditSettings};
pub(crate) use changes::{RegistryChange, SettingChange, Weight, changed_settings, changes};
pub use clients::{Clients, InvalidClients, InvalidListen, listen_address};
pub(crate) use definition::definition;
pub use edit::ConfigFile;
pub use gateway::{SignedGrantFiles, TlsListener};
pub use presence::{InvalidPresence, PresenceMode};
pub use problem::{Problem, Problems};
pub use upstream::{InvalidProxyUrl, ProxyLogin, ProxyScheme, ProxyUrl, UpstreamSettings};

use crate::credential::store::StoreKind;
use crate::registry::Registry;
use crate::workload::rule::TrustRule;
use problem::ProblemCollector;
use table_reader::{KnownKeys, TableReader};

/// Valid configuration, with a default for every key that the file leaves out.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Address of the proxy listener. Port 0 picks a free port.
    pub listen: SocketAddr,
    /// Listener for clients that speak TLS to the proxy.
    pub listen_tls: Option<TlsListener>,
    /// Clients that may connect without a grant.
    pub clients: Clients,
    /// Requests of programs that a person has to confirm. A guarded daemon has all of them confirmed.
    pub presence: PresenceMode,
    /// Key and list of signed grants.
    pub signed_grants: Option<SignedGrantFiles>,
    /// Folder with the authorities that several daemons share, a file for each host.
    pub authorities: Option<PathBuf>,
    /// Tokens of OpenID providers that count as a grant does.
    pub trust: Vec<TrustRule>,
    /// Kind of store for secrets. `None` until the first start records its choice.
    pub store: Option<StoreKind>,
    /// Time that requests in flight may still take when the daemon stops.
    pub drain_timeout: Duration,
    /// Time between the order to stop and the drain, for load balancers to notice.
    pub drain_delay: Duration,
    /// Audit record.
    pub audit: AuditSettings,
    /// Address that serves metrics over HTTP.
    pub metrics_listen: Option<SocketAddr>,
    /// Time before a token's end at which `status` warns.
    pub warn_before: Duration,
    /// Desktop notifications of a token near its end, a registry that rejects its token, and a locked store.
    pub notify: bool,
    /// PEM file with more roots for the bundle and for an `https://` corporate proxy, but not for registries.
    pub ca_file: Option<PathBuf>,
    /// Proxy settings for connections to registries and other hosts.
    pub upstream: UpstreamSettings,
    /// Registries by name. No two have the same scope.
    pub registries: BTreeMap<RegistryName, Registry>,
}

impl Config {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// [`Problems`]: all problems in the order of the text. After a syntax error the rest of the text is still checked,
    /// but not the lines that the parser had to guess.
    ///
    /// # Examples
    /// ```
    /// use regauthd::config::Config;
    ///
    /// let config = Config::read(
    ///     r#"
    ///     drain-timeout = "10s"
    ///
    ///     [registries.corp]
    ///     index = "sparse+https://corp.example/api/cargo/index/"
    ///     "#,
    /// )?;
    /// assert_eq!(config.drain_timeout.as_secs(), 10);
    /// assert_eq!(config.listen.to_string(), "127.0.0.1:9001");
    ///
    /// let problems = Config::read("listen = \"localhost\"\ncolour = 1\n").unwrap_err();
    /// let lines: Vec<_> = problems.as_slice().iter().map(|problem| problem.line).collect();
    /// assert_eq!(lines, [1, 2]);
    /// # Ok::<(), regauthd::config::Problems>(())
    /// ```
    pub fn read(text: &str) -> Result<Self, Problems> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let offset = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let errors: Vec<_> = (errors.iter().map(|error| (offset(error), error.message().to_owned()))).collect();
        let mut problems = ProblemCollector::new(text, &errors);
        let mut top = TableReader::top(document.get_ref(), TOP_KEYS, &mut problems);
        let clients = top.parsed("clients", Clients::from_str).unwrap_or_default();
        let listen =
            |text: &str| listen_address(text).and_then(|address| clients.check_listen(address).map(|()| address));
        let metrics_listen =
            |text: &str| listen_address(text).and_then(|address| clients.check_tls(address).map(|()| address));
        let config = Self {
            listen: top.parsed("listen", listen).unwrap_or(DEFAULT_LISTEN),
            listen_tls: TlsListener::read(&mut top, clients),
            clients,
            presence: top.parsed("presence", PresenceMode::from_str).unwrap_or_default(),
            signed_grants: SignedGrantFiles::read(&mut top),
            authorities: top.parsed("authorities", registries::absolute_path),
            trust: gateway::trust(&mut top, clients),
            store: top.parsed("store", StoreKind::from_str),
            drain_timeout: (top.parsed("drain-timeout", duration)).unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            drain_delay: top.parsed("drain-delay", duration).unwrap_or_default(),
            audit: AuditSettings::read(&mut top),
            metrics_listen: top.parsed("metrics-listen", metrics_listen),
            warn_before: top.parsed("warn-before", duration).unwrap_or(DEFAULT_WARN_BEFORE),
            notify: top.boolean("notify").unwrap_or(true),
            ca_file: top.parsed("ca-file", registries::absolute_path),
            upstream: (top.table("upstream", UPSTREAM_KEYS)).map_or_else(UpstreamSettings::default, |mut table| {
                UpstreamSettings::read(&mut table)
            }),
            registries: registries::read(&mut top),
        };
        problems.finish(config)
    }

    /// Name of the registry whose credential a registry uses: its own name, unless it sets `credential-of`.
    pub fn owner<'a>(&'a self, name: &'a RegistryName) -> &'a RegistryName {
        sources::owner(&self.registries, name).unwrap_or(name)
    }
}

/// Configuration of an empty file.
impl Default for Config {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            listen_tls: None,
            clients: Clients::default(),
            presence: PresenceMode::default(),
            signed_grants: None,
            authorities: None,
            trust: Vec::new(),
            store: None,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            drain_delay: Duration::ZERO,
            audit: AuditSettings::default(),
            metrics_listen: None,
            warn_before: DEFAULT_WARN_BEFORE,
            notify: true,
            ca_file: None,
            upstream: UpstreamSettings::default(),
            registries: BTreeMap::new(),
        }
    }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "expected a duration such as \"30s\", \"5m\", \"11h\" or \"2d\"")
}

/// Text of a new file: comments only.
pub const INITIAL: &str = r#"# regauth: registries and settings of the daemon.
#
# Tokens are never in this file. `regauthctl add-registry NAME --index URL` asks for a token and writes the rest here;
# `regauthctl login NAME` replaces the token. After an edit by hand, run `regauthctl reload`: it reports every error.

# Address that build tools connect to. Loopback only, unless every client needs a grant; port 0 picks a free port.
# listen = "127.0.0.1:9001"

# Clients that may connect: "same-user" (this user's own processes need no grant), "grants" (every client needs a grant
# from `regauthctl grant`), or "gateway" (as "grants", and other machines connect over TLS only). Other users, containers
# and machines always need a grant.
# clients = "same-user"

# Confirmation by a person, through polkit or macOS, of what a program could ask for as well, such as opening writes: "auto" (where
# they can ask), "always" (elsewhere it is refused) or "never". A guarded daemon always asks.
# presence = "auto"

# A gateway for a team has more settings: `listen-tls`, `[[trust]]`, `signed-grants` and `authorities`. docs/gateway.md explains them.

# Time that requests in flight may still take when the daemon stops.
# drain-timeout = "30s"

# Time for which the daemon goes on as before once it is to stop, with /readyz false, for load balancers to notice.
# drain-delay = "0s"

# Events that the audit record keeps: "off", "changes" (what verbs change, writes, refusals, each program's first use of a
# registry) or "all" (every request). `regauthctl audit` shows it. With audit-required, requests that cannot be recorded
# are refused.
# audit = "changes"
# audit-required = false
# audit-keep = "90d"
# audit-max-size = "256MiB"

# Metrics for Prometheus over HTTP (/metrics), and the daemon's health (/healthz, /readyz). Without this key, only `regauthctl metrics` prints them.
# metrics-listen = "127.0.0.1:9102"

# Time before a token's end at which `regauthctl status` warns, if nothing renews the token.
# warn-before = "3d"

# Notifications on a Linux desktop: a token near its end, a registry that rejects its token, a locked store.
# notify = true

# More roots for the clients' bundle and for an https:// proxy, such as the root of a company that inspects TLS. Registries
# do not trust them: those behind such a root name it as their own ca-file.
# ca-file = "/etc/corp-root.pem"

# Store for the tokens: "keychain", "vault" (an encrypted file) or "memory". The first start records its choice.
# store = "keychain"

# The proxy between this machine and other hosts: http://, https://, socks5h:// or socks5://. Without it the environment
# decides, as it does for curl. Loopback is never proxied. `regauthctl upstream http://USER@HOST:PORT` asks for a password and
# keeps it in the store.
# [upstream]
# proxy = "http://proxy.corp.example:3128"
# no-proxy = [".corp.example", "10.0.0.0/8"]

# A registry with every key. Most registries need only `index`.
# [registries.corp]
# kind = "cargo"                    # cargo | git | pypi | npm | oci | maven | go | …: docs/registries.md
# index = "sparse+https://corp.example/api/cargo/index/"
# scopes = ["https://corp.example/api/cargo/"]    # URLs that get the token; default: below the index
# scheme = "basic"                  # bearer | basic | raw | "X-Api-Key: {token}"
# username = "me@corp.example"      # for basic only
# source = "store"                  # store | env:VAR | file:/path | { command = ["…"] } | { exchange = "jfrog", … } | a
#                                   # preset: codeartifact, google, azure, vault, 1password
#                                   # instead of a source: credential-of, with the name of another registry
# token-service = "https://auth.corp.example/token"    # for kind = "oci": the service that gives its clients short tokens
# writes = "deny"                   # deny | allow; `regauthctl allow corp --for 5m` opens it for a while
# programs = ["cargo", "git"]       # programs that may use it, by file name or path; default: every program
# rejected-by = [401, 403]          # statuses with which it rejects a token; others are about single pages
# read-ahead = true                 # ask a sparse index for the entries that cargo needs next, before cargo does
# ca-file = "/etc/corp-root.pem"    # more roots, trusted for this registry only
# client-cert = "/etc/corp/me.pem"  # for registries that require a client certificate
# client-key = "/etc/corp/me.key"
"#;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);
const DEFAULT_WARN_BEFORE: Duration = Duration::from_secs(3 * 24 * 3600);
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

const TOP_KEYS: KnownKeys = &[
    ("listen", r#""127.0.0.1:9001""#),
    (
        "listen-tls",
        r#"{ address = "0.0.0.0:9443", cert = "/etc/regauth/tls.crt", key = "/etc/regauth/tls.key" }"#,
    ),
    ("clients", r#""same-user""#),
    ("presence", r#""always""#),
    ("store", r#""keychain""#),
    ("drain-timeout", r#""30s""#),
    ("drain-delay", r#""5s""#),
    ("metrics-listen", r#""127.0.0.1:9102""#),
    ("warn-before", r#""3d""#),
    ("notify", "false"),
    ("audit", r#""changes""#),
    ("audit-required", "true"),
    ("audit-keep", r#""90d""#),
    ("audit-max-size", r#""256MiB""#),
    ("ca-file", r#""/etc/corp-root.pem""#),
    ("authorities", r#""/etc/regauth/authorities""#),
    (
        "signed-grants",
        r#"{ key = "/etc/regauth/grants/key.pem", revoked = "/etc/regauth/grants/revoked" }"#,
    ),
    ("trust", "[[trust]]"),
    ("upstream", "[upstream]"),
    ("registries", "[registries.corp]"),
];

const UPSTREAM_KEYS: KnownKeys = &[
    ("proxy", r#""http://proxy.corp.example:3128""#),
    ("no-proxy", r#"["localhost", ".corp.example"]"#),
];

/// Known keys by table, for a hint about a key in the wrong table. That happens easily: a table goes on until the next
/// header.
const KEYS_BY_TABLE: [(&str, KnownKeys); 7] = [
    ("at the top, before the first [table]", TOP_KEYS),
    ("in listen-tls", gateway::LISTEN_TLS_KEYS),
    ("in [[trust]]", gateway::TRUST_KEYS),
    ("in signed-grants", gateway::SIGNED_GRANTS_KEYS),
    ("in [upstream]", UPSTREAM_KEYS),
    ("in [registries.NAME]", registries::REGISTRY_KEYS),
    ("in the table of a source", sources::COMMAND_KEYS),
];

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
