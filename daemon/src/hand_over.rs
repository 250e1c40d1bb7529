//! `regauthd --hand-over`: gives a user's registries and tokens to a guarded daemon, when `service install --for` moves them.
//!
//! It runs as the user, reads what that user can read, and uses pipes only. It takes no lock: the user's daemon may still
//! serve while the registries are listed. A registry whose token was given for less than config.toml says stays: a program
//! may have changed the file. [`HandOver`] describes the lines.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use regauth_shared::hand_over::HandOver;
use regauth_shared::paths::{Folders, NoHome};
use regauth_shared::request::{AddRegistry, SetUpstream};
use regauth_shared::{RegistryName, Secret};

use crate::config::serialize::source_record;
use crate::config::{Config, Problems, ProxyUrl};
use crate::configured_file::{self, MAX_CERTIFICATES};
use crate::control::state::binding::token_use;
use crate::credential::store::select::OpenStore;
use crate::credential::store::{Item, StoreError};
use crate::guarded;
use crate::policy::binding::{Binding, TokenUse, Wider};
use crate::proxy::upstream::root_digests_of;
use crate::registry::{Registry, Source};

/// Lists the registries and, when the reader asks for it, deletes what it has taken over. `with_tokens` is false if the reader asks a
/// person for each token again.
///
/// # Errors
/// [`HandOverError`], each with what to do.
pub async fn run(
    home: Option<&Path>,
    with_tokens: bool,
    mut answers: impl BufRead,
    mut lines: impl Write,
) -> Result<(), HandOverError> {
    let folders = Folders::resolve(home, |name| std::env::var_os(name))?;
    let config = read_config(&folders)?;
    let store = config.store.map(|kind| OpenStore::new(&folders, kind));
    let mut write = |line: &HandOver| -> Result<(), HandOverError> {
        serde_json::to_writer(&mut lines, line).map_err(io::Error::from)?;
        lines.write_all(b"\n")?;
        Ok(lines.flush()?)
    };
    for (name, registry) in in_order(&config) {
        let store = store.as_ref().filter(|_| with_tokens);
        write(&registry_line(&config, name, registry, store).await?)?;
    }
    let proxy = proxy_url(&config, store.as_ref(), with_tokens).await?;
    if let Some(line) = upstream_line(&config, proxy)? {
        write(&line)?;
    }
    write(&HandOver::End)?;
    let mut removed = 0;
    let mut line = String::new();
    while answers.read_line(&mut line)? > 0 {
        if let (Ok(item), Some(store)) = (line.trim().parse(), &store) {
            delete(store, item).await?;
            removed += 1;
        }
        line.clear();
    }
    writeln!(lines, "{removed}")?;
    Ok(lines.flush()?)
}

/// Deletes a token with the record of what it was given for, or another item.
async fn delete(store: &OpenStore, item: Item) -> Result<(), StoreError> {
    store.thread.delete(&item).await?;
    match item {
        Item::Credential(name) => store.thread.delete(&Item::Binding(name)).await,
        Item::Binding(_) | Item::AuthorityKey(_) | Item::ProxyUrl => Ok(()),
    }
}

/// The user's configuration; the default one if there is no file.
fn read_config(folders: &Folders) -> Result<Config, HandOverError> {
    let file = folders.config_file();
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(HandOverError::Unreadable(file, error)),
    };
    Config::read(&text).map_err(|problems| HandOverError::Config(file, problems))
}

fn read_roots(file: &Path) -> io::Result<String> {
    configured_file::read_text(file, MAX_CERTIFICATES)
}

/// Registries that share a credential come after its owner.
fn in_order(config: &Config) -> impl Iterator<Item = (&RegistryName, &Registry)> {
    let shares = |registry: &Registry| matches!(registry.source, Source::Of(_));
    let owners = config.registries.iter().filter(move |(_, registry)| !shares(registry));
    owners.chain(config.registries.iter().filter(move |(_, registry)| shares(registry)))
}

/// Line of a registry. Without a store, a person gives the token again, for what is shown then.
async fn registry_line(
    config: &Config,
    name: &RegistryName,
    registry: &Registry,
    store: Option<&OpenStore>,
) -> Result<HandOver, HandOverError> {
    let left = |reason: String| HandOver::Left {
        name: name.clone(),
        reason,
    };
    if let Some(reason) = obstacle(registry) {
        return Ok(left(reason));
    }
    let roots = match registry.ca_file.as_deref().map(read_roots).transpose() {
        Ok(roots) => roots,
        Err(error) => return Ok(left(format!("its ca-file cannot be read: {error}"))),
    };
    let mut token = None;
    if let Some(store) = store {
        if registry.source == Source::Store {
            token = store.thread.read(&Item::Credential(name.clone())).await?;
            if token.is_none() {
                return Ok(left("it has no token".to_owned()));
            }
        }
        let now = TokenUse {
            roots: roots.as_deref().map(root_digests_of).unwrap_or_default(),
            ..token_use(registry)
        };
        let changes = unconfirmed(config, name, &now, store).await?;
        if !changes.is_empty() {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            return Ok(left(format!(
                "its token was not given for all that its configuration says ({}); if that is right, have its user run \
                 `regauthctl confirm {name}`, then repeat",
                changes.join("; ")
            )));
        }
    }
    Ok(HandOver::Registry {
        request: Box::new(request(name, registry, token)),
        roots,
    })
}

