//! Recipes for image builds: the grant and the bundle are secrets of a build step.
//!
//! A secret is in no layer, no history, no configuration and no cache key. A build argument is in the record of the build
//! (provenance), and an environment that the builder passes on by itself is in each step.

use std::path::PathBuf;

use regauth_shared::response::GrantView;

use super::listener::{Route, url_for};
use super::variables::variables;
use super::{ClientKind, Plan, Recipe};
use crate::shell::{self, Shell};

/// Recipe of an image build.
pub(super) fn recipe(plan: &Plan<'_>, grant: &GrantView, url: &str, file: Option<PathBuf>) -> Recipe {
    let route = Route::find(plan);
    let mut recipe = Recipe::new(plan.client);
    recipe.variables = variables(plan, grant, &url_for(url, &route.host), BUNDLE);
    recipe.file_text = Shell::Sh.script(&recipe.variables);
    let path = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let folder = plan.info.bundle_folder.as_deref().unwrap_or_default();
    let mut command = match plan.client {
        ClientKind::Buildah => vec!["buildah", "build", "--http-proxy=false"],
        _ => vec!["docker", "buildx", "build"],
    };
    let secrets = [
        format!("id=regauth,src={path}"),
        format!("id=regauth-bundle,src={folder}/{}", plan.info.bundle_file_name()),
    ];
    for secret in &secrets {
        command.extend(["--secret", secret]);
    }
    let flags = route.flags();
    command.extend(flags.iter().map(String::as_str));
    command.push(".");
    recipe.command = command.into_iter().map(str::to_owned).collect();
    let snippet = format!("RUN {MOUNTS} \\\n    . /run/secrets/regauth && cargo build --release\n");
    recipe.text = format!(
        "Its proxy URL and the settings of clients are in {path}, which only you can read. Run:\n\n{}\n\
         In the Dockerfile, give both secrets to each step that downloads:\n\n{}",
        shell::command(&recipe.command),
        shell::indent(&snippet)
    );
    recipe.snippet = Some(snippet);
    recipe
        .notes
        .push("steps of another user than root need `,mode=0444` after each id".to_owned());
    if plan.client == ClientKind::Buildah {
        recipe.notes.push("`podman build` takes the same flags".to_owned());
    }
    recipe.notes.extend(route.note);
    recipe.file = file;
    recipe
}

/// Path of the bundle's secret in a build step.
const BUNDLE: &str = "/run/secrets/regauth-bundle";
const MOUNTS: &str = "--mount=type=secret,id=regauth --mount=type=secret,id=regauth-bundle";
