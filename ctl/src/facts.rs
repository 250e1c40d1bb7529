//! What is true now and decides how clients are set up: the daemon's address, its bundle, its registries.

use std::path::PathBuf;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::{RegistryList, RegistryView, Status};
use regauth_shared::{Request, placeholder};

use crate::client::Client;
use crate::program::{PROVIDER, beside_us, on_path};

/// All that a client's settings are made of. No secret.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The proxy's URL.
    pub(crate) proxy: String,
    /// The bundle's path.
    pub(crate) bundle: String,
    /// The registries.
    pub(crate) registries: Vec<RegistryView>,
    /// The folder that was asked for with `--home`, when one was.
    pub(crate) home: Option<PathBuf>,
    /// Where shells find the environment.
    pub(crate) state: PathBuf,
    /// The command that cargo asks for tokens.
    pub(crate) provider: Vec<String>,
}

impl Facts {
    /// Asks the daemon.
    ///
    /// # Errors
    /// No daemon answers.
    pub(crate) fn gather(client: &Client, folders: &Folders) -> Result<Self, ErrorBody> {
        let status: Status = client.ask(&Request::Status(Nothing {}))?.answer;
        let list: RegistryList = client.ask(&Request::List(Nothing {}))?.answer;
        let home = folders.home.as_deref().and_then(|home| std::path::absolute(home).ok());
        let mut provider = vec![program()];
        if let Some(home) = &home {
            provider.extend(["--home".to_owned(), home.display().to_string()]);
        }
        Ok(Self {
            proxy: status.proxy,
            bundle: status.bundle,
            registries: list.registries,
            home,
            state: folders.state.clone(),
            provider,
        })
    }

    /// Cargo's registries that have an index, with it.
    pub(crate) fn cargo_indexes(&self) -> impl Iterator<Item = (&RegistryView, &str)> {
        let cargo = self.registries.iter().filter(|view| view.kind == "cargo");
        cargo.filter_map(|view| Some((view, view.index.as_deref()?)))
    }

    /// What git speaks to: git hosts, and indexes that are git repositories.
    pub(crate) fn git_scopes(&self) -> impl Iterator<Item = &str> {
        let for_git = |view: &&RegistryView| is_git_index(view) || matches!(view.kind.as_str(), "git" | "generic");
        let scopes = self.registries.iter().filter(for_git).flat_map(|view| &view.scopes);
        scopes.map(String::as_str)
    }

    /// What npm publishes to, and the token that it wants to have for that.
    pub(crate) fn npm_tokens(&self) -> impl Iterator<Item = (String, &'static str)> {
        let npm = self.registries.iter().filter(|view| view.kind == "npm");
        let places = npm
            .flat_map(|view| &view.scopes)
            .filter_map(|scope| scope.split_once("://"));
        places.map(|(_, place)| (format!("//{place}:_authToken"), placeholder::PLACEHOLDER))
    }

    /// The hosts of all registries, without ports.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let scopes = self.registries.iter().flat_map(|view| &view.scopes);
        let mut hosts: Vec<String> = scopes
            .filter_map(|scope| Some(url::Url::parse(scope).ok()?.host_str()?.to_owned()))
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

/// Whether cargo fetches this registry's index with git.
pub(crate) fn is_git_index(view: &RegistryView) -> bool {
    view.index.as_deref().is_some_and(|index| !index.starts_with("sparse+"))
}

/// By its name where a shell finds it, so that the setting outlives an upgrade; else where it lies beside us.
fn program() -> String {
    if on_path(PROVIDER).is_some() {
        return PROVIDER.to_owned();
    }
    let beside = beside_us(PROVIDER).filter(|program| program.is_file());
    beside.map_or_else(|| PROVIDER.to_owned(), |program| program.display().to_string())
}
