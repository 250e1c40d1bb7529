//! The daemon's life: start, `reload`, `log`, `stop`, and the end.

use std::sync::Arc;

use regauth_shared::request::Log;
use regauth_shared::response::{LogLevels, Reloaded, Stopping};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, version};

use crate::authority::bundle;
use crate::authority::company_roots::CompanyRoots;
use crate::config::{Config, ProxyScheme};
use crate::control::controller::Controller;
use crate::control::state::State;
use crate::proxy::upstream::proxy_rules::CorporateProxy;
use crate::service;

/// Serves the configured registries: loads their tokens and authorities, completes what a kill interrupted, publishes the
/// routes, writes the bundle.
///
/// A store that is locked or silent does not stop the start: its registries answer `store-locked` until it opens.
///
/// # Errors
/// Those of the authorities and files.
pub(crate) async fn start(controller: &Controller, config: &Config) -> Result<(), ErrorBody> {
    let mut state = controller.lock_state().await?;
    controller.apply_config(&mut state, config).await?;
    controller.finish_pending(&mut state).await?;
    controller.finish_migration(&mut state).await;
    controller.publish(&state);
    Ok(())
}

/// Reads the configuration and all certificates again, for `reload` and SIGHUP.
///
/// # Errors
/// `invalid` when the file has errors, which change nothing; those of the authorities and files.
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
    let previous_roots = controller.company_roots.swap(Arc::new(company_roots(&config)?));
    let before: Vec<RegistryName> = state.registries.keys().cloned().collect();
    if let Err(error) = controller.apply_config(&mut state, &config).await {
        controller.company_roots.store(previous_roots);
        return Err(error);
    }
    let troubles = state.registries.values().filter_map(|route| route.trouble.clone());
    let mut notes: Vec<String> = troubles.collect();
    notes.extend(keys_for_the_next_start(controller, &config));
    notes.extend(tokens_left_in_the_store(&state, &before));
    tracing::info!(registries = state.registries.len(), "reloaded configuration");
    Ok(Reloaded {
        registries: state.registries.len(),
        notes,
    })
}

/// Reads the system's root certificates on another thread: they are many files, and this thread accepts connections.
async fn read_system_roots(controller: &Controller) {
    let read = tokio::task::spawn_blocking(bundle::system_roots_or_warn).await;
    // While a package replaces the files, there are none for a moment.
    if let Ok(roots) = read
        && !roots.is_empty()
    {
        controller.system_roots.store(Arc::new(roots));
    }
}

fn company_roots(config: &Config) -> Result<CompanyRoots, ErrorBody> {
    CompanyRoots::read(config.ca_file.as_deref()).map_err(|error| {
        ErrorBody::new(
            ErrorKind::Invalid,
            format!("`ca-file` at the top of config.toml: {error}"),
        )
        .hint("nothing was changed; correct the path or remove the key, then `regauthctl reload`")
    })
}

/// Notes about keys that changed in the file and take effect only at a start.
fn keys_for_the_next_start(controller: &Controller, config: &Config) -> impl Iterator<Item = String> {
    let at_start = &controller.at_start;
    let listens_elsewhere = config.listen.port() != 0 && config.listen != controller.proxy.listen;
    let store_differs = config.store.is_some_and(|store| store != controller.store().kind);
    // The bundle has the new roots at once, but the dialer's TLS was built at the start.
    let speaks_tls = |proxy: &&CorporateProxy| proxy.url.scheme == ProxyScheme::Https;
    let tls_proxy = controller.proxy.dialer.proxies().proxies().iter().any(speaks_tls);
    let keys = [
        ("ca-file", tls_proxy && config.ca_file != at_start.ca_file),
        ("listen", listens_elsewhere && config.listen != at_start.listen),
        ("store", store_differs),
        ("drain-timeout", config.drain_timeout != at_start.drain_timeout),
        ("clients", config.clients != controller.proxy.clients),
        ("[upstream]", config.upstream != at_start.upstream),
    ];
    let changed = keys.into_iter().filter(|(_, differs)| *differs);
    changed.map(|(key, _)| format!("`{key}` differs in the file and takes effect at the next start"))
}

/// Notes about registries that a person deleted from the file by hand.
fn tokens_left_in_the_store(state: &State, before: &[RegistryName]) -> Vec<String> {
    let removed = before.iter().filter(|name| !state.registries.contains_key(name));
    let with_token = removed.filter(|name| state.journal.registries.contains_key(name));
    with_token
        .map(|name| {
            format!(
                "`{name}` is gone from the file and its token is still in the store; `regauthctl remove-registry {name}` \
                 deletes it"
            )
        })
        .collect()
}

/// Shows or changes the log level.
///
/// # Errors
/// `failed` when the daemon's log has a fixed level.
pub(crate) fn log(controller: &Controller, request: &Log) -> Result<LogLevels, ErrorBody> {
    let unchangeable = || ErrorBody::new(ErrorKind::Failed, "the log level of this daemon cannot be changed");
    if let Some(level) = request.level {
        if !controller.logs.set(level) {
            return Err(unchangeable());
        }
        tracing::info!(level = level.as_str(), "changed log level");
    }
    let level = controller.logs.level().ok_or_else(unchangeable)?;
    Ok(LogLevels { level })
}

/// Makes the daemon drain and end after this answer.
pub(crate) fn stop(controller: &Controller) -> Stopping {
    tracing::info!(version = version::PROGRAM, "received a stop request");
    controller.stop.cancel();
    Stopping {
        connections: controller.proxy.counters.connections(),
        pid: std::process::id(),
        at_most: Some(controller.drain_timeout.as_secs()),
    }
}

/// Waits for the verb that holds the state lock, records the generations of sources, and ends all writes: another daemon
/// may own the files after this.
pub(crate) async fn close(controller: &Controller) {
    if let Ok(mut state) = controller.lock_state().await {
        controller.record_sourced_generations(&mut state);
        state.close();
    }
}
