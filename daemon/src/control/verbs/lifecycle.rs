//! `reload`, `unlock`, `log` and `stop`.

use std::sync::Arc;

use regauth_shared::request::{Log, Unlock};
use regauth_shared::response::{LogLevels, Reloaded, Stopping, Unlocked};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, version};

use crate::authority::bundle;
use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::verbs::show;
use crate::credential::slot::Holding;
use crate::service;

/// Reads the configuration again. A file with errors changes nothing.
pub(crate) async fn reload(controller: &Controller) -> Result<Reloaded, ErrorBody> {
    let _reloading = service::reloading();
    let mut state = controller.lock_state().await?;
    read_system_roots(controller).await;
    if !controller.persistent {
        controller.write_bundle(&state)?;
        return Ok(Reloaded {
            registries: state.registries.len(),
            notes: vec!["an ephemeral daemon has no file".to_owned()],
        });
    }
    let config = controller.read_config()?;
    let before: Vec<RegistryName> = state.registries.keys().cloned().collect();
    controller.apply_config(&mut state, &config).await?;
    let troubles = state.registries.values().filter_map(|route| route.trouble.clone());
    let mut notes: Vec<String> = troubles.collect();
    notes.extend(unchanged_until_the_next_start(controller, &config));
    for name in before.iter().filter(|name| !state.registries.contains_key(name)) {
        if state.journal.registries.contains_key(name) {
            notes.push(format!(
                "`{name}` is gone from the file and its token is still in the store; `regauthctl remove-registry {name}` \
                 deletes it"
            ));
        }
    }
    tracing::info!(registries = state.registries.len(), "reloaded");
    Ok(Reloaded {
        registries: state.registries.len(),
        notes,
    })
}

/// The system's roots are many files, and the proxy's connections are accepted on this thread.
async fn read_system_roots(controller: &Controller) {
    let read = tokio::task::spawn_blocking(bundle::system_roots_or_warn).await;
    // A package that is just replacing them leaves none for a moment.
    if let Ok(roots) = read
        && !roots.is_empty()
    {
        controller.system_roots.store(Arc::new(roots));
    }
}

/// Says or changes how much is logged.
pub(crate) fn log(controller: &Controller, request: &Log) -> Result<LogLevels, ErrorBody> {
    let unchangeable = || ErrorBody::new(ErrorKind::Failed, "the log level of this daemon cannot be changed");
    if let Some(level) = request.level {
        if !controller.logs.set(level) {
            return Err(unchangeable());
        }
        tracing::info!(level = level.as_str(), "logging");
    }
    let level = controller.logs.level().ok_or_else(unchangeable)?;
    Ok(LogLevels { level })
}

fn unchanged_until_the_next_start(controller: &Controller, config: &Config) -> Vec<String> {
    let at_start = &controller.at_start;
    let listens_elsewhere = config.listen.port() != 0 && config.listen != controller.proxy.listen;
    let differences = [
        ("listen", listens_elsewhere && config.listen != at_start.listen),
        (
            "store",
            config.store.is_some_and(|store| store != controller.store().kind),
        ),
        ("drain-timeout", config.drain_timeout != at_start.drain_timeout),
        ("clients", config.clients != controller.proxy.clients),
        ("[upstream]", config.upstream != at_start.upstream),
    ];
    let differing = differences
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key));
    differing
        .map(|key| format!("`{key}` differs in the file and takes effect at the next start"))
        .collect()
}

/// Opens a locked store and brings what it keeps into service; puts a vault under a passphrase.
pub(crate) async fn unlock(controller: &Controller, request: Unlock) -> Result<Unlocked, ErrorBody> {
    let store = &controller.store().thread;
    // Nobody is to be asked to open a keychain that will then refuse a passphrase.
    if request.passphrase.is_some() || request.set_passphrase.is_none() {
        store.unlock(request.passphrase.as_ref()).await?;
    }
    if let Some(passphrase) = &request.set_passphrase {
        store.seal(passphrase).await?;
        tracing::info!("the vault has a new passphrase");
    }
    controller.retry_store().await;
    let snapshot = controller.snapshot();
    let ready = snapshot
        .registries
        .values()
        .filter(|route| matches!(*route.credential.load(), Holding::Ready(_)))
        .count();
    Ok(Unlocked {
        store: show::store_view(controller, snapshot.store_trouble.as_ref()),
        ready,
    })
}

/// Ends the daemon after this answer: it drains.
pub(crate) fn stop(controller: &Controller) -> Stopping {
    tracing::info!(version = version::PROGRAM, "asked to stop");
    controller.stop.cancel();
    Stopping {
        connections: controller.proxy.counters.connections(),
        pid: std::process::id(),
        at_most: Some(controller.drain_timeout.as_secs()),
    }
}
