//! Settings that clients need from the running daemon: its proxy address, its bundle, its registries.

use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::{RegistryList, RegistryView, SocketOrigin, Status};
use regauth_shared::{Request, placeholder};

use crate::client::Client;
use crate::company;
use crate::program::{self, PROVIDER};

/// Settings of the running daemon from which clients' configuration is made. Holds no secret.
#[derive(Debug)]
pub(crate) struct DaemonInfo {
    /// URL of the proxy.
    pub(crate) proxy: String,
    /// Address of the listener.
    pub(crate) listen: String,
    /// True if a service manager opened the listener.
    pub(crate) is_socket_activated: bool,
    /// Client policy: `same-user` or `grants`.
    pub(crate) clients: String,
    /// Path of the bundle.
    pub(crate) bundle: String,
    /// Folder with the bundle, to mount into containers.
    pub(crate) bundle_folder: Option<String>,
    /// Corporate proxies that the daemon uses, without user and password.
    pub(crate) upstream_proxies: Vec<String>,
    /// Corporate proxy of the configuration, without user and password. It counts at the next start.
    pub(crate) configured_proxy: Option<String>,
    /// File of the company's roots that are in the bundle: the global `ca-file`.
    pub(crate) company_roots: Option<String>,
    /// Mode of the daemon: `user`, `guarded` or `machine`; empty for an older one.
    pub(crate) mode: String,
    /// The daemon's registries.
    pub(crate) registries: Vec<RegistryView>,
    /// Absolute folder of `--home` or `REGAUTH_HOME`, if one was given.
    pub(crate) home: Option<PathBuf>,
    /// Folder of the environment files that shells source.
    pub(crate) state: PathBuf,
    /// Command line of cargo's credential provider.
    pub(crate) provider: Vec<String>,
}

impl DaemonInfo {
    /// Requests the settings from the daemon.
    ///
    /// # Errors
    /// No daemon answers.
    pub(crate) fn fetch(client: &Client, folders: &Folders) -> Result<Self, ErrorBody> {
        let status: Status = client.call(&Request::Status(Nothing {}))?.answer;
        let list: RegistryList = client.call(&Request::List(Nothing {}))?.answer;
        let home = folders.home.as_deref().and_then(|home| std::path::absolute(home).ok());
        Ok(Self {
            proxy: status.proxy,
            listen: status.listen,
            is_socket_activated: status.sockets.proxy == SocketOrigin::Passed,
            clients: status.clients,
            bundle: known_bundle(&folders.bundle(), status.bundle),
            bundle_folder: status.bundle_folder,
            configured_proxy: configured_proxy(&status.config),
            company_roots: status.ca_file,
            mode: status.mode,
            upstream_proxies: status.upstream_proxies.into_iter().map(|proxy| proxy.url).collect(),
            registries: list.registries,
            home,
            state: folders.state.clone(),
            provider: provider_command(folders),
        })
    }

    /// Command that restarts the daemon.
    pub(crate) fn restart_command(&self) -> &'static str {
        match (self.is_socket_activated, self.mode.as_str()) {
            (false, _) => "regauthctl stop --wait, then start regauthd again",
            (true, "guarded" | "machine") => "sudo systemctl restart regauthd",
            (true, _) if cfg!(target_os = "macos") => "launchctl kickstart -k gui/$UID/regauthd",
            (true, _) => "systemctl --user restart regauthd",
        }
    }

    /// Name of the bundle's file, also in its folder for containers.
    pub(crate) fn bundle_file_name(&self) -> &str {
        self.bundle.rsplit('/').next().unwrap_or(&self.bundle)
    }

    /// Registries of this kind.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &RegistryView> {
        self.registries.iter().filter(move |view| view.kind == kind)
    }

    /// Cargo registries that have an index, each with the index.
    pub(crate) fn cargo_indexes(&self) -> impl Iterator<Item = (&RegistryView, &str)> {
        let cargo = self.of_kind("cargo");
        cargo.filter_map(|view| Some((view, view.index.as_deref()?)))
    }

    /// Scopes that git connects to: git hosts, and cargo indexes that are git repositories.
    pub(crate) fn git_scopes(&self) -> impl Iterator<Item = &str> {
        let uses_git = |view: &&RegistryView| is_git_index(view) || matches!(view.kind.as_str(), "git" | "generic");
        let scopes = self.registries.iter().filter(uses_git).flat_map(|view| &view.scopes);
        scopes.map(String::as_str)
    }

    /// npm's token settings: a key for each npm registry, and the placeholder, without which npm does not publish.
    pub(crate) fn npm_tokens(&self) -> impl Iterator<Item = (String, &'static str)> {
        let locations = self
            .of_kind("npm")
            .flat_map(|view| &view.scopes)
            .filter_map(|scope| scope.split_once("://"));
        locations.map(|(_, location)| (format!("//{location}:_authToken"), placeholder::PLACEHOLDER))
    }

    /// Hosts of all registries, sorted, without ports.
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

/// The corporate proxy in a configuration file. A guarded daemon's file is readable for root alone.
fn configured_proxy(file: &str) -> Option<String> {
    let document: toml_edit::DocumentMut = std::fs::read_to_string(file).ok()?.parse().ok()?;
    let proxy = document.get("upstream")?.get("proxy")?.as_str()?;
    Some(company::without_login(proxy))
}

/// The path that this user's clients know, if it leads to the daemon's bundle: `service install --for` makes it a link. Clients
/// keep it, and find the bundle of a daemon of the user's own there again.
fn known_bundle(known: &Path, served: String) -> String {
    let target = known.canonicalize();
    match target.is_ok_and(|target| Path::new(&served).canonicalize().is_ok_and(|served| served == target)) {
        true => known.display().to_string(),
        false => served,
    }
}

/// True if cargo fetches this registry's index with git.
pub(crate) fn is_git_index(view: &RegistryView) -> bool {
    view.index.as_deref().is_some_and(|index| !index.starts_with("sparse+"))
}

/// Command line of cargo's credential provider.
pub(crate) fn provider_command(folders: &Folders) -> Vec<String> {
    let mut command = vec![provider_program()];
    let home = folders.home.as_deref().and_then(|home| std::path::absolute(home).ok());
    if let Some(home) = home {
        command.extend(["--home".to_owned(), home.display().to_string()]);
    }
    command
}

/// Path of the credential provider: an IDE that the desktop starts has another `PATH` than a shell. The one in `PATH`
/// comes first, because that survives an upgrade in a folder with a version in its name.
fn provider_program() -> String {
    let in_path = program::on_path(PROVIDER);
    let sibling = || program::sibling(PROVIDER).filter(|program| program.is_file());
    let program = in_path.or_else(sibling);
    program.map_or_else(|| PROVIDER.to_owned(), |program| program.display().to_string())
}

#[cfg(test)]
impl DaemonInfo {
    /// A daemon without registries, for tests.
    pub(crate) fn sample() -> Self {
        Self {
            proxy: "http://127.0.0.1:9001".to_owned(),
            listen: "127.0.0.1:9001".to_owned(),
            is_socket_activated: false,
            clients: "same-user".to_owned(),
            bundle: "/s/ca-bundle.pem".to_owned(),
            bundle_folder: Some("/s/bundle".to_owned()),
            upstream_proxies: Vec::new(),
            configured_proxy: None,
            company_roots: None,
            mode: "user".to_owned(),
            registries: Vec::new(),
            home: None,
            state: "/s".into(),
            provider: Vec::new(),
        }
    }
}
