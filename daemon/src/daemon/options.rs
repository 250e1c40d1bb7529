//! What the command line says, and which of the environment's tokens follow from it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use regauth_shared::paths::Folders;

use crate::config::Config;
use crate::credential::source::environment::Environment;
use crate::credential::store::StoreKind;
use crate::logs::Logs;
use crate::registry::Source;

/// What the command line says.
#[derive(Debug, Default)]
pub struct Options {
    /// Everything below one folder.
    pub home: Option<PathBuf>,
    /// Another configuration file.
    pub config: Option<PathBuf>,
    /// Overrides `listen`.
    pub listen: Option<SocketAddr>,
    /// How many threads carry connections; as many as suit the machine, where it is not said.
    pub workers: Option<usize>,
    /// Which store, where none is recorded yet.
    pub store: Option<StoreKind>,
    /// Secrets in memory, nothing written but the bundle and the socket.
    pub ephemeral: bool,
    /// Ends when whoever started it does: nobody waits for a long drain.
    pub until_eof: bool,
    /// Tokens that were taken from the environment; those that [`variables`] names.
    pub environment: Environment,
    /// How much is logged.
    pub logs: Logs,
}

/// The environment variables that the configuration names as sources. A configuration that cannot be read names none: the
/// start is going to say what is wrong with it.
pub fn variables(options: &Options) -> Vec<String> {
    let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name)).ok();
    let file = options.config.clone().or_else(|| Some(folders?.config_file()));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    let config = text.and_then(|text| Config::read(&text).ok()).unwrap_or_default();
    let sources = config.registries.into_values().map(|registry| registry.source);
    let variable = |source| match source {
        Source::Environment(variable) => Some(variable),
        _ => None,
    };
    let names: BTreeSet<String> = sources.filter_map(variable).collect();
    names.into_iter().collect()
}
