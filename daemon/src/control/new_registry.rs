//! A new registry as `add-registry` describes it: the definition, with every text checked, and the initial token.
//!
//! Nothing here changes the state: the verb does that once the registry has accepted the token.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use regauth_shared::request::{AddRegistry, SourceCommand};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};

use crate::config::sources::{json_pointer, lifetime, variable};
use crate::control::controller::Controller;
use crate::credential::source::TokenSource;
use crate::credential::source::preset::COMMAND_TIMEOUT;
use crate::credential::{Credential, CredentialState};
use crate::journal::JournalEntry;
use crate::policy::Rejections;
use crate::registry::{Command, Index, Kind, Output, Registry, Scheme, Scope, Source, Writes};

/// The registry that a request defines.
///
/// # Errors
/// `invalid`, with the flag whose text is wrong, or if the request has a token too many or too few.
pub(super) fn definition(request: &AddRegistry) -> Result<Registry, ErrorBody> {
    let registry = definition_without_token(request)?;
    match (&registry.source, &request.token) {
        (Source::Store, None) => Err(invalid(TOKEN_NEEDED)),
        (Source::Store, Some(_)) | (_, None) => Ok(registry),
        (source, Some(_)) => Err(invalid(format!(
            "a token was given, but the registry's token comes from {source}"
        ))),
    }
}

/// The registry that a request defines. Its token does not matter.
///
/// # Errors
/// `invalid`, with the flag whose text is wrong.
pub(super) fn definition_without_token(request: &AddRegistry) -> Result<Registry, ErrorBody> {
    let (index, scopes) = index_and_scopes(request)?;
    let kind: Kind = parse_flag("--kind", request.kind.as_deref().unwrap_or("cargo"))?;
    refuse_reserved_name(&request.name, kind)?;
    let writes: Writes = parse_flag("--writes", request.writes.as_deref().unwrap_or("deny"))?;
    let source = source(request)?;
    if request.untrusted {
        source.require_portable()?;
    }
    let scheme = match (request.scheme.as_deref(), request.username.as_deref()) {
        (None, None) => Ok(source.usual_scheme(kind)),
        (scheme, username) => {
            let usual = if username.is_some() { "basic" } else { "bearer" };
            Scheme::parse(scheme.unwrap_or(usual), username)
        }
    };
    let scheme = scheme.map_err(|error| invalid_flag("--scheme", &error))?;
    let programs = request.programs.iter().map(|name| parse_flag("--program", name));
    let programs = programs.collect::<Result<_, _>>()?;
    let ca_file = request.ca_file.as_ref().map(Into::into);
    let token_service = request.token_service.as_deref();
    let token_service = token_service
        .map(|text| parse_flag("--token-service", text))
        .transpose()?;
    if token_service.is_some() && kind != Kind::Oci {
        return Err(invalid("--token-service is for container registries; add --kind oci"));
    }
    Ok(Registry {
        kind,
        index,
        scopes,
        scheme,
        source,
        token_service,
        writes,
        programs,
        rejected_by: rejected_by(request)?,
        read_ahead: request.read_ahead.unwrap_or(true),
        ca_file,
        client_identity: None,
        bound_roots: None,
    })
}

fn rejected_by(request: &AddRegistry) -> Result<Rejections, ErrorBody> {
    match request.rejected_by.as_slice() {
        [] => Ok(Rejections::default()),
        statuses => Rejections::new(statuses).map_err(|error| invalid_flag("--rejected-by", &error)),
    }
}

/// Refuses the one name that cargo keeps for itself.
fn refuse_reserved_name(name: &RegistryName, kind: Kind) -> Result<(), ErrorBody> {
    if kind != Kind::Cargo || !name.as_str().eq_ignore_ascii_case(CRATES_IO) {
        return Ok(());
    }
    let message = "cargo reserves the name `crates-io` for crates.io itself, so it would never use this registry";
    Err(invalid(message).hint(
        "choose another name; to use the registry in place of crates.io, name it in cargo's configuration: \
         [source.crates-io] replace-with = \"NAME\"",
    ))
}

/// The index, and the scopes of the request and of the index itself.
fn index_and_scopes(request: &AddRegistry) -> Result<(Option<Index>, Vec<Scope>), ErrorBody> {
    let index = request.index.as_deref();
    let index: Option<Index> = index.map(|text| parse_flag("--index", text)).transpose()?;
    let mut scopes: Vec<Scope> = Vec::new();
    for text in &request.scopes {
        push_scope(&mut scopes, parse_flag("--scope", text)?);
    }
    if let Some(index) = &index {
        let scope = index.scope().map_err(|error| invalid_flag("--index", &error))?;
        push_scope(&mut scopes, scope);
    }
    if scopes.is_empty() {
        return Err(invalid("a registry needs --index or --scope"));
    }
    Ok((index, scopes))
}

/// Adds a scope. Of two scopes of a registry of which one covers the other, only the wider one stays.
pub(super) fn push_scope(scopes: &mut Vec<Scope>, scope: Scope) {
    if !scopes.iter().any(|present| present.covers(&scope)) {
        scopes.retain(|present| !scope.covers(present));
        scopes.push(scope);
    }
}

/// Parses a flag's text.
///
/// # Errors
/// `invalid`, with the flag's name.
pub(super) fn parse_flag<T: FromStr<Err: Display>>(flag: &str, text: &str) -> Result<T, ErrorBody> {
    text.parse().map_err(|error: T::Err| invalid_flag(flag, &error))
}

