//! Tables `[registries.NAME]`: each becomes a [`Registry`]. Two registries must not have the same scope.
//!
//! An invalid value leaves a default in its place. That is safe: with a problem recorded, the configuration is
//! rejected.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use regauth_shared::RegistryName;
use toml::Spanned;

use crate::config::sources::{self, CredentialReference};
use crate::config::table_reader::{KnownKeys, TableReader};
use crate::credential::source::endpoint::Endpoint;
use crate::policy::{InvalidRejections, Rejections};
use crate::registry::{ClientIdentity, Index, InvalidScheme, Kind, ProgramName, Registry, Scheme, Scope};

/// Reads all registries.
pub(super) fn read(top: &mut TableReader<'_, '_>) -> BTreeMap<RegistryName, Registry> {
    let mut registries = BTreeMap::new();
    let mut owners = BTreeMap::new();
    let mut references = Vec::new();
    let Some(mut tables) = top.table_of_names("registries") else {
        return registries;
    };
    for (offset, key) in tables.entries() {
        let name = key.parse::<RegistryName>();
        if let Err(invalid) = &name {
            tables.reject_name(offset, invalid);
        }
        let Some(mut table) = tables.table(key, REGISTRY_KEYS) else {
            continue;
        };
        let registry = registry(&mut table, &mut owners);
        let Ok(name) = name else { continue };
        references.extend(CredentialReference::of(&table, &name, &registry));
        registries.insert(name, registry);
    }
    sources::check_references(&mut tables, &references, &registries);
    registries
}

fn registry(table: &mut TableReader<'_, '_>, owners: &mut ScopeOwners) -> Registry {
    let index = table.parsed_with_span("index", Index::from_str);
    let kind = table.parsed("kind", str::parse).unwrap_or_default();
    let source = sources::source(table);
    Registry {
        kind,
        scopes: scopes(table, index.as_ref(), owners),
        index: index.map(Spanned::into_inner),
        scheme: scheme(table, || source.usual_scheme(kind)),
        source,
        token_service: token_service(table, kind),
        writes: table.parsed("writes", str::parse).unwrap_or_default(),
        programs: programs(table),
        rejected_by: rejected_by(table),
        read_ahead: table.boolean("read-ahead").unwrap_or(true),
        ca_file: table.parsed("ca-file", absolute_path),
        client_identity: client_identity(table),
        bound_roots: None,
    }
}

/// First registry with each scope: the title of its table and the line.
type ScopeOwners = BTreeMap<Scope, (String, usize)>;

/// Reads the scopes, or derives one from the index. A request belongs to the longest matching scope, so no two may be
/// equal.
fn scopes(table: &mut TableReader<'_, '_>, index: Option<&Spanned<Index>>, owners: &mut ScopeOwners) -> Vec<Scope> {
    let (key, scopes) = if table.has("scopes") {
        ("scopes", table.list("scopes", Scope::from_str))
    } else {
        ("index", index.and_then(scope_of_index).map(|scope| vec![scope]))
    };
    if !table.has(key) {
        table.reject_missing("scopes", "a registry needs an index or scopes");
    } else if table.has_empty_list(key) {
        table.reject(key, "it must not be empty; without this key the scope is the index URL");
    }
    let scopes = scopes.unwrap_or_default();
    for scope in &scopes {
        check_unique(table, key, scope, owners);
    }
    scopes.into_iter().map(Spanned::into_inner).collect()
}

fn scope_of_index(index: &Spanned<Index>) -> Option<Spanned<Scope>> {
    let scope = index.get_ref().scope().ok()?;
    Some(Spanned::new(index.span(), scope))
}

fn check_unique(table: &mut TableReader<'_, '_>, key: &str, scope: &Spanned<Scope>, owners: &mut ScopeOwners) {
    let offset = scope.span().start;
    match owners.get(scope.get_ref()) {
        Some((title, line)) => {
            let reason = format!("{title} has the same scope in line {line}; a scope belongs to one registry, once");
            table.reject_at(offset, key, reason);
        }
        None => {
            let owner = (table.title(), table.line(offset));
            owners.insert(scope.get_ref().clone(), owner);
        }
    }
}

