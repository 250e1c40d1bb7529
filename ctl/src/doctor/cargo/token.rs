//! Check for tokens that cargo has itself.

use std::path::Path;

use regauth_shared::response::RegistryView;

use super::merged_config::MergedConfig;
use super::registry_variable;
use crate::doctor::context::{removal, variable};
use crate::doctor::finding::Finding;
use crate::user_folders::cargo_home;

/// Notes a token that cargo has itself.
pub(super) fn check_token(config: &MergedConfig, view: &RegistryView) -> Option<Finding> {
    let token_variable = registry_variable(view, "TOKEN");
    let (place, remedy) = if variable(&token_variable).is_some() {
        (
            format!("the variable {token_variable}"),
            format!("unset {token_variable}"),
        )
    } else {
        let (key, file) = own_token_file(config, view)?;
        (file.clone(), removal(&key, &file))
    };
    let finding = Finding::new(
        "cargo-holds-token",
        format!("cargo has its own token for {}, in {place}", view.name),
        "cargo does not need it any more, and every build script can read it",
        format!("{remedy}; then replace the token at the registry"),
    );
    Some(finding.into_note())
}

/// Key and file of a token that cargo has: in its configuration, a project's too, or in its credentials.
fn own_token_file(config: &MergedConfig, view: &RegistryView) -> Option<(String, String)> {
    let key = format!("registries.{}.token", view.name);
    if let Some(file) = config.file_of(&key) {
        return Some((key, file.display().to_string()));
    }
    let home = cargo_home().ok()?;
    // Cargo still reads the old file names `credentials` and `config`.
    let names = ["credentials.toml", "credentials", "config.toml", "config"];
    let mut files = names.iter().map(|file| home.join(file));
    let file = files.find(|file| has_token(file, view.name.as_str()))?;
    Some((key, file.display().to_string()))
}

fn has_token(file: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let document: toml_edit::DocumentMut = text.parse().unwrap_or_default();
    let registry = document.get("registries").and_then(|registries| registries.get(name));
    registry.is_some_and(|registry| registry.get("token").is_some())
}
