//! Check of what a start would refuse. It changes nothing, and needs neither the store nor a registry.

use std::net::TcpListener;

use regauth_shared::paths::Folders;

use super::corporate_network;
use super::error::StartError;
use super::files::read_config;
use super::options::Options;
use crate::grant::Grants;
use crate::home;
use crate::journal::Journal;

/// Checks folders, state files, configuration and port, in the order of a start.
///
/// # Errors
/// The first error of a start.
pub fn check(options: &Options) -> Result<(), StartError> {
    let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name))?;
    home::check(&folders)?;
    Journal::read(&folders.journal())?;
    Grants::read(&folders.grants())?;
    // An ephemeral daemon writes no configuration.
    let (_, config) = read_config(&folders, options.config.clone(), true)?;
    let address = options.listen.unwrap_or(config.listen);
    config.clients.check_listen(address)?;
    TcpListener::bind(address).map_err(|error| StartError::Listen { address, error })?;
    corporate_network(&config, address)?;
    Ok(())
}
