//! A new registry's credential: what the request says about its source, and its first value.

use std::sync::Arc;

use regauth_shared::request::{AddRegistry, SourceCommand};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};

use crate::config::sources::{json_pointer, lifetime, variable};
use crate::control::controller::Controller;
use crate::control::description::{invalid, read};
use crate::control::state::{State, find};
use crate::credential::keeper::Keeper;
use crate::credential::shelf::Present;
use crate::credential::source::Origin;
use crate::credential::source::preset::TIMEOUT;
use crate::journal::JournalEntry;
use crate::registry::{Command, Output, Registry, Source};

/// The source that a request describes.
pub(crate) fn source(request: &AddRegistry) -> Result<Source, ErrorBody> {
    let said = (&request.source, &request.source_command, &request.credential_of);
    let source = match said {
        (None, None, None) => Source::Store,
        (Some(text), None, None) => read("--source", text)?,
        (None, Some(said), None) => Source::Command(command(said)?),
        (None, None, Some(owner)) => Source::Of(owner.clone()),
        _ => {
            let message = "--source, --source-command and --credential-of exclude each other";
            return Err(ErrorBody::new(ErrorKind::Invalid, message));
        }
    };
    match (&source, &request.token) {
        (Source::Store, None) => Err(ErrorBody::new(ErrorKind::Invalid, "a token is needed for the store")),
        (Source::Store, Some(_)) | (_, None) => Ok(source),
        (source, Some(_)) => Err(ErrorBody::new(
            ErrorKind::Invalid,
            format!("a token was given, and the registry's token comes from {source}"),
        )),
    }
}

fn command(said: &SourceCommand) -> Result<Command, ErrorBody> {
    if said.command.first().is_none_or(String::is_empty) {
        return Err(ErrorBody::new(
            ErrorKind::Invalid,
            "--source-command: the program comes first, then its arguments; there is no shell",
        ));
    }
    let pointer = |text: &String| json_pointer(text).map_err(|error| invalid("--source-json", &error));
    let span = |text: &Option<String>, flag| {
        let read = text.as_deref().map(lifetime).transpose();
        read.map_err(|error| invalid(flag, &error))
    };
    let output = match (&said.token, &said.expires) {
        (None, None) => Output::Raw,
        (Some(token), expires) => Output::Json {
            token: pointer(token)?,
            expires: expires.as_ref().map(pointer).transpose()?,
        },
        (None, Some(_)) => return Err(invalid("--source-expires", &"it needs --source-json as well")),
    };
    let names = said.env.iter().map(|name| variable(name));
    Ok(Command {
        command: said.command.clone(),
        output,
        ttl: span(&said.ttl, "--source-ttl")?,
        timeout: span(&said.timeout, "--source-timeout")?.unwrap_or(TIMEOUT),
        environment: names
            .collect::<Result<_, _>>()
            .map_err(|error| invalid("--source-env", &error))?,
        preset: None,
    })
}

/// A new registry's credential.
#[derive(Debug)]
pub(crate) struct InitialToken {
    /// What holds it.
    pub(crate) keeper: Arc<Keeper>,
    /// Its value, or why there is none yet.
    pub(crate) first: Result<Secret, String>,
}

/// Gets the first value, from the request or from the source.
///
/// # Errors
/// When the source gives none, unless the registry is to be added unasked; or when there is no such owner.
pub(crate) async fn fetch(
    controller: &Controller,
    state: &State,
    registry: &Registry,
    request: &AddRegistry,
) -> Result<InitialToken, ErrorBody> {
    let supply = match &registry.source {
        Source::Of(owner) => borrowed(state, owner)?,
        source => match Origin::of(source) {
            Some(origin) => minted(controller, origin).await,
            None => given(controller, source, request).await,
        },
    };
    match &supply.first {
        Err(why) if request.verify => Err(ErrorBody::new(ErrorKind::Failed, why.clone())
            .hint("nothing was stored; mend the source and repeat, or add the registry unasked with --no-verify")),
        _ => Ok(supply),
    }
}

fn borrowed(state: &State, owner: &RegistryName) -> Result<InitialToken, ErrorBody> {
    let route = find(&state.registries, owner)?;
    let first = match route.keeper.present() {
        Present::Ready(value) => Ok(value.secret),
        Present::Locked => Err("the store is locked".to_owned()),
        Present::Missing(why) => Err(why),
    };
    Ok(InitialToken {
        keeper: Arc::clone(&route.keeper),
        first,
    })
}

async fn minted(controller: &Controller, mut origin: Origin) -> InitialToken {
    let (minted, first) = match origin.fetch().await {
        Ok(minted) => (Some(minted.clone()), Ok(minted.secret)),
        Err(failure) => {
            let output = failure
                .output
                .map_or_else(String::new, |output| format!("; it said: {output}"));
            (None, Err(failure.message + &output))
        }
    };
    InitialToken {
        keeper: Arc::new(Keeper::renewing(origin, minted, None, &controller.refreshers)),
        first,
    }
}

async fn given(controller: &Controller, source: &Source, request: &AddRegistry) -> InitialToken {
    let first = match (source, &request.token) {
        (Source::Environment(variable), _) => {
            let secret = controller.environment.secret(variable);
            secret.map_err(|absent| absent.to_string())
        }
        (_, Some(token)) => Ok(token.clone()),
        (_, None) => Err("a token is needed for the store".to_owned()),
    };
    let keeper = Arc::new(Keeper::fixed());
    let present = match &first {
        Ok(secret) => Present::Ready(JournalEntry::first().value(secret.clone())),
        Err(why) => Present::Missing(why.clone()),
    };
    keeper.replace(present).await;
    InitialToken { keeper, first }
}
