//! `set-registry`, `replace-configuration` and `export`: changes to definitions, checked before they are live, and
//! definitions for others.
//!
//! A change is compared with the registries in service. One that widens where a token goes, or what it may do, needs the
//! person's agreement. Then each changed registry is asked about its token, the file is written, and it takes effect as
//! by `reload`: what a stored token was not given for waits for `confirm`. A failure restores the file.

use std::collections::BTreeSet;

use regauth_shared::request::{Export, ReplaceConfiguration, SetRegistry};
use regauth_shared::response::{ConfigurationChange, ConfigurationChanged, Exported};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};
use sha2::{Digest, Sha256};

use crate::atomic;
use crate::config::{Config, ConfigFile, definition};
use crate::control::controller::Controller;
use crate::control::error::unchanged;
use crate::control::presence::Permission;
use crate::control::probe::probe_token;
use crate::control::review::Review;
use crate::control::state::StateGuard;
use crate::control::state::binding::token_use;
use crate::control::verbs::lifecycle;
use crate::control::widening;
use crate::credential::CredentialState;
use crate::registry::Registry;

/// Changes keys of one registry.
///
/// # Errors
/// `not-found`, `invalid` for a key or value, `refused` for a change that widens without agreement, those of the probe
/// and of the files. An error changes nothing.
pub(crate) async fn set_registry(
    controller: &Controller,
    request: SetRegistry,
    permission: Permission,
) -> Result<ConfigurationChanged, ErrorBody> {
    let name = &request.name;
    let edit = |text: &str| set_keys(controller, &request, text);
    // A registry that is only in the file is not in service yet.
    controller.snapshot().registry(name)?;
    let options = Options {
        check: request.check,
        widen: request.widen,
        verify: request.verify,
        // A source that the registry has already is not the stranger's.
        untrusted: (request.untrusted && request.values.contains_key("source")).then_some(name),
        only: Some(name),
        permission,
    };
    change(controller, edit, &options).await
}

/// Replaces the text of the file, if it still is what the person began to edit.
///
/// # Errors
/// `exists` for a file that has changed since, `invalid` with every problem of the text, and as [`set_registry`].
pub(crate) async fn replace_configuration(
    controller: &Controller,
    request: ReplaceConfiguration,
    permission: Permission,
) -> Result<ConfigurationChanged, ErrorBody> {
    let edit = |text: &str| replace_text(controller, &request, text);
    let options = Options {
        check: request.check,
        widen: request.widen,
        verify: request.verify,
        untrusted: None,
        only: None,
        permission,
    };
    change(controller, edit, &options).await
}

/// Configuration after `set-registry`.
///
/// # Errors
/// As [`set_registry`], as far as they need no lock.
pub(in crate::control) fn config_after_set(
    controller: &Controller,
    request: &SetRegistry,
) -> Result<Config, ErrorBody> {
    let text = set_keys(controller, request, &controller.read_config_file()?)?;
    Config::read(&text).map_err(|problems| invalid_values(&request.name, &problems))
}

/// Configuration after `replace-configuration`.
///
/// # Errors
/// As [`replace_configuration`], as far as they need no lock.
pub(in crate::control) fn config_after_replacement(
    controller: &Controller,
    request: &ReplaceConfiguration,
) -> Result<Config, ErrorBody> {
    let text = replace_text(controller, request, &controller.read_config_file()?)?;
    Config::read(&text).map_err(|problems| controller.config_errors(&problems))
}

fn set_keys(controller: &Controller, request: &SetRegistry, text: &str) -> Result<String, ErrorBody> {
    let mut file = ConfigFile::parse(text).map_err(|problems| controller.config_errors(&problems))?;
    for (key, value) in &request.values {
        let is_set = file.set_registry_key(&request.name, key, value);
        is_set.map_err(|reason| ErrorBody::new(ErrorKind::Invalid, format!("`{key}`: {reason}")))?;
    }
    Ok(file.to_string())
}

fn replace_text(controller: &Controller, request: &ReplaceConfiguration, text: &str) -> Result<String, ErrorBody> {
    if digest(text) == request.base {
        return Ok(request.text.0.clone());
    }
    let message = format!("{} has changed since the edit began", controller.config_file.display());
    Err(ErrorBody::new(ErrorKind::Exists, message).hint("begin again with `regauthctl edit`"))
}

/// Definitions of registries in service, for another person.
///
/// # Errors
/// `not-found` for an unknown name.
pub(crate) fn export(controller: &Controller, request: &Export) -> Result<Exported, ErrorBody> {
    let snapshot = controller.snapshot();
    let names: BTreeSet<&RegistryName> = match request.names.as_slice() {
        [] => snapshot.registries.keys().collect(),
        names => names.iter().collect(),
    };
    let definitions = names.into_iter().map(|name| {
        let route = snapshot.registry(name)?;
        Ok(definition(name, route.configured()))
    });
    Ok(Exported {
        registries: definitions.collect::<Result<_, ErrorBody>>()?,
    })
}

/// Options of one change, from the request.
struct Options<'a> {
    /// Report only.
    check: bool,
    /// The person has agreed to what widens.
    widen: bool,
    /// Ask the changed registries about their tokens.
    verify: bool,
    /// Registry whose new source must be portable.
    untrusted: Option<&'a RegistryName>,
    /// The one registry that changes. Problems are then about its values, and not about lines of a file.
    only: Option<&'a RegistryName>,
    permission: Permission,
}

