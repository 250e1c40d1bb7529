//! The daemon's life: start, `reload`, `log`, `stop`, and the end.

use std::sync::Arc;

use regauth_shared::event::{EventKind, Reload};
use regauth_shared::request::{self, Log};
use regauth_shared::response::{LogLevels, Reloaded, SocketOrigin, Stopping};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, version};
use rustls_pki_types::CertificateDer;

use crate::authority::bundle;
use crate::authority::company_roots::CompanyRoots;
use crate::config::{Config, ProxyScheme};
use crate::control::controller::{Controller, SystemRoots};
use crate::control::error::unchanged;
use crate::control::presence::{Permission, Presence};
use crate::control::review::Review;
use crate::control::state::apply::Applied;
use crate::control::state::{State, StateGuard};
use crate::control::workload_trust;
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
    let mut state = controller.lock_for_change().await?;
    state.last_read = config.clone();
    Controller::note_tokens_of_older_release(&mut state, config);
    controller.apply_config(&mut state, config).await?;
    controller.forget_tokens_of_older_release(&mut state);
    controller.finish_pending(&mut state).await?;
    controller.finish_migration(&mut state).await;
    controller.load_proxy_password(&mut state).await;
    if state.journal_was_lost {
        tracing::warn!(
            file = %controller.folders.journal().display(),
            "the journal was missing; generations are numbered by the time, and running clients must be started again"
        );
    }
    let is_settled = Controller::forget_unbound(&mut state);
    if is_settled || !controller.folders.journal().exists() {
        controller.write_journal(&state.journal).await?;
    }
    controller.publish(&state);
    // `status` and the log have its notes.
    let _ = workload_trust::apply(controller, config);
    Ok(())
}

/// Reloads, or reports what a reload would change.
///
/// # Errors
/// As [`reload`].
pub(crate) async fn check_or_reload(
    controller: &Controller,
    request: &request::Reload,
    permission: Permission,
) -> Result<Reloaded, ErrorBody> {
    match request.check {
        true => check_reload(controller).await,
        false => reload(controller, permission).await,
    }
}

/// Reads the configuration and all certificates again, for `reload` and SIGHUP.
///
/// # Errors
/// `invalid` when the file has errors; those of the authorities and files. An error changes nothing.
pub(crate) async fn reload(controller: &Controller, permission: Permission) -> Result<Reloaded, ErrorBody> {
    let _reloading = service::reloading();
    let mut state = controller.lock_for_change().await?;
    let roots_before = controller.system_roots.load_full();
    let company_before = controller.company_roots.load_full();
    let read = read_system_roots();
    let roots = state.unlocked(read).await;
    if let Some(roots) = roots {
        controller.system_roots.store(Arc::new(SystemRoots::new(roots)));
    }
    let reloaded = reload_config(controller, &mut state, &permission).await;
    if reloaded.is_err() {
        controller.system_roots.store(roots_before);
        controller.company_roots.store(company_before);
    }
    let reloaded = reloaded?;
    tracing::info!(registries = reloaded.registries, "reloaded configuration");
    controller.announce(EventKind::Reload(Reload {
        registries: reloaded.registries as u64,
    }));
    Ok(reloaded)
}

/// Compares the configuration file with what is in service.
///
/// # Errors
/// `invalid` when the file has errors.
async fn check_reload(controller: &Controller) -> Result<Reloaded, ErrorBody> {
    let state = controller.lock_state().await?;
    if !controller.persistent {
        return Ok(Reloaded {
            registries: state.registries.len(),
            changes: Vec::new(),
            settings: Vec::new(),
            review: None,
            notes: Vec::new(),
        });
    }
    let config = controller.read_config()?;
    controller.check_config(&config)?;
    let review = Review::of(controller, &state, &config);
    let digest = controller.confirmation.digest(&review);
    let (changes, settings) = review.answer();
    Ok(Reloaded {
        registries: config.registries.len(),
        changes,
        settings,
        review: digest,
        notes: Vec::new(),
    })
}

