//! Real SOCKS5 proxy: microsocks. It resolves names from a hosts file of its own, so that only the proxy knows them.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};

use tempfile::TempDir;

use crate::exec;
use crate::poll;
use crate::process::Process;
use crate::squid::free_port;

/// Running proxy.
#[derive(Debug)]
pub struct SocksProxy {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl SocksProxy {
    /// Starts a proxy that resolves these names to 127.0.0.1.
    pub fn start(hosts: &[&str]) -> Self {
        Self::start_with(hosts, &[])
    }

    /// Starts a proxy that requires a user and a password.
    pub fn start_with_login(hosts: &[&str], user: &str, password: &str) -> Self {
        Self::start_with(hosts, &["-u", user, "-P", password])
    }

    fn start_with(hosts: &[&str], arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let names = hosts.iter().map(|name| format!("127.0.0.1 {name}\n"));
        let hosts = folder.path().join("hosts");
        fs::write(&hosts, names.collect::<String>() + "127.0.0.1 localhost\n").unwrap();
        let port = free_port();
        let mut microsocks = exec::command("unshare", folder.path());
        if !rustix::process::geteuid().is_root() {
            microsocks.arg("--map-root-user");
        }
        microsocks
            .args(["--mount", "sh", "-euc", PRIVATE_HOSTS])
            .arg(&hosts)
            .args(["microsocks", "-i", "127.0.0.1", "-p", &port.to_string()])
            .args(arguments);
        let mut process = Process::spawn("microsocks", &mut microsocks, &folder.path().join("log"));
        process.wait_until("its port", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop)
        });
        Self {
            process,
            port,
            _folder: folder,
        }
    }

    /// URL of a scheme, `socks5` or `socks5h`, with an optional `user:password@`.
    pub fn url(&self, scheme: &str, login: &str) -> String {
        format!("{scheme}://{login}{}", self.address())
    }

    /// `HOST:PORT` as messages show it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until the proxy has connected to `HOST:PORT`.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`]; the message has the log.
    pub fn wait_for_connection(&self, to: &str) {
        let connected = poll::within(poll::TIMEOUT, || self.has_connected(to).then_some(()));
        connected.unwrap_or_else(|| panic!("microsocks has not connected to {to}:\n{}", self.process.log()));
    }

    /// True if the proxy has connected to `HOST:PORT`.
    pub fn has_connected(&self, to: &str) -> bool {
        self.process
            .log()
            .lines()
            .any(|line| line.ends_with(&format!("connected to {to}")))
    }

    /// Number of connections that the proxy has made.
    pub fn connections(&self) -> usize {
        self.process.log().matches("connected to ").count()
    }
}

const PRIVATE_HOSTS: &str = r#"mount --bind "$0" /etc/hosts; exec "$@""#;