/// Differences by which a registry's configuration widens the record of its token.
async fn unconfirmed(
    config: &Config,
    name: &RegistryName,
    now: &TokenUse,
    store: &OpenStore,
) -> Result<Vec<Wider>, HandOverError> {
    let owner = config.owner(name);
    let record = match store.thread.read(&Item::Binding(owner.clone())).await {
        Err(StoreError::Unusable(_)) => None,
        record => record?,
    };
    let binding = record.and_then(|record| Binding::from_record(record.expose()).ok());
    let source = config.registries.get(owner).map(|owner| &owner.source);
    Ok(match (binding, source) {
        (Some(binding), Some(source)) if binding.source == source_record(source) => binding.wider(name, now),
        (Some(_), Some(source)) => vec![Wider::Source(source.to_string())],
        _ => vec![Wider::Unrecorded],
    })
}

/// Reason why a guarded daemon cannot serve the registry, or not as it is.
fn obstacle(registry: &Registry) -> Option<String> {
    match &registry.source {
        Source::Store | Source::Of(_) => {}
        source => {
            return Some(format!(
                "its token comes from {source}, which a daemon of another user cannot use"
            ));
        }
    }
    if registry.client_identity.is_some() {
        return Some("it has a client certificate, whose key a daemon of another user cannot read".to_owned());
    }
    let plain = guarded::plain_url(registry)?;
    Some(format!("every program can listen on the port of {plain}"))
}

fn request(name: &RegistryName, registry: &Registry, token: Option<Secret>) -> AddRegistry {
    AddRegistry {
        name: name.clone(),
        index: registry.index.as_ref().map(ToString::to_string),
        scopes: registry.scopes.iter().map(ToString::to_string).collect(),
        kind: Some(registry.kind.as_str().to_owned()),
        scheme: Some(registry.scheme.to_string()),
        username: registry.scheme.username().map(str::to_owned),
        token_service: registry.token_service.as_ref().map(ToString::to_string),
        writes: Some(registry.writes.as_str().to_owned()),
        programs: registry.programs.iter().map(ToString::to_string).collect(),
        rejected_by: registry.rejected_by.iter().collect(),
        read_ahead: Some(registry.read_ahead),
        untrusted: false,
        ca_file: None,
        source: None,
        source_command: None,
        credential_of: match &registry.source {
            Source::Of(owner) => Some(owner.clone()),
            _ => None,
        },
        token,
        proof: None,
        offer_locations: false,
        verify: false,
    }
}

/// URL of the corporate proxy, with the password that the store has for it.
async fn proxy_url(
    config: &Config,
    store: Option<&OpenStore>,
    with_password: bool,
) -> Result<Option<Secret>, HandOverError> {
    let Some(url) = &config.upstream.proxy else {
        return Ok(None);
    };
    if let Some(store) = store.filter(|_| with_password && url.lacks_password())
        && let Some(stored) = store.thread.read(&Item::ProxyUrl).await?
        && ProxyUrl::from_file(stored.expose()).is_ok_and(|stored| stored.with_password(None) == *url)
    {
        return Ok(Some(stored));
    }
    Ok(Secret::parse(&url.to_text()).ok())
}

/// The corporate proxy and the company's roots of the configuration. Those of the environment stay with the environment.
fn upstream_line(config: &Config, proxy: Option<Secret>) -> Result<Option<HandOver>, HandOverError> {
    if proxy.is_none() && config.ca_file.is_none() {
        return Ok(None);
    }
    let unreadable = |file: &PathBuf, error| HandOverError::Unreadable(file.clone(), error);
    let roots = config.ca_file.as_ref();
    let roots = roots.map(|file| read_roots(file).map_err(|error| unreadable(file, error)));
    Ok(Some(HandOver::Upstream {
        request: SetUpstream {
            proxy,
            no_proxy: config.upstream.no_proxy.clone().unwrap_or_default(),
            ..SetUpstream::default()
        },
        roots: roots.transpose()?,
    }))
}

/// Error of a handover.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// No folders: neither `--home` nor a home directory.
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// File that cannot be read.
    #[error("cannot read {}: {}", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    /// Configuration with errors.
    #[error("{} has errors:\n{}", .0.display(), .1)]
    Config(PathBuf, Problems),
    /// Store that does not give its tokens.
    #[error("{0}; open it as that user, or give the tokens again with --ask")]
    Store(#[from] StoreError),
    /// Pipe that was closed.
    #[error("the handover was broken off: {0}")]
    Pipe(#[from] io::Error),
}

#[cfg(test)]
mod tests;
