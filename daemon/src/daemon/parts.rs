//! Parts of a daemon, made from its options and its configuration: listeners, store, audit record, corporate network.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regauth_shared::paths::Folders;
use tokio::net::TcpListener;

use super::files::record_store;
use super::{Options, StartError};
use crate::audit::Audit;
use crate::authority::company_roots::CompanyRoots;
use crate::config::Config;
use crate::control::server::ControlClients;
use crate::credential::store::StoreKind;
use crate::credential::store::select::{self, OpenStore};
use crate::guarded;
use crate::inherited_sockets::{self, InheritedSockets};
use crate::proxy::downstream::accept::Listeners;
use crate::proxy::downstream::entrance::ServerCertificate;
use crate::proxy::state::ProxyState;
use crate::proxy::upstream::proxy_rules::ProxyRules;

/// Checks that others can neither use the control socket nor, if the daemon is guarded, change what it reads.
pub(super) fn check_exposure(
    inherited: &InheritedSockets,
    folders: &Folders,
    clients: &ControlClients,
    config: &Config,
) -> Result<(), StartError> {
    let (sockets, served) = ([folders.socket(), Folders::of_the_system().socket()], clients.served());
    inherited.check_control(&sockets, served.is_guarded())?;
    match served.is_guarded() {
        true => guarded::check_config(config).map_err(StartError::Registries),
        false => Ok(()),
    }
}

/// Drain timeout. It is short if the daemon ends with the process that started it, because no client is left.
pub(super) fn drain_timeout(until_eof: bool, config: &Config) -> Duration {
    if until_eof {
        UNTIL_EOF_DRAIN_TIMEOUT
    } else {
        config.drain_timeout
    }
}

/// Opens the audit record. An ephemeral daemon leaves nothing on the disk.
fn open_audit(folders: &Folders, options: &Options, config: &Config) -> Result<Audit, StartError> {
    if options.ephemeral {
        return Ok(Audit::off());
    }
    Ok(Audit::start(&folders.audit(), &config.audit)?)
}

/// Opens the store, and records its kind in the configuration.
pub(super) async fn open_store(
    folders: &Folders,
    config_file: &Path,
    options: &Options,
    config: &Config,
) -> Result<OpenStore, StartError> {
    let store = if options.ephemeral {
        OpenStore::new(folders, StoreKind::Memory)
    } else {
        select::open(folders, config.store, options.store).await?
    };
    if record_store(config_file, config, store.kind, options.ephemeral)? {
        let exposure = select::exposure(folders, store.kind);
        tracing::info!(store = store.kind.as_str(), exposure, "chose the store");
    }
    Ok(store)
}

/// The corporate proxies in use, and the roots of the global `ca-file`.
pub(super) fn corporate_network(config: &Config, listen: SocketAddr) -> Result<(ProxyRules, CompanyRoots), StartError> {
    let proxies = ProxyRules::new(&config.upstream, listen, |name| std::env::var_os(name))?;
    for proxy in proxies.proxies() {
        tracing::info!(proxy = %proxy.url, set_by = %proxy.setting, "found corporate proxy");
    }
    Ok((proxies, CompanyRoots::read(config.ca_file.as_deref())?))
}

/// Sets which clients need no grant of this daemon (its users, and bearers of signed grants), and opens the audit record.
pub(super) fn with_clients_and_audit(
    proxy: ProxyState,
    folders: &Folders,
    options: &Options,
    config: &Config,
    clients: &ControlClients,
) -> Result<Arc<ProxyState>, StartError> {
    let proxy = proxy.with_served(clients.served()).with_signed_grants(config)?;
    Ok(Arc::new(proxy.with_audit(open_audit(folders, options, config)?)))
}

/// Listeners of the proxy, the address of the plain one, and the address and certificate of the one with TLS.
pub(super) async fn listen(
    [inherited, inherited_tls]: [Option<std::net::TcpListener>; 2],
    options: &Options,
    config: &Config,
) -> Result<(Listeners, SocketAddr, Option<(SocketAddr, ServerCertificate)>), StartError> {
    let address = options.listen.unwrap_or(config.listen);
    let inherited_address = inherited.as_ref().and_then(|listener| listener.local_addr().ok());
    config.clients.check_listen(inherited_address.unwrap_or(address))?;
    let failed = |error| StartError::Listen { address, error };
    let plain = inherited_sockets::proxy(inherited, address).await.map_err(failed)?;
    let address = plain.local_addr().map_err(failed)?;
    let (tls, certificate) = listen_tls(inherited_tls, config).await?.unzip();
    Ok((Listeners { plain, tls }, address, certificate))
}

/// Listener of `listen-tls`, its address and its certificate.
async fn listen_tls(
    inherited: Option<std::net::TcpListener>,
    config: &Config,
) -> Result<Option<(TcpListener, (SocketAddr, ServerCertificate))>, StartError> {
    let Some(settings) = &config.listen_tls else {
        return match inherited {
            Some(_) => Err(StartError::TlsSocketWithoutCertificate),
            None => Ok(None),
        };
    };
    let certificate = ServerCertificate::read(settings)?;
    let inherited_address = inherited.as_ref().and_then(|listener| listener.local_addr().ok());
    let address = inherited_address.unwrap_or(settings.address);
    config.clients.check_tls(address)?;
    let failed = |error| StartError::ListenTls { address, error };
    let listener = inherited_sockets::proxy(inherited, address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, (address, certificate))))
}

const UNTIL_EOF_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
