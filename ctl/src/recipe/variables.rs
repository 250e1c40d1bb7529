//! Environment of a client with a grant, and the recipes that consist of it.

use std::path::PathBuf;

use regauth_shared::placeholder::PLACEHOLDER;
use regauth_shared::response::{GrantView, RegistryView};

use super::listener::url_for;
use super::{ClientKind, Plan, Recipe};
use crate::daemon_info::is_git_index;
use crate::environment::{self, Variable};
use crate::shell::Shell;

/// Variables for the registries of the grant. There is no daemon where the client runs, so cargo gets placeholders by its own
/// provider, which reads variables.
pub(super) fn variables(plan: &Plan<'_>, grant: &GrantView, proxy: &str, bundle: &str) -> Vec<Variable> {
    let mut variables = environment::proxy_and_bundle(proxy, bundle);
    let mut set = |name: String, value: &str| variables.push((name, Some(value.to_owned())));
    set("CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS".to_owned(), "cargo:token");
    for (view, index) in plan.info.cargo_indexes().filter(|(view, _)| is_covered(view, grant)) {
        let name = view.name.as_str().to_ascii_uppercase().replace('-', "_");
        set(format!("CARGO_REGISTRIES_{name}_INDEX"), index);
        set(format!("CARGO_REGISTRIES_{name}_TOKEN"), PLACEHOLDER);
    }
    let kinds = plan.info.registries.iter().filter(|view| is_covered(view, grant));
    for name in kinds.flat_map(|view| environment::login_variables(view, grant.write)) {
        set(name, PLACEHOLDER);
    }
    variables
}

/// Recipe of a shell, a sandbox or cargo: the variables themselves.
pub(super) fn recipe(plan: &Plan<'_>, grant: &GrantView, url: &str, file: Option<PathBuf>) -> Recipe {
    let proxy = (plan.overrides.host.as_deref()).map_or_else(|| url.to_owned(), |host| url_for(url, host));
    let bundle = plan.bundle();
    let mut variables = variables(plan, grant, &proxy, &bundle);
    if plan.client == ClientKind::Cargo {
        let uses_git = (plan.info.registries.iter()).any(|view| is_covered(view, grant) && is_git_index(view));
        variables.retain(|(name, _)| name.starts_with("CARGO_") || uses_git && GIT.contains(&name.as_str()));
    }
    let mut recipe = Recipe::new(plan.client);
    let folder = plan.info.bundle_folder.as_deref();
    let folder = folder.unwrap_or("a copy of the bundle's folder");
    recipe.notes.push(match &plan.overrides.bundle_folder {
        Some(named) => format!("give the client {folder} as {named}: it must be able to read {bundle}"),
        None => format!(
            "the client must be able to read {bundle}; if it cannot, give it {folder} and name its path there with \
             --bundle-folder"
        ),
    });
    recipe.notes.extend(plan.own_user_note());
    recipe.file_text = Shell::assignments(&variables);
    recipe.variables = variables;
    recipe.text = match &file {
        Some(file) => format!(
            "Its proxy URL and the settings of clients are in {0}, which only you can read. For a shell:\n\n  set -a; . {1}; set +a\n",
            file.display(),
            crate::shell::quote_sh(&file.display().to_string())
        ),
        None => recipe.file_text.clone(),
    };
    recipe.file = file;
    recipe
}

fn is_covered(view: &RegistryView, grant: &GrantView) -> bool {
    grant.registries.is_empty() || grant.registries.contains(&view.name)
}

/// Variables of git, which cargo runs for an index in git.
const GIT: [&str; 2] = ["HTTPS_PROXY", "GIT_SSL_CAINFO"];
