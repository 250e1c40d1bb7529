//! Comparison of a new configuration with what is in service, for the person who permits it.
//!
//! A verb's request is reviewed before a person is asked, so that the question can list the changes. The verb reviews again under
//! the change's lock, and goes no further than what was permitted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regauth_shared::response::ConfigurationChange;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};

use crate::authority::company_roots::CompanyRoots;
use crate::config::{Config, changed_settings, changes};
use crate::control::controller::Controller;
use crate::control::state::State;
use crate::control::state::binding::token_use;
use crate::control::verbs::change_configuration::{config_after_replacement, config_after_set};
use crate::policy::binding::RootDigest;
use crate::proxy::routes::RegistryRoute;
use crate::registry::Registry;

/// Changes that a configuration makes to what is in service, those that widen anything first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Review {
    pub(super) changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A registry, or a key of one.
    Registry(ConfigurationChange),
    /// The `ca-file` of a registry has certificates that the registry does not trust yet.
    Certificates {
        registry: RegistryName,
        file: PathBuf,
        roots: BTreeSet<RootDigest>,
    },
    /// A key outside of the registries.
    Setting(&'static str),
}

impl Review {
    /// Reviews a request that changes the configuration; `None` for every other one.
    ///
    /// # Errors
    /// Those of the verb, as far as they are known before: a file or a text with errors, another file than the edited one.
    pub(super) async fn of_request(controller: &Controller, request: &Request) -> Result<Option<Self>, ErrorBody> {
        if !controller.persistent {
            return Ok(None);
        }
        let config = match request {
            Request::SetRegistry(request) if !request.check => config_after_set(controller, request)?,
            Request::ReplaceConfiguration(request) if !request.check => config_after_replacement(controller, request)?,
            Request::Reload(request) if !request.check => controller.read_config()?,
            _ => return Ok(None),
        };
        // A review reads the files that the configuration names.
        controller.check_config(&config)?;
        let state = controller.lock_state().await?;
        Ok(Some(Self::of(controller, &state, &config)))
    }

    /// Compares a configuration with what is in service.
    pub(super) fn of(controller: &Controller, state: &State, config: &Config) -> Self {
        let registries = changes(&registries_in_service(state), &config.registries);
        let (widening, others): (Vec<_>, Vec<_>) = registries.into_iter().partition(|change| change.widens.is_some());
        let settings = settings(controller, state, config).into_iter().map(Change::Setting);
        let certificates = config.registries.iter().filter_map(|(name, registry)| {
            let route = state.registries.get(name)?;
            certificates(route, registry)
        });
        Self {
            changes: (widening.into_iter().map(Change::Registry))
                .chain(certificates)
                .chain(settings)
                .chain(others.into_iter().map(Change::Registry))
                .collect(),
        }
    }

    /// The changes as an answer: those of registries, and the names of settings.
    pub(super) fn answer(self) -> (Vec<ConfigurationChange>, Vec<String>) {
        let (mut changes, mut settings) = (Vec::new(), Vec::new());
        for change in self.changes {
            match change {
                Change::Registry(change) => changes.push(change),
                Change::Certificates { registry, file, .. } => changes.push(other_certificates(registry, &file)),
                Change::Setting(key) => settings.push(key.to_owned()),
            }
        }
        changes.sort_by(|one, other| one.registry.cmp(&other.registry));
        (changes, settings)
    }

    /// Refuses a configuration that changes more than what a person has permitted.
    ///
    /// # Errors
    /// `failed` if something was changed meanwhile.
    pub(super) fn refuse_beyond(&self, permitted: &Self) -> Result<(), ErrorBody> {
        if self.changes.iter().all(|change| permitted.changes.contains(change)) {
            return Ok(());
        }
        let message = "the configuration has changed since its changes were confirmed";
        Err(ErrorBody::new(ErrorKind::Failed, message).hint("nothing was changed; repeat the command to see them"))
    }
}

fn other_certificates(registry: RegistryName, file: &Path) -> ConfigurationChange {
    let file = file.display();
    ConfigurationChange {
        registry,
        key: Some("ca-file".to_owned()),
        before: Some(file.to_string()),
        after: Some(format!("{file}, with other certificates")),
        widens: Some("other authorities can vouch for the registry".to_owned()),
    }
}

/// The registries in service, as configured.
pub(super) fn registries_in_service(state: &State) -> BTreeMap<RegistryName, Registry> {
    let registries = state.registries.iter();
    registries
        .map(|(name, route)| (name.clone(), route.configured().clone()))
        .collect()
}

/// Settings that differ from what was last read. The roots of the global `ca-file` are compared themselves.
fn settings(controller: &Controller, state: &State, config: &Config) -> Vec<&'static str> {
    let mut settings = changed_settings(&state.last_read, config);
    settings.retain(|key| *key != "ca-file");
    let company = CompanyRoots::read(config.ca_file.as_deref());
    if !company.is_ok_and(|company| company == **controller.company_roots.load()) {
        settings.insert(0, "ca-file");
    }
    if config.store.is_some_and(|store| store != controller.store().kind) {
        settings.push("store");
    }
    settings
}

/// Certificates of a registry's `ca-file` beyond those that verify it, or that wait for `confirm`.
fn certificates(route: &RegistryRoute, registry: &Registry) -> Option<Change> {
    let file = registry.ca_file.clone()?;
    let roots = token_use(registry).roots;
    let unconfirmed = route
        .unconfirmed
        .as_ref()
        .map(|unconfirmed| &unconfirmed.compared.roots);
    let known = unconfirmed.unwrap_or_else(|| route.upstream.added_roots());
    (!roots.is_subset(known)).then(|| Change::Certificates {
        registry: route.name.clone(),
        file,
        roots,
    })
}