fn invalid_flag(flag: &str, error: &dyn Display) -> ErrorBody {
    invalid(format!("{flag}: {error}")).hint("`regauthctl add-registry --help` shows examples")
}

fn invalid(message: impl Into<String>) -> ErrorBody {
    ErrorBody::new(ErrorKind::Invalid, message)
}

/// The source of the token: at most one flag names it.
fn source(request: &AddRegistry) -> Result<Source, ErrorBody> {
    match (&request.source, &request.source_command, &request.credential_of) {
        (None, None, None) => Ok(Source::Store),
        (Some(text), None, None) => parse_flag("--source", text),
        (None, Some(flags), None) => Ok(Source::Command(command(flags)?)),
        (None, None, Some(owner)) => Ok(Source::Of(owner.clone())),
        _ => Err(invalid(
            "--source, --source-command and --credential-of exclude each other",
        )),
    }
}

fn command(flags: &SourceCommand) -> Result<Command, ErrorBody> {
    if flags.command.first().is_none_or(String::is_empty) {
        return Err(invalid(
            "--source-command: the program comes first, then its arguments; there is no shell",
        ));
    }
    let pointer = |text: &String| json_pointer(text).map_err(|error| invalid_flag("--source-json", &error));
    let duration = |text: &Option<String>, flag| {
        let parsed = text.as_deref().map(lifetime).transpose();
        parsed.map_err(|error| invalid_flag(flag, &error))
    };
    let output = match (&flags.token, &flags.expires) {
        (None, None) => Output::Raw,
        (Some(token), expires) => Output::Json {
            token: pointer(token)?,
            expires: expires.as_ref().map(pointer).transpose()?,
        },
        (None, Some(_)) => return Err(invalid_flag("--source-expires", &"it needs --source-json as well")),
    };
    let names = flags.env.iter().map(|name| variable(name));
    Ok(Command {
        command: flags.command.clone(),
        output,
        ttl: duration(&flags.ttl, "--source-ttl")?,
        timeout: duration(&flags.timeout, "--source-timeout")?.unwrap_or(COMMAND_TIMEOUT),
        environment: names
            .collect::<Result<_, _>>()
            .map_err(|error| invalid_flag("--source-env", &error))?,
        preset: None,
    })
}

/// A new registry's credential, and the token to probe the registry with.
#[derive(Debug)]
pub(super) struct InitialToken {
    /// The credential; shared with its owner for `--credential-of`.
    pub(super) credential: Arc<Credential>,
    /// The first token, or the reason why there is none.
    pub(super) first: Result<Secret, String>,
}

/// Gets the initial token: from the request, from the source, or from the registry that owns the credential.
///
/// # Errors
/// `failed` when there is no token and the request asks for verification; `not-found` when the owner does not exist.
pub(super) async fn initial_token(
    controller: &Controller,
    registry: &Registry,
    request: &AddRegistry,
) -> Result<InitialToken, ErrorBody> {
    let initial = match &registry.source {
        Source::Of(owner) => borrowed(controller, owner)?,
        source => match controller.token_source(&request.name, registry) {
            Some(source) => fetched(controller, request.name.clone(), source).await,
            None => given(controller, source, request),
        },
    };
    match &initial.first {
        // A person logs in once the registry is there.
        Err(why) if request.verify && !registry.source.needs_login() => Err(ErrorBody::new(
            ErrorKind::Failed,
            why.clone(),
        )
        .hint(
            "nothing was stored; fix the source and repeat, or add the registry without verification with --no-verify",
        )),
        _ => Ok(initial),
    }
}

fn borrowed(controller: &Controller, owner: &RegistryName) -> Result<InitialToken, ErrorBody> {
    let route = controller.snapshot().registry(owner)?;
    let credential = Arc::clone(&route.credential.shared);
    let first = match credential.state() {
        CredentialState::Ready(value) => Ok(value.secret.clone()),
        CredentialState::Locked => Err("the store is locked".to_owned()),
        CredentialState::Missing(why) | CredentialState::Unreadable(why) => Err(why),
    };
    Ok(InitialToken { credential, first })
}

async fn fetched(controller: &Controller, owner: RegistryName, mut source: TokenSource) -> InitialToken {
    let (fetched, first) = match source.fetch().await {
        Ok(fetched) => (Some(fetched.clone()), Ok(fetched.secret)),
        Err(error) => {
            let output = error.output.map(|output| format!("; its output: {output}"));
            let hint = error.hint.map(|hint| format!("; {hint}"));
            let more = output.into_iter().chain(hint).collect::<String>();
            (None, Err(error.message + &more))
        }
    };
    InitialToken {
        credential: Credential::refreshing(
            owner,
            source,
            fetched,
            None,
            &controller.refreshers,
            &controller.proxy.events,
        ),
        first,
    }
}

fn given(controller: &Controller, source: &Source, request: &AddRegistry) -> InitialToken {
    let first = match (source, &request.token) {
        (Source::Environment(variable), _) => {
            let secret = controller.environment.secret(variable);
            secret.map_err(|absent| absent.to_string())
        }
        (_, Some(token)) => Ok(token.clone()),
        (_, None) => Err(TOKEN_NEEDED.to_owned()),
    };
    let credential = Credential::fixed();
    let state = match &first {
        Ok(secret) => JournalEntry::first().value(secret.clone()).into(),
        Err(why) => CredentialState::Missing(why.clone()),
    };
    credential.load(state);
    InitialToken { credential, first }
}

/// Name of the registry that cargo knows without configuration (the Cargo book, "Registries").
const CRATES_IO: &str = "crates-io";
const TOKEN_NEEDED: &str = "a token is needed for the store";
