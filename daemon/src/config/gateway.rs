//! `listen-tls`, `[[trust]]` and `signed-grants`: the listener for clients on other machines, and the tokens that such clients
//! may show.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use toml::Spanned;

use crate::config::registries::absolute_path;
use crate::config::table_reader::{KnownKeys, TableReader};
use crate::config::{Clients, InvalidListen, listen_address};
use crate::policy::network::Network;
use crate::workload::Glob;
use crate::workload::rule::{KeyLocation, TrustRule};

/// Listener whose clients speak TLS to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListener {
    /// Address. Port 0 picks a free port.
    pub address: SocketAddr,
    /// PEM file with the certificate and the intermediate certificates above it.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// Load balancers, whose connections begin with a PROXY protocol header.
    pub proxy_protocol: Vec<Network>,
}

impl TlsListener {
    pub(super) fn read(top: &mut TableReader<'_, '_>, clients: Clients) -> Option<Self> {
        let mut table = top.table("listen-tls", LISTEN_TLS_KEYS)?;
        for key in ["address", "cert", "key"] {
            if !table.has(key) {
                table.reject_missing(key, "`listen-tls` needs an address, a certificate and its key");
            }
        }
        let listen = |text: &str| -> Result<SocketAddr, InvalidListen> {
            let address = listen_address(text)?;
            clients.check_tls(address).map(|()| address)
        };
        let address = table.parsed("address", listen);
        let certificate = table.parsed("cert", absolute_path);
        let key = table.parsed("key", absolute_path);
        let balancers = table.list("proxy-protocol", Network::from_str).unwrap_or_default();
        Some(Self {
            address: address?,
            certificate: certificate?,
            key: key?,
            proxy_protocol: balancers.into_iter().map(Spanned::into_inner).collect(),
        })
    }
}

/// Files of signed grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedGrantFiles {
    /// PEM file with the Ed25519 key that signs and verifies them.
    pub key: PathBuf,
    /// File with the ids of revoked ones, one a line.
    pub revoked: PathBuf,
}

impl SignedGrantFiles {
    pub(super) fn read(top: &mut TableReader<'_, '_>) -> Option<Self> {
        let mut table = top.table("signed-grants", SIGNED_GRANTS_KEYS)?;
        for key in ["key", "revoked"] {
            if !table.has(key) {
                table.reject_missing(key, "signed grants need a key, and a file with the ids of revoked ones");
            }
        }
        let key = table.parsed("key", absolute_path);
        let revoked = table.parsed("revoked", absolute_path);
        Some(Self {
            key: key?,
            revoked: revoked?,
        })
    }
}

/// Reads the trust rules.
pub(super) fn trust(top: &mut TableReader<'_, '_>, clients: Clients) -> Vec<TrustRule> {
    let mut rules = Vec::new();
    top.each_table("trust", TRUST_KEYS, |table| rules.extend(rule(table)));
    if clients == Clients::SameUser && top.has("trust") {
        top.reject(
            "trust",
            "tokens count only where every client needs a grant; set clients = \"gateway\"",
        );
    }
    rules
}

fn rule(table: &mut TableReader<'_, '_>) -> Option<TrustRule> {
    for key in ["issuer", "audience", "jwks", "registries"] {
        if !table.has(key) {
            table.reject_missing(
                key,
                "a trust rule needs an issuer, an audience, its keys and registries",
            );
        }
    }
    if table.has_empty_list("registries") {
        table.reject("registries", "it must name a registry");
    }
    let claims = claims(table);
    let registries = table.list("registries", str::parse);
    let write = operations(table);
    let issuer = table.parsed("issuer", text);
    let audience = table.parsed("audience", text);
    let keys = table.parsed("jwks", KeyLocation::from_str);
    let ca_file = table.parsed("ca-file", absolute_path);
    let rule = TrustRule {
        issuer: issuer?,
        audience: audience?,
        keys: keys?,
        ca_file,
        claims,
        registries: registries?.into_iter().map(Spanned::into_inner).collect(),
        write,
    };
    Some(rule)
}

/// Reads `match`: a pattern for each claim, or several of which one has to fit.
fn claims(table: &mut TableReader<'_, '_>) -> BTreeMap<String, Vec<Glob>> {
    let Some(mut patterns) = table.table_of_names("match") else {
        return BTreeMap::new();
    };
    let glob = |text: &str| Ok::<_, Infallible>(Glob::new(text));
    let mut claims = BTreeMap::new();
    for (_, name) in patterns.entries() {
        let globs = if patterns.has_list(name) {
            let globs = patterns.list(name, glob).unwrap_or_default();
            globs.into_iter().map(Spanned::into_inner).collect()
        } else {
            patterns.parsed(name, glob).into_iter().collect()
        };
        claims.insert(name.to_owned(), globs);
    }
    claims
}

/// Reads `operations`: true if writes are among them.
fn operations(table: &mut TableReader<'_, '_>) -> bool {
    let operation = |text: &str| match text {
        "read" => Ok(false),
        "write" => Ok(true),
        _ => Err("operations are \"read\" and \"write\""),
    };
    let operations = table.list("operations", operation).unwrap_or_default();
    let write = operations.iter().any(|operation| *operation.get_ref());
    if write && operations.iter().all(|operation| *operation.get_ref()) {
        table.reject("operations", "who writes has to read; use [\"read\", \"write\"]");
    }
    write
}

fn text(text: &str) -> Result<String, &'static str> {
    let is_usable = !text.is_empty() && !text.chars().any(char::is_control);
    is_usable.then(|| text.to_owned()).ok_or("expected a text")
}

pub(super) const TRUST_KEYS: KnownKeys = &[
    ("issuer", r#""https://token.actions.githubusercontent.com""#),
    ("audience", r#""regauth""#),
    (
        "jwks",
        r#""https://token.actions.githubusercontent.com/.well-known/jwks""#,
    ),
    ("ca-file", r#""/etc/regauth/issuer-root.pem""#),
    ("match", r#"{ repository = "corp/*", ref = "refs/heads/main" }"#),
    ("registries", r#"["corp"]"#),
    ("operations", r#"["read"]"#),
];

pub(super) const SIGNED_GRANTS_KEYS: KnownKeys = &[
    ("key", r#""/etc/regauth/grants/key.pem""#),
    ("revoked", r#""/etc/regauth/grants/revoked""#),
];

pub(super) const LISTEN_TLS_KEYS: KnownKeys = &[
    ("address", r#""0.0.0.0:9443""#),
    ("cert", r#""/etc/regauth/tls.crt""#),
    ("key", r#""/etc/regauth/tls.key""#),
    ("proxy-protocol", r#"["10.0.0.0/8"]"#),
];
