//! A registry as a request describes it: every text is checked here.

use std::fmt::Display;
use std::str::FromStr;

use regauth_shared::request::AddRegistry;
use regauth_shared::{ErrorBody, ErrorKind};

use crate::control::initial_token;
use crate::registry::{Index, Kind, Registry, Scheme, Scope, Writes};

/// The registry that the request describes.
pub(super) fn registry(request: &AddRegistry) -> Result<Registry, ErrorBody> {
    let (index, scopes) = places(request)?;
    let kind: Kind = read("--kind", request.kind.as_deref().unwrap_or("cargo"))?;
    let writes: Writes = read("--writes", request.writes.as_deref().unwrap_or("deny"))?;
    let username = request.username.as_deref();
    let usual = if username.is_some() { "basic" } else { "bearer" };
    let scheme = Scheme::parse(request.scheme.as_deref().unwrap_or(usual), username)
        .map_err(|error| invalid("--scheme", &error))?;
    let ca_file = request.ca_file.as_ref().map(Into::into);
    Ok(Registry {
        kind,
        index,
        scopes,
        scheme,
        source: initial_token::source(request)?,
        writes,
        ca_file,
        client_identity: None,
    })
}

/// The index, and the scopes that were given or that it begins with.
fn places(request: &AddRegistry) -> Result<(Option<Index>, Vec<Scope>), ErrorBody> {
    let index: Option<Index> = request.index.as_deref().map(|text| read("--index", text)).transpose()?;
    let mut scopes: Vec<Scope> = Vec::new();
    for text in &request.scopes {
        push_uncovered(&mut scopes, read("--scope", text)?);
    }
    if let Some(index) = &index {
        push_uncovered(&mut scopes, index.scope().map_err(|error| invalid("--index", &error))?);
    }
    if scopes.is_empty() {
        return Err(ErrorBody::new(
            ErrorKind::Invalid,
            "a registry needs --index or --scope",
        ));
    }
    Ok((index, scopes))
}

/// Reads what a flag says.
pub(super) fn read<T: FromStr<Err: Display>>(flag: &str, text: &str) -> Result<T, ErrorBody> {
    text.parse().map_err(|error: T::Err| invalid(flag, &error))
}

/// What a flag says makes no sense.
pub(super) fn invalid(flag: &str, error: &dyn Display) -> ErrorBody {
    ErrorBody::new(ErrorKind::Invalid, format!("{flag}: {error}"))
        .hint("`regauthctl add-registry --help` shows examples")
}

/// Of two scopes of one registry, the wider one says it all.
pub(super) fn push_uncovered(scopes: &mut Vec<Scope>, scope: Scope) {
    if !scopes.iter().any(|present| present.covers(&scope)) {
        scopes.retain(|present| !scope.covers(present));
        scopes.push(scope);
    }
}
