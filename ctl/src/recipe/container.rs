//! Recipes for running containers: docker, podman, compose, devcontainers.
//!
//! The grant is in a file, since everybody on the machine can read a command line. The bundle comes as a folder, so that it
//! follows the registries.

use std::path::PathBuf;

use regauth_shared::response::GrantView;
use serde_json::json;

use super::listener::{Route, url_for};
use super::variables::variables;
use super::{ClientKind, Plan, Recipe};
use crate::shell::{self, Shell};

/// Recipe of a running container.
pub(super) fn recipe(plan: &Plan<'_>, grant: &GrantView, url: &str, file: Option<PathBuf>) -> Recipe {
    let route = Route::find(plan);
    let folder = plan.overrides.bundle_folder.as_deref().unwrap_or(TARGET);
    let folder = folder.trim_end_matches('/');
    let bundle = format!("{folder}/{}", plan.info.bundle_file_name());
    let mut recipe = Recipe::new(plan.client);
    recipe.variables = variables(plan, grant, &url_for(url, &route.host), &bundle);
    // Readers of such files treat quotes differently, or not at all.
    recipe.file_text = Shell::Dotenv.script(&recipe.variables);
    let env_file = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    // `z` lets containers read it under SELinux, and does nothing elsewhere.
    let volume = format!(
        "{}:{folder}:ro,z",
        plan.info.bundle_folder.as_deref().unwrap_or_default()
    );
    instruct(&mut recipe, plan.client, &route, &env_file, &volume);
    if plan.client == ClientKind::Podman && route.shares_network {
        recipe.notes.extend(plan.own_user_note());
    }
    recipe.notes.extend(route.note);
    recipe.file = file;
    recipe
}

/// Adds the command, or the part of a file.
fn instruct(recipe: &mut Recipe, client: ClientKind, route: &Route, env_file: &str, volume: &str) {
    let flags = [&["--env-file".to_owned(), env_file.to_owned()], &*route.flags()].concat();
    let flags = [flags, vec!["--volume".to_owned(), volume.to_owned()]].concat();
    let introduction = format!("Its proxy URL and the settings of clients are in {env_file}, which only you can read.");
    let mut show_snippet = |place: &str, snippet: String| {
        recipe.text = format!("{introduction} For {place}:\n\n{}", shell::indent(&snippet));
        recipe.snippet = Some(snippet);
    };
    match client {
        ClientKind::Compose => show_snippet("a service of a compose file", compose(env_file, route, volume)),
        ClientKind::Devcontainer => show_snippet("devcontainer.json", format!("{:#}\n", json!({ "runArgs": flags }))),
        _ => {
            // podman hands over the proxy variables of the shell otherwise.
            let first = (client == ClientKind::Podman).then(|| "--http-proxy=false".to_owned());
            let mut command = vec![client.name(), "run".to_owned()];
            command.extend(first.into_iter().chain(flags));
            command.push("IMAGE".to_owned());
            recipe.text = format!("{introduction} Pass:\n\n{}", shell::command(&command));
            recipe.command = command;
        }
    }
}

/// Service of a compose file. A JSON string is a YAML string.
fn compose(file: &str, route: &Route, volume: &str) -> String {
    let network = match (&route.added_host, route.shares_network) {
        (_, true) => "    network_mode: host\n".to_owned(),
        (Some(added), _) => format!("    extra_hosts: {}\n", json!([added])),
        (None, false) => String::new(),
    };
    // compose replaces $NAME in every string.
    let [file, volume] = [file, volume].map(|text| json!([text.replace('$', "$$")]));
    format!("services:\n  app:\n    env_file: {file}\n{network}    volumes: {volume}\n")
}

/// Folder of the bundle in a container.
const TARGET: &str = "/regauth";
