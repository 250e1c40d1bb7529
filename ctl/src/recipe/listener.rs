//! Addresses at which a container reaches the daemon's listener, with the options that its runtime needs.

use std::net::SocketAddr;

use super::{ClientKind, Plan};

/// Route from a container to the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Host of the proxy, as seen by the container.
    pub(super) host: String,
    /// True if the container shares the machine's network.
    pub(super) shares_network: bool,
    /// Name that the container tool must resolve to this machine.
    pub(super) added_host: Option<String>,
    /// Fact that the user should know.
    pub(super) note: Option<String>,
}

impl Route {
    /// Finds the route: the host that the user named, the listener's own address, or the tool's name for this machine.
    pub(super) fn find(plan: &Plan<'_>) -> Self {
        let name = name_of_machine(plan.client);
        let named = |host: &str| Self {
            host: host.to_owned(),
            shares_network: false,
            // podman adds its name by itself.
            added_host: (host == DOCKER).then(|| format!("{DOCKER}:host-gateway")),
            note: None,
        };
        if let Some(host) = &plan.overrides.host {
            return named(host);
        }
        match plan.info.listen.parse::<SocketAddr>() {
            // Docker Desktop and podman's machine lead their name to the loopback of macOS.
            Ok(listen) if listen.ip().is_loopback() && !cfg!(target_os = "macos") => Self {
                host: host_of(listen),
                shares_network: true,
                added_host: None,
                note: Some(loopback_note(listen, plan.info.is_socket_activated)),
            },
            Ok(listen) if !listen.ip().is_loopback() && !listen.ip().is_unspecified() => named(&host_of(listen)),
            _ => named(name),
        }
    }

    /// Flags of a command line, after which comes what else the command needs.
    pub(super) fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.shares_network {
            flags.extend(["--network".to_owned(), "host".to_owned()]);
        }
        if let Some(added) = &self.added_host {
            flags.extend(["--add-host".to_owned(), added.clone()]);
        }
        flags
    }
}

/// Grant's URL with another host. Clients have different default ports, so the port stays also if it is 80.
pub(super) fn url_for(url: &str, host: &str) -> String {
    let (login, address) = url.rsplit_once('@').unwrap_or(("http://", url));
    let port = address.rsplit_once(':').map_or("", |(_, port)| port);
    format!("{login}@{host}:{port}")
}

/// Parts of a grant's URL: user, password, host, port.
pub(super) fn parts_of(url: &str) -> Option<(String, String, String, u16)> {
    let url = url::Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let password = url.password()?.to_owned();
    Some((url.username().to_owned(), password, host, url.port().unwrap_or(80)))
}

fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

fn name_of_machine(client: ClientKind) -> &'static str {
    match client {
        ClientKind::Podman | ClientKind::Buildah => PODMAN,
        _ => DOCKER,
    }
}

fn loopback_note(listen: SocketAddr, is_socket_activated: bool) -> String {
    let port = listen.port();
    let how = if is_socket_activated {
        format!(
            "set `clients = \"grants\"` in config.toml, run `systemctl --user edit regauthd-proxy.socket`, write [Socket], \
             `ListenStream=` and `ListenStream=0.0.0.0:{port}`, and restart both units"
        )
    } else {
        format!("set `listen = \"0.0.0.0:{port}\"` and `clients = \"grants\"` in config.toml and restart regauthd")
    };
    format!(
        "regauthd listens on {listen} only, so the container shares this machine's network. For a network of its own, {how}. \
         Then each client needs a grant, your own programs too"
    )
}

const DOCKER: &str = "host.docker.internal";
const PODMAN: &str = "host.containers.internal";
