//! HAProxy as a peer: TLS on both sides, one thread, one header set. Clients connect to it in place of the registry, so it
//! parses no CONNECT and identifies no client.

use std::fs;
use std::path::{Path, PathBuf};

use regauth_tests::exec;
use regauth_tests::process::Process;

use crate::candidate::Candidate;
use crate::other_proxies::{authorization, free_port, installed, wait_until_listening};
use crate::registry::{self, TestRegistry};

/// HAProxy with HTTP/1.1 or HTTP/2 to the registry.
#[derive(Clone, Debug)]
pub(crate) struct HaProxy {
    program: PathBuf,
    name: &'static str,
    protocols: &'static str,
}

impl HaProxy {
    /// Finds HAProxy, if it is installed, once for each protocol to the registry.
    pub(crate) fn both() -> Vec<Self> {
        let Some(program) = installed("haproxy") else {
            return Vec::new();
        };
        [(OVER_H1, "http/1.1"), (OVER_H2, "h2")]
            .map(|(name, protocols)| Self {
                program: program.clone(),
                name,
                protocols,
            })
            .into()
    }

    /// Starts HAProxy with its files in a folder.
    pub(crate) fn start(&self, registry: &TestRegistry, folder: &Path) -> Candidate {
        // HAProxy's configuration separates words by blanks.
        let folder = folder.join(format!("haproxy-{}", self.protocols.replace('/', "-")));
        fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let configuration = folder.join("haproxy.cfg");
        fs::write(folder.join("server.pem"), registry.certificate_and_key()).unwrap();
        fs::write(&configuration, self.configuration(registry, &folder, port)).unwrap();
        let mut command = exec::command(&self.program, &folder);
        command.arg("-db").arg("-f").arg(&configuration);
        let process = Process::spawn(self.name, &mut command, &folder.join("log"));
        let process = wait_until_listening(port, &registry.roots(), process);
        Candidate::in_place_of_the_registry(self.name, format!("{}:{port}", registry::HOST), registry, process)
    }

    fn configuration(&self, registry: &TestRegistry, folder: &Path, port: u16) -> String {
        let roots = registry.roots();
        let [folder, roots] = [folder, &roots].map(Path::display);
        let (value, host, protocols) = (authorization().replace(' ', "\\ "), registry::HOST, self.protocols);
        let server = registry.authority().replace(host, "127.0.0.1");
        format!(
            "global\n nbthread 1\n maxconn 4000\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 300s\n timeout server 300s\n\
             frontend clients\n bind 127.0.0.1:{port} ssl crt {folder}/server.pem alpn h2,http/1.1\n \
             http-request set-header Authorization {value}\n default_backend registry\n\
             backend registry\n http-reuse always\n \
             server nginx {server} ssl verify required ca-file {roots} verifyhost {host} sni str({host}) \
             alpn {protocols}\n"
        )
    }
}

/// Names in the table, by the protocol to the registry.
pub(crate) const OVER_H1: &str = "haproxy, h1 upstream";
pub(crate) const OVER_H2: &str = "haproxy, h2 upstream";