/// Applies the configuration file as it is now.
///
/// # Errors
/// As [`reload`]. An error leaves everything as it was.
pub(super) async fn reload_config(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    permission: &Permission,
) -> Result<Reloaded, ErrorBody> {
    if !controller.persistent {
        controller.write_bundle(state).await.map_err(unchanged)?;
        return Ok(Reloaded {
            registries: state.registries.len(),
            changes: Vec::new(),
            settings: Vec::new(),
            review: None,
            notes: vec!["an ephemeral daemon has no file".to_owned()],
        });
    }
    let (before, config, review) = loop {
        let config = controller.read_config()?;
        controller.check_config(&config)?;
        let review = Review::of(controller, state, &config);
        permission.refuse_beyond(controller, &review)?;
        controller.company_roots.store(Arc::new(company_roots(&config)?));
        let before: Vec<RegistryName> = state.registries.keys().cloned().collect();
        // Again after each removal of a registry meanwhile; there are not endlessly many.
        let applied = controller.apply_config(state, &config).await;
        if applied.map_err(unchanged)? == Applied::Published {
            break (before, config, review);
        }
    };
    let mut notes = workload_trust::apply(controller, &config);
    notes.extend(state.registries.values().filter_map(|route| route.trouble.clone()));
    notes.extend(state.registries.values().filter_map(|route| {
        let unconfirmed = route.unconfirmed.as_ref()?;
        Some(unconfirmed.message(&route.name))
    }));
    notes.extend(take_presence(controller, &config, permission.presence));
    notes.extend(keys_for_the_next_start(controller, &config));
    notes.extend(tokens_left_in_the_store(state, &before));
    state.last_read = config;
    let (changes, settings) = review.answer();
    Ok(Reloaded {
        registries: state.registries.len(),
        changes,
        settings,
        review: None,
        notes,
    })
}

/// Takes over how programs are kept from what needs a person. A weaker mode needs a person itself.
fn take_presence(controller: &Controller, config: &Config, presence: Presence) -> Option<String> {
    let (before, after) = (controller.confirmation.mode(), config.presence);
    if before == after {
        return None;
    }
    let is_weaker = after < before;
    let (before, after) = (before.as_str(), after.as_str());
    if is_weaker && presence != Presence::Person {
        return Some(format!(
            "`presence` stays \"{before}\", since no person has confirmed \"{after}\": restart regauthd to use it"
        ));
    }
    tracing::warn!(before, after, "changed `presence`");
    controller.confirmation.set_mode(config.presence);
    Some(format!("`presence` was \"{before}\" and is \"{after}\" now"))
}

/// Reads the system's root certificates on another thread: they are many files, and this thread accepts connections.
/// `None` if there are none: while a package replaces the files, there are none for a moment.
async fn read_system_roots() -> Option<Vec<CertificateDer<'static>>> {
    let read = tokio::task::spawn_blocking(bundle::system_roots_or_warn).await;
    read.ok().filter(|roots| !roots.is_empty())
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
    let is_passed = controller.sockets.proxy == SocketOrigin::Passed;
    let store_differs = config.store.is_some_and(|store| store != controller.store().kind);
    // The bundle has the new roots at once, but the dialer's TLS was built at the start.
    let speaks_tls = |proxy: &&CorporateProxy| proxy.url.scheme == ProxyScheme::Https;
    let tls_proxy = controller.proxy.dialer.proxies().proxies().iter().any(speaks_tls);
    let keys = [
        ("ca-file", tls_proxy && config.ca_file != at_start.ca_file),
        ("audit", config.audit != at_start.audit),
        ("metrics-listen", config.metrics_listen != at_start.metrics_listen),
        ("warn-before", config.warn_before != at_start.warn_before),
        ("notify", config.notify != at_start.notify),
        (
            "listen",
            listens_elsewhere && config.listen != at_start.listen && !is_passed,
        ),
        ("listen-tls", config.listen_tls != at_start.listen_tls),
        ("signed-grants", config.signed_grants != at_start.signed_grants),
        ("authorities", config.authorities != at_start.authorities),
        ("store", store_differs),
        ("drain-timeout", config.drain_timeout != at_start.drain_timeout),
        ("drain-delay", config.drain_delay != at_start.drain_delay),
        ("clients", config.clients != controller.proxy.clients),
        ("[upstream]", config.upstream != at_start.upstream),
    ];
    let changed = keys.into_iter().filter(|(_, differs)| *differs);
    let changed = changed.map(|(key, _)| format!("`{key}` differs in the file and takes effect at the next start"));
    let unused = (listens_elsewhere && config.listen != at_start.listen && is_passed).then(|| {
        format!(
            "`listen` differs in the file and takes no effect: the service manager listens; `regauthctl service install \
             --listen {}` moves its socket",
            config.listen
        )
    });
    changed.chain(unused)
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

/// Lets no refresh of a login begin, and waits for those under way: their refresh tokens are spent. It has a deadline.
pub(crate) async fn finish_refreshes(controller: &Controller) {
    controller.stores.secrets().end().await;
}

/// Records the generations of sources and ends all writes: another daemon may own the files after this. Waits for a write
/// under way, not for a verb that waits for a registry, a source or a store.
pub(crate) async fn close(controller: &Controller) {
    if let Ok(mut state) = controller.lock_state().await {
        controller.record_sourced_generations(&mut state).await;
        controller.state.close(state).await;
    }
}
