//! `[registries.NAME]`: each table becomes a [`Registry`], and no two claim the same scope.
//!
//! A value that could not be read leaves a default in its place: with a problem on record nothing of it is used.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use regauth_shared::RegistryName;
use toml::Spanned;

use crate::config::section::{Keys, Section};
use crate::config::sources::{self, Borrowing};
use crate::registry::{ClientIdentity, Index, InvalidScheme, Registry, Scheme, Scope};

/// Reads all of them.
pub(super) fn read(top: &mut Section<'_, '_>) -> BTreeMap<RegistryName, Registry> {
    let mut registries = BTreeMap::new();
    let mut claims = BTreeMap::new();
    let mut borrowings = Vec::new();
    let Some(mut tables) = top.names("registries") else {
        return registries;
    };
    for (at, key) in tables.entries() {
        let name = key.parse::<RegistryName>();
        if let Err(invalid) = &name {
            tables.refuse_name(at, invalid);
        }
        let Some(mut section) = tables.section(key, REGISTRY) else {
            continue;
        };
        let registry = registry(&mut section, &mut claims);
        let Ok(name) = name else { continue };
        borrowings.extend(Borrowing::of(&section, &name, &registry));
        registries.insert(name, registry);
    }
    sources::record_outcome(&mut tables, &borrowings, &registries);
    registries
}

fn registry(section: &mut Section<'_, '_>, claims: &mut Claims) -> Registry {
    let index = section.placed("index", Index::from_str);
    Registry {
        kind: section.parsed("kind", str::parse).unwrap_or_default(),
        scopes: scopes(section, index.as_ref(), claims),
        index: index.map(Spanned::into_inner),
        scheme: scheme(section),
        source: sources::source(section),
        writes: section.parsed("writes", str::parse).unwrap_or_default(),
        ca_file: section.parsed("ca-file", absolute_path),
        client_identity: client_identity(section),
    }
}

/// Who claimed a scope first: the title of the table and the line.
type Claims = BTreeMap<Scope, (String, usize)>;

/// The longest path wins among registries, so two must never have the same one.
fn scopes(section: &mut Section<'_, '_>, index: Option<&Spanned<Index>>, claims: &mut Claims) -> Vec<Scope> {
    let (key, scopes) = if section.has("scopes") {
        ("scopes", section.list("scopes", Scope::from_str))
    } else {
        ("index", index.and_then(scope_of_index).map(|scope| vec![scope]))
    };
    if !section.has(key) {
        section.refuse_missing("scopes", "a registry needs an index or scopes");
    } else if section.has_empty_list(key) {
        section.refuse(
            key,
            "it must not be empty; without this key it is what lies below the index",
        );
    }
    let scopes = scopes.unwrap_or_default();
    for scope in &scopes {
        claim(section, key, scope, claims);
    }
    scopes.into_iter().map(Spanned::into_inner).collect()
}

fn scope_of_index(index: &Spanned<Index>) -> Option<Spanned<Scope>> {
    let scope = index.get_ref().scope().ok()?;
    Some(Spanned::new(index.span(), scope))
}

fn claim(section: &mut Section<'_, '_>, key: &str, scope: &Spanned<Scope>, claims: &mut Claims) {
    let at = scope.span().start;
    match claims.get(scope.get_ref()) {
        Some((title, line)) => {
            let reason = format!("{title} covers the same, in line {line}; a scope belongs to one registry, once");
            section.refuse_at(at, key, reason);
        }
        None => {
            let claimant = (section.title(), section.line(at));
            claims.insert(scope.get_ref().clone(), claimant);
        }
    }
}

fn scheme(section: &mut Section<'_, '_>) -> Scheme {
    let username = section.parsed("username", any_text);
    let word = section.parsed("scheme", any_text);
    if word.is_none() && section.has("scheme") {
        return Scheme::Bearer;
    }
    let word = word.as_deref().unwrap_or("bearer");
    match Scheme::parse(word, username.as_deref().filter(|_| word == "basic")) {
        Ok(scheme) if scheme.username().is_none() && username.is_some() => {
            section.refuse("username", InvalidScheme::UsernameWithoutBasic);
        }
        Ok(scheme) => return scheme,
        Err(InvalidScheme::UsernameMissing) if section.has("username") => {}
        Err(error @ InvalidScheme::UsernameMissing) => section.refuse_missing("username", error),
        Err(error @ InvalidScheme::BadUsername) => section.refuse("username", error),
        Err(error) => section.refuse("scheme", error),
    }
    Scheme::Bearer
}

fn client_identity(section: &mut Section<'_, '_>) -> Option<ClientIdentity> {
    let certificate = section.parsed("client-cert", absolute_path);
    let key = section.parsed("client-key", absolute_path);
    for (given, other) in [("client-cert", "client-key"), ("client-key", "client-cert")] {
        if section.has(given) && !section.has(other) {
            section.refuse_missing(other, "client-cert and client-key come together");
        }
    }
    certificate
        .zip(key)
        .map(|(certificate, key)| ClientIdentity { certificate, key })
}

pub(super) fn any_text(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}

fn absolute_path(text: &str) -> Result<PathBuf, &'static str> {
    match Path::new(text) {
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => Err("expected an absolute path"),
    }
}

pub(super) const REGISTRY: Keys = &[
    ("kind", r#""cargo""#),
    ("index", r#""sparse+https://corp.example/api/cargo/index/""#),
    ("scopes", r#"["https://corp.example/api/cargo/"]"#),
    ("scheme", r#""bearer""#),
    ("username", r#""me@corp.example""#),
    ("source", r#""store""#),
    ("credential-of", r#""corp""#),
    ("writes", r#""deny""#),
    ("ca-file", r#""/etc/corp-root.pem""#),
    ("client-cert", r#""/etc/regauth/me.pem""#),
    ("client-key", r#""/etc/regauth/me.key""#),
];
