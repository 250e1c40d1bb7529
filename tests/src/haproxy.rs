//! Real HAProxy in front of several gateways: a plain TCP load balancer that names its clients by PROXY protocol, version 2,
//! and asks each gateway whether it is ready.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};

use tempfile::TempDir;

use crate::exec;
use crate::poll;
use crate::process::Process;
use crate::squid::free_port;

/// Running load balancer.
#[derive(Debug)]
pub struct Haproxy {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

/// Server behind a load balancer.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Address of its listener.
    pub address: String,
    /// Port of its `/readyz`.
    pub health_port: u16,
}

impl Haproxy {
    /// Starts a load balancer for these servers, and waits until it accepts connections.
    ///
    /// # Panics
    /// When HAProxy rejects the configuration; the message has its output.
    pub fn start(backends: &[Backend]) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let servers = backends.iter().enumerate().map(|(number, backend)| {
            let Backend { address, health_port } = backend;
            format!(
                "  server replica{number} {address} send-proxy-v2 check port {health_port} inter 100ms fall 1 rise 1\n"
            )
        });
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  retries 3\n  option \
             redispatch\n  option httpchk GET /readyz\nfrontend clients\n  bind 127.0.0.1:{port}\n  default_backend \
             replicas\nbackend replicas\n  balance roundrobin\n{}",
            servers.collect::<String>()
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let mut command = exec::command("haproxy", folder.path());
        command.arg("-db").arg("-f").arg(&file);
        let mut process = Process::spawn("haproxy", &mut command, &folder.path().join("haproxy.log"));
        process.wait_until("HAProxy", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
        Self {
            port,
            _process: process,
            _folder: folder,
        }
    }

    /// `localhost:PORT` for clients.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

/// Waits until as many servers of these answer `/readyz` as wanted.
///
/// # Panics
/// When they do not.
pub fn wait_for_ready(backends: &[Backend]) {
    for backend in backends {
        let url = format!("http://127.0.0.1:{}/readyz", backend.health_port);
        poll::wait_for("a replica", || {
            let fetched = crate::curl::Curl::new().fetch(&url);
            (fetched.output.status.success() && fetched.response().status == 200).then_some(())
        });
    }
}