async fn change(
    controller: &Controller,
    edit: impl Fn(&str) -> Result<String, ErrorBody>,
    options: &Options<'_>,
) -> Result<ConfigurationChanged, ErrorBody> {
    if !controller.persistent {
        return Err(
            ErrorBody::new(ErrorKind::Refused, "an ephemeral daemon has no configuration file")
                .hint("remove the registry and add it again"),
        );
    }
    let mut state = controller.lock_for_change().await?;
    // Again after each removal of a registry meanwhile; there are not endlessly many.
    loop {
        let text = controller.read_config_file()?;
        let edited = edit(&text)?;
        let config = Config::read(&edited).map_err(|problems| match options.only {
            Some(name) => invalid_values(name, &problems),
            None => controller.config_errors(&problems),
        })?;
        refuse_untrusted_source(options.untrusted, &config)?;
        // Before the review, which reads the files that the configuration names, also for a mere check.
        controller.check_config(&config)?;
        let review = Review::of(controller, &state, &config);
        let digest = controller.confirmation.digest(&review);
        let (changes, settings) = review.clone().answer();
        let has_nothing_to_do = edited == text && changes.is_empty();
        if options.check || has_nothing_to_do {
            return Ok(ConfigurationChanged {
                applied: false,
                changes,
                settings,
                review: digest,
                notes: Vec::new(),
            });
        }
        options.permission.refuse_beyond(controller, &review)?;
        refuse_widening(options, &changes)?;
        check_registries(controller, &mut state, &config, &changes, options.verify).await?;
        if controller.read_config_file()? != text {
            continue;
        }
        let notes = put_into_service(controller, &mut state, &text, &edited, &options.permission).await?;
        tracing::info!(changes = changes.len(), "changed configuration");
        return Ok(ConfigurationChanged {
            applied: true,
            changes,
            settings,
            review: None,
            notes,
        });
    }
}

fn invalid_values(name: &RegistryName, problems: &crate::config::Problems) -> ErrorBody {
    let messages: Vec<_> = problems
        .as_slice()
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    ErrorBody::new(ErrorKind::Invalid, messages.join("; ")).hint(format!(
        "nothing was changed; `regauthctl show {name}` shows the present values, `regauthctl help set` the keys"
    ))
}

fn refuse_untrusted_source(untrusted: Option<&RegistryName>, config: &Config) -> Result<(), ErrorBody> {
    match untrusted.and_then(|name| config.registries.get(name)) {
        Some(registry) => registry.source.require_portable(),
        None => Ok(()),
    }
}

fn refuse_widening(options: &Options<'_>, changes: &[ConfigurationChange]) -> Result<(), ErrorBody> {
    let widening = changes.iter().filter_map(|change| {
        let reason = change.widens.as_deref()?;
        Some(format!(
            "{} {}: {reason}",
            change.registry,
            change.key.as_deref().unwrap_or("is new")
        ))
    });
    let widening: Vec<_> = widening.collect();
    if options.widen || widening.is_empty() {
        return Ok(());
    }
    let message = format!("the change needs your agreement: {}", widening.join("; "));
    Err(ErrorBody::new(ErrorKind::Refused, message).hint("nothing was changed; agree with --yes"))
}

/// Checks the certificates of each changed registry, and asks it about its present token under the new definition.
async fn check_registries(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    config: &Config,
    changes: &[ConfigurationChange],
    verify: bool,
) -> Result<(), ErrorBody> {
    let names: BTreeSet<&RegistryName> = changes.iter().map(|change| &change.registry).collect();
    for name in names {
        let (Some(route), Some(registry)) = (state.registries.get(name).cloned(), config.registries.get(name)) else {
            continue;
        };
        // The roots are read once: a file that gives others the second time verifies nobody.
        let registry = &registry.with_bound_roots(token_use(registry).roots);
        let upstream = controller.upstream(name, registry).map_err(unchanged)?;
        let state_of_token = route.credential.shared.state();
        let CredentialState::Ready(value) = &state_of_token else {
            continue;
        };
        registry
            .scheme
            .check(&value.secret)
            .map_err(|error| unchanged(error.into()))?;
        let before = route.configured();
        if !verify || before.source != registry.source || !is_sent_differently(before, registry) {
            continue;
        }
        // A stored token is not even sent for a check where it was not given for. A person confirms the change first.
        if !widening::is_covered(state, name, registry) {
            continue;
        }
        let probe = probe_token(&upstream, controller.upstream_pool(), registry, &value.secret);
        let probed = state.unlocked(controller.unless_ending(probe)).await?;
        probed.require_accepted(
            "nothing was changed; check the value, or make the change without asking with --no-verify",
            "nothing was changed; fix the cause and repeat, or make the change without asking with --no-verify",
        )?;
    }
    Ok(())
}

/// True if requests reach the registry in another way than before.
fn is_sent_differently(before: &Registry, after: &Registry) -> bool {
    before.index != after.index
        || before.scopes != after.scopes
        || before.scheme != after.scheme
        || before.token_service != after.token_service
        || before.ca_file != after.ca_file
        || before.client_identity != after.client_identity
}

/// Writes the file and applies it. If that fails, the old text is back.
async fn put_into_service(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    text: &str,
    edited: &str,
    permission: &Permission,
) -> Result<Vec<String>, ErrorBody> {
    write(controller, edited).await?;
    let roots_before = controller.company_roots.load_full();
    let error = match lifecycle::reload_config(controller, state, permission).await {
        Ok(reloaded) => return Ok(reloaded.notes),
        Err(error) => error,
    };
    controller.company_roots.store(roots_before);
    // A removal may have edited the file meanwhile; its edit must stay.
    if controller.read_config_file()? == edited {
        write(controller, text).await?;
    }
    Err(error)
}

async fn write(controller: &Controller, text: &str) -> Result<(), ErrorBody> {
    let (path, text) = (controller.config_file.clone(), text.to_owned());
    controller
        .write(&controller.config_file, move || {
            atomic::write(&path, text.as_bytes(), 0o600)
        })
        .await
}

/// SHA-256 of a text, in hexadecimal.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
