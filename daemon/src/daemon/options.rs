//! Options of a start, and the environment variables that hold tokens.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use regauth_shared::paths::Folders;
use regauth_shared::secret_variables;

use crate::config::Config;
use crate::credential::source::environment::Environment;
use crate::credential::store::StoreKind;
use crate::logs::Logs;
use crate::registry::Source;

/// Options from the command line.
#[derive(Debug, Default)]
pub struct Options {
    /// Folder for all files, instead of the platform's folders.
    pub home: Option<PathBuf>,
    /// Configuration file, instead of `config.toml`.
    pub config: Option<PathBuf>,
    /// Address to listen on, instead of `listen` in the configuration.
    pub listen: Option<SocketAddr>,
    /// Number of worker threads. `None`: half of the cores, at most 8.
    pub workers: Option<usize>,
    /// Kind of store, if the configuration records none yet.
    pub store: Option<StoreKind>,
    /// True to keep secrets in memory and write only the bundle and the socket.
    pub ephemeral: bool,
    /// True if the daemon stops at the end of standard input; the drain is short then.
    pub until_eof: bool,
    /// True if the process that started the daemon made the home for it alone. With `until_eof`, the daemon removes it.
    pub home_is_temporary: bool,
    /// Users that a guarded daemon serves. Empty: the daemon is not guarded.
    pub guarded_for: Vec<u32>,
    /// Environment variables with secrets that sources will name once the daemon runs.
    pub secret_variables: Vec<String>,
    /// Tokens from the environment variables that [`variables`] names.
    pub environment: Environment,
    /// Handle of the log level.
    pub logs: Logs,
}

/// Environment variables with secrets: those that the configuration names as sources, those of CI systems, and those of
/// [`Options::secret_variables`]. An invalid configuration names none; the start reports its errors.
///
/// A variable of a CI system that a command is to get stays in the environment.
pub fn variables(options: &Options) -> Vec<String> {
    let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name)).ok();
    let file = options.config.clone().or_else(|| Some(folders?.config_file()));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    let config = text.and_then(|text| Config::read(&text).ok()).unwrap_or_default();
    let sources = config.registries.values().map(|registry| &registry.source);
    let passed_on: BTreeSet<&str> = sources.clone().flat_map(Source::passed_variables).collect();
    let of_ci_systems = secret_variables::OF_CI_SYSTEMS
        .into_iter()
        .filter(|name| !passed_on.contains(name));
    let names: BTreeSet<String> = (sources.flat_map(Source::secret_variables))
        .chain(of_ci_systems.map(str::to_owned))
        .chain(options.secret_variables.iter().cloned())
        .collect();
    names.into_iter().collect()
}