/// Reads `scheme` and `username`. `usual` is the scheme without both.
fn scheme(table: &mut TableReader<'_, '_>, usual: impl FnOnce() -> Scheme) -> Scheme {
    if !table.has("scheme") && !table.has("username") {
        return usual();
    }
    let username = table.parsed("username", any_text);
    let scheme_text = table.parsed("scheme", any_text);
    if scheme_text.is_none() && table.has("scheme") {
        return Scheme::Bearer;
    }
    let scheme_text = scheme_text.as_deref().unwrap_or("bearer");
    match Scheme::parse(scheme_text, username.as_deref().filter(|_| scheme_text == "basic")) {
        Ok(scheme) if scheme.username().is_none() && username.is_some() => {
            table.reject("username", InvalidScheme::UsernameWithoutBasic);
        }
        Ok(scheme) => return scheme,
        Err(InvalidScheme::UsernameMissing) if table.has("username") => {}
        Err(error @ InvalidScheme::UsernameMissing) => table.reject_missing("username", error),
        Err(error @ InvalidScheme::BadUsername) => table.reject("username", error),
        Err(error) => table.reject("scheme", error),
    }
    Scheme::Bearer
}

fn token_service(table: &mut TableReader<'_, '_>, kind: Kind) -> Option<Endpoint> {
    let service = table.parsed("token-service", Endpoint::from_str);
    if kind != Kind::Oci && table.has("token-service") {
        table.reject(
            "token-service",
            "it is for container registries: add kind = \"oci\" or remove it",
        );
    }
    service
}

fn programs(table: &mut TableReader<'_, '_>) -> Vec<ProgramName> {
    if table.has_empty_list("programs") {
        table.reject(
            "programs",
            "it must not be empty; without this key every program may use the registry",
        );
    }
    let programs = table.list("programs", ProgramName::from_str).unwrap_or_default();
    programs.into_iter().map(Spanned::into_inner).collect()
}

fn rejected_by(table: &mut TableReader<'_, '_>) -> Rejections {
    let Some(statuses) = table.integers("rejected-by", Rejections::status) else {
        return Rejections::default();
    };
    if table.has_empty_list("rejected-by") {
        table.reject("rejected-by", InvalidRejections::Empty);
    }
    Rejections::new(&statuses).unwrap_or_default()
}

fn client_identity(table: &mut TableReader<'_, '_>) -> Option<ClientIdentity> {
    let certificate = table.parsed("client-cert", absolute_path);
    let key = table.parsed("client-key", absolute_path);
    for (given, other) in [("client-cert", "client-key"), ("client-key", "client-cert")] {
        if table.has(given) && !table.has(other) {
            table.reject_missing(other, "client-cert and client-key come together");
        }
    }
    certificate
        .zip(key)
        .map(|(certificate, key)| ClientIdentity { certificate, key })
}

pub(super) fn any_text(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}

pub(super) fn absolute_path(text: &str) -> Result<PathBuf, &'static str> {
    match Path::new(text) {
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => Err("expected an absolute path"),
    }
}

pub(super) const REGISTRY_KEYS: KnownKeys = &[
    ("kind", r#""cargo""#),
    ("index", r#""sparse+https://corp.example/api/cargo/index/""#),
    ("scopes", r#"["https://corp.example/api/cargo/"]"#),
    ("scheme", r#""bearer""#),
    ("username", r#""me@corp.example""#),
    ("source", r#""store""#),
    ("credential-of", r#""corp""#),
    ("token-service", r#""https://auth.corp.example/token""#),
    ("writes", r#""deny""#),
    ("programs", r#"["cargo", "git"]"#),
    ("rejected-by", "[401, 403]"),
    ("read-ahead", "false"),
    ("ca-file", r#""/etc/corp-root.pem""#),
    ("client-cert", r#""/etc/regauth/me.pem""#),
    ("client-key", r#""/etc/regauth/me.key""#),
];
