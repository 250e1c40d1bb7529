//! Check of the credential providers that cargo asks.

use std::path::Path;

use regauth_shared::response::RegistryView;

use super::merged_config::{MergedConfig, strings, words_at};
use super::{SETUP, registry_variable};
use crate::doctor::context::{DoctorContext, variable};
use crate::doctor::finding::Finding;
use crate::program::{PROVIDER, on_path};
use crate::setup::Tool;
use crate::user_folders::cargo_home;

/// One finding for all registries that lack the provider in the same way.
pub(super) fn check_providers(context: &DoctorContext, config: &MergedConfig) -> Vec<Finding> {
    let mut found: Vec<(ProviderFault, Vec<String>)> = Vec::new();
    for (view, _) in context.info.cargo_indexes() {
        let Some((fault, name)) = check_provider(config, view) else {
            continue;
        };
        match found.iter_mut().find(|(known, _)| *known == fault) {
            Some((_, names)) => names.push(name),
            None => found.push((fault, vec![name])),
        }
    }
    let findings = found.into_iter().map(|(fault, names)| fault.finding(context, &names));
    findings.collect()
}

/// Reason why cargo cannot ask our credential provider.
#[derive(Debug, PartialEq, Eq)]
struct ProviderFault {
    /// The program that does not exist; `None` if cargo asks only others.
    missing_program: Option<String>,
    /// The variable or key that sets the provider.
    source: Option<String>,
    file: Option<std::path::PathBuf>,
}

impl ProviderFault {
    fn finding(self, context: &DoctorContext, names: &[String]) -> Finding {
        let consequence =
            "cargo fails before any request if it publishes, yanks, or remembers `auth-required` of the index";
        let remedy = match &self.source {
            Some(variable) if variable.starts_with("CARGO_") => format!("unset {variable}"),
            Some(key) => context.remedy(Tool::Cargo, key, self.file.as_deref()),
            None => SETUP.to_owned(),
        };
        match self.missing_program {
            Some(program) => {
                let message = format!("cargo's credential provider {program} does not exist");
                Finding::new("cargo-provider-missing", message, consequence, remedy)
            }
            None => {
                let message = format!("cargo does not ask {PROVIDER} for the token of {}", names.join(", "));
                Finding::new("cargo-no-provider", message, consequence, remedy)
            }
        }
    }
}

/// A registry's own provider overrides the list for all registries. Returns the fault and the registry's name.
fn check_provider(config: &MergedConfig, view: &RegistryView) -> Option<(ProviderFault, String)> {
    let name = &view.name;
    let by_variable = |name: String| Some((variable(&name)?, name));
    let own = by_variable(registry_variable(view, "CREDENTIAL_PROVIDER")).or_else(|| {
        let words = words_at(config, &format!("/registries/{name}/credential-provider"))?;
        Some((words, format!("registries.{name}.credential-provider")))
    });
    let global = || {
        by_variable("CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS".to_owned()).or_else(|| {
            let words = words_at(config, "/registry/global-credential-providers")?;
            Some((words, "registry.global-credential-providers".to_owned()))
        })
    };
    let (providers, source) = match own.or_else(global) {
        Some((providers, source)) => (providers, Some(source)),
        None => (String::new(), None),
    };
    let alias = strings(config.pointer("/credential-alias/regauth"));
    let is_ours = |word: &&str| Path::new(word).file_name().is_some_and(|name| name == PROVIDER);
    let mut words = providers.split_whitespace().chain(alias.iter().map(String::as_str));
    let fault = |missing_program| ProviderFault {
        missing_program,
        file: source
            .as_deref()
            .and_then(|key| config.file_of(key))
            .map(Path::to_owned),
        source: source.clone(),
    };
    let Some(program) = words.find(is_ours) else {
        let suffix = if is_auth_required_cached(view) {
            " (it remembers that the index says auth-required)"
        } else {
            ""
        };
        return Some((fault(None), format!("{name}{suffix}")));
    };
    let exists = Path::new(program).is_absolute() && Path::new(program).exists() || on_path(program).is_some();
    (!exists).then(|| (fault(Some(program.to_owned())), name.to_string()))
}

/// True if cargo's cached index says `auth-required`: cargo then fails without a request.
fn is_auth_required_cached(view: &RegistryView) -> bool {
    let scope = view.scopes.first().and_then(|scope| url::Url::parse(scope).ok());
    let host = scope.as_ref().and_then(|scope| scope.host_str());
    let (Ok(home), Some(host)) = (cargo_home(), host) else {
        return false;
    };
    let Ok(folders) = std::fs::read_dir(home.join("registry/index")) else {
        return false;
    };
    let of_host = folders
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(host));
    let mut configs = of_host.filter_map(|entry| std::fs::read_to_string(entry.path().join("config.json")).ok());
    configs.any(|config| config.contains("auth-required"))
}
