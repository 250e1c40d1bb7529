//! `[registries.NAME]`: each table becomes a [`Registry`], and no two claim the same scope.
//!
//! A value that could not be read leaves a default in its place: with a problem on record nothing of it is used.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use regauth_shared::RegistryName;
use toml::Spanned;

use super::section::{Keys, Section};
use crate::registry::{ClientIdentity, Command, Index, InvalidScheme, Output, Registry, Scheme, Scope, Source};

/// Reads all of them.
pub(super) fn read(top: &mut Section<'_, '_>) -> BTreeMap<RegistryName, Registry> {
    let mut registries = BTreeMap::new();
    let mut claims = BTreeMap::new();
    let Some(mut tables) = top.names("registries") else {
        return registries;
    };
    for (at, key) in tables.entries() {
        let name = key.parse();
        if let Err(invalid) = &name {
            tables.refuse_name(at, invalid);
        }
        let Some(mut section) = tables.section(key, REGISTRY) else {
            continue;
        };
        let registry = registry(&mut section, &mut claims);
        registries.extend(name.ok().map(|name: RegistryName| (name, registry)));
    }
    registries
}

fn registry(section: &mut Section<'_, '_>, claims: &mut Claims) -> Registry {
    let index = section.placed("index", Index::from_str);
    Registry {
        kind: section.parsed("kind", str::parse).unwrap_or_default(),
        scopes: scopes(section, index.as_ref(), claims),
        index: index.map(Spanned::into_inner),
        scheme: scheme(section),
        source: source(section),
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

fn source(section: &mut Section<'_, '_>) -> Source {
    if section.has_table("source") {
        let command = section.section("source", COMMAND).map(|mut table| command(&mut table));
        return command.map_or(Source::Store, Source::Command);
    }
    section.parsed("source", Source::from_str).unwrap_or(Source::Store)
}

fn command(section: &mut Section<'_, '_>) -> Command {
    let words = section.list("command", any_text);
    let words: Vec<_> = words.into_iter().flatten().map(Spanned::into_inner).collect();
    if !section.has("command") {
        section.refuse_missing("command", "the program and its arguments");
    } else if section.has_empty_list("command") || words.first().is_some_and(String::is_empty) {
        section.refuse(
            "command",
            "the program comes first, then its arguments; there is no shell",
        );
    }
    Command {
        command: words,
        output: output(section),
        ttl: section.parsed("ttl", lifetime),
        timeout: section.parsed("timeout", lifetime).unwrap_or(DEFAULT_TIMEOUT),
    }
}

fn output(section: &mut Section<'_, '_>) -> Output {
    let format = section.parsed("format", |word| match word {
        "raw" | "json" => Ok(word.to_owned()),
        _ => Err("a format is raw or json"),
    });
    if format.as_deref() == Some("json") {
        if !section.has("token") {
            section.refuse_missing("token", "the JSON pointer to the token");
        }
        return Output::Json {
            token: section.parsed("token", json_pointer).unwrap_or_default(),
            expires: section.parsed("expires", json_pointer),
        };
    }
    let surely_raw = format.is_some() || !section.has("format");
    for key in ["token", "expires"] {
        if surely_raw && section.has(key) {
            section.refuse(key, "it is a pointer into JSON; add format = \"json\" or remove it");
        }
    }
    Output::Raw
}

fn any_text(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}

fn absolute_path(text: &str) -> Result<PathBuf, &'static str> {
    match Path::new(text) {
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => Err("expected an absolute path"),
    }
}

/// RFC 6901, section 3.
fn json_pointer(text: &str) -> Result<String, &'static str> {
    let well_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && well_escaped {
        Ok(text.to_owned())
    } else {
        Err("expected a JSON pointer such as \"/Credentials/Token\"")
    }
}

fn lifetime(text: &str) -> Result<Duration, &'static str> {
    match super::duration(text)? {
        Duration::ZERO => Err("it must be longer than zero"),
        duration => Ok(duration),
    }
}

/// How long a command may run unless the file says otherwise.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) const REGISTRY: Keys = &[
    ("kind", r#""cargo""#),
    ("index", r#""sparse+https://corp.example/api/cargo/index/""#),
    ("scopes", r#"["https://corp.example/api/cargo/"]"#),
    ("scheme", r#""bearer""#),
    ("username", r#""me@corp.example""#),
    ("source", r#""store""#),
    ("writes", r#""deny""#),
    ("ca-file", r#""/etc/corp-root.pem""#),
    ("client-cert", r#""/etc/regauth/me.pem""#),
    ("client-key", r#""/etc/regauth/me.key""#),
];

pub(super) const COMMAND: Keys = &[
    ("command", r#"["aws", "codeartifact", "get-authorization-token"]"#),
    ("format", r#""json""#),
    ("token", r#""/authorizationToken""#),
    ("expires", r#""/expiration""#),
    ("ttl", r#""11h""#),
    ("timeout", r#""20s""#),
];
