//! Comparison of a new configuration with what is in service, for the person who permits it.
//!
//! A verb's request is reviewed before a person is asked, so that the question can list the changes. The verb reviews again under
//! the change's lock, and goes no further than what was permitted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use regauth_shared::response::ConfigurationChange;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};

use crate::authority::company_roots::CompanyRoots;
use crate::config::{Config, RegistryChange, SettingChange, Weight, changed_settings, changes};
use crate::control::controller::Controller;
use crate::control::state::State;
use crate::control::state::binding::token_use;
use crate::control::verbs::change_configuration::{config_after_replacement, config_after_set};
use crate::policy::binding::RootDigest;
use crate::proxy::routes::RegistryRoute;
use crate::registry::Registry;

/// Changes that a configuration makes to what is in service, the gravest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Review {
    pub(super) changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A registry, or a key of one.
    Registry(RegistryChange),
    /// The `ca-file` of a registry has certificates that the registry does not trust yet.
    Certificates {
        registry: RegistryName,
        file: PathBuf,
        roots: BTreeSet<RootDigest>,
    },
    /// A key outside of the registries.
    Setting(SettingChange),
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
        let review = Self::of(controller, &*controller.lock_state().await?, &config);
        controller.confirmation.refuse_other_than(request.reviewed(), &review)?;
        Ok(Some(review))
    }

    /// Compares a configuration with what is in service.
    pub(super) fn of(controller: &Controller, state: &State, config: &Config) -> Self {
        let mut registries = changes(&registries_in_service(state), &config.registries);
        let mut certificates = Vec::new();
        for (name, registry) in &config.registries {
            let is_changed_file = |change: &&mut RegistryChange| change.adds_ca_file(name);
            match (registries.iter_mut().find(is_changed_file), state.registries.get(name)) {
                (Some(change), _) => change.value = change.value.with(&digests(&token_use(registry).roots)),
                (None, Some(route)) => certificates.extend(other_certificates(route, registry)),
                (None, None) => {}
            }
        }
        let settings = settings(controller, state, config).into_iter().map(Change::Setting);
        let registries = registries.into_iter().map(Change::Registry);
        Self::new(settings.chain(certificates).chain(registries).collect())
    }

    /// Sorts changes: a person may see the first ones only.
    pub(super) fn new(mut changes: Vec<Change>) -> Self {
        changes.sort_by_key(Change::weight);
        Self { changes }
    }

    /// The changes as an answer: those of registries, and the names of settings.
    pub(super) fn answer(self) -> (Vec<ConfigurationChange>, Vec<String>) {
        let (mut changes, mut settings) = (Vec::new(), Vec::new());
        for change in self.changes {
            match change {
                Change::Registry(change) => changes.push(change.shown),
                Change::Certificates { registry, file, .. } => changes.push(changed_file(registry, &file)),
                Change::Setting(change) => settings.push(change.key.to_owned()),
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
        Err(changed_since("confirmed"))
    }

    /// Digest of all changes with their values, in hexadecimal.
    pub(super) fn digest(&self, key: &hmac::Key) -> String {
        let mut context = hmac::Context::with_key(key);
        for change in &self.changes {
            let parts = change.parts();
            context.update(&(parts.len() as u64).to_be_bytes());
            for part in parts {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(&part);
            }
        }
        let digest = context.sign();
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Error about a configuration that is not the one that was shown, or confirmed.
pub(super) fn changed_since(step: &str) -> ErrorBody {
    let message = format!("the configuration has changed since its changes were {step}");
    ErrorBody::new(ErrorKind::Failed, message).hint("nothing was changed; repeat the command to see them")
}

impl Change {
    /// All that makes two changes equal.
    fn parts(&self) -> Vec<Vec<u8>> {
        let text = |text: &str| text.as_bytes().to_vec();
        match self {
            Self::Registry(RegistryChange { shown, value, .. }) => {
                let texts = [&shown.key, &shown.before, &shown.after, &shown.widens];
                let texts = texts.map(|part| part.as_deref().map_or_else(Vec::new, text));
                let name = [text("registry"), text(shown.registry.as_str())];
                name.into_iter()
                    .chain(texts)
                    .chain([value.as_bytes().to_vec()])
                    .collect()
            }
            Self::Certificates { registry, file, roots } => vec![
                text("certificates"),
                text(registry.as_str()),
                file.as_os_str().as_encoded_bytes().to_vec(),
                digests(roots),
            ],
            Self::Setting(change) => vec![text("setting"), text(change.key), change.value.as_bytes().to_vec()],
        }
    }

    /// Place in the list.
    pub(super) fn weight(&self) -> Weight {
        match self {
            Self::Registry(change) => change.weight(),
            Self::Certificates { .. } => Weight::Certificates,
            Self::Setting(change) => change.weight(),
        }
    }
}

fn changed_file(registry: RegistryName, file: &Path) -> ConfigurationChange {
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

/// Settings that differ from what was last read. The roots of the global `ca-file` are compared themselves. A weaker `presence`
/// that was read without a person is not in service, so the mode in service is compared.
fn settings(controller: &Controller, state: &State, config: &Config) -> Vec<SettingChange> {
    let before = Config {
        presence: controller.confirmation.mode(),
        ..state.last_read.clone()
    };
    let mut settings = changed_settings(&before, config);
    settings.retain(|change| change.key != "ca-file");
    let company = CompanyRoots::read(config.ca_file.as_deref());
    if !company
        .as_ref()
        .is_ok_and(|company| *company == **controller.company_roots.load())
    {
        settings.insert(0, SettingChange::to("ca-file", &(&config.ca_file, company.ok())));
    }
    if config.store.is_some_and(|store| store != controller.store().kind) {
        settings.push(SettingChange::to("store", &config.store));
    }
    settings
}

/// Certificates of a registry's `ca-file` beyond those that verify it, or that wait for `confirm`.
fn other_certificates(route: &RegistryRoute, registry: &Registry) -> Option<Change> {
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

/// The digests of certificates as one text of bytes.
fn digests(roots: &BTreeSet<RootDigest>) -> Vec<u8> {
    roots.iter().flat_map(|root| root.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(text: &str) -> Vec<Change> {
        let config = Config::read(&format!(
            "[registries.corp]\nscopes = ['https://corp.example/']\n{text}"
        ))
        .unwrap();
        let changes = changes(&BTreeMap::new(), &config.registries);
        changes.into_iter().map(Change::Registry).collect()
    }

    fn certificates(byte: u8) -> Vec<Change> {
        vec![Change::Certificates {
            registry: "corp".parse().unwrap(),
            file: "/corp.pem".into(),
            roots: [RootDigest([byte; 32])].into(),
        }]
    }

    #[test]
    fn a_value_that_was_swapped_under_the_same_text_is_beyond_what_was_permitted_or_shown() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let command = |word: &str| registry(&format!("source = {{ command = ['mint', '{word}'] }}"));
        let setting = |value: &str| vec![Change::Setting(SettingChange::to("[[trust]]", &value))];
        for (permitted, other) in [
            (command("a"), command("b")),
            (registry("programs = ['a']"), registry("programs = ['b']")),
            (certificates(1), certificates(2)),
            (setting("a"), setting("b")),
        ] {
            let [permitted, other] = [permitted, other].map(Review::new);
            assert!(permitted.refuse_beyond(&permitted).is_ok());
            assert!(Review::default().refuse_beyond(&permitted).is_ok());
            assert!(other.refuse_beyond(&permitted).is_err(), "{other:?}");
            assert!(other.refuse_beyond(&Review::default()).is_err(), "{other:?}");
            assert_eq!(permitted.digest(&key), permitted.clone().digest(&key));
            assert_ne!(permitted.digest(&key), other.digest(&key), "{other:?}");
            assert_ne!(permitted.digest(&key), Review::default().digest(&key));
        }
    }
}
