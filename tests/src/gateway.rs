//! Daemon for a team: `clients = "gateway"` with TLS to the proxy, by a private CA.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::certificates::{Authority, Certificate};
use crate::curl::Curl;
use crate::daemon::{Builder, Daemon};

/// Running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// The daemon.
    pub daemon: Daemon,
    /// CA of its certificate.
    pub authority: Authority,
    files: TempDir,
}

impl Gateway {
    /// Starts a gateway with these lines of configuration.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, Daemon::builder())
    }

    /// Starts a gateway with more options of the daemon.
    pub fn start_with(config: &str, builder: Builder) -> Self {
        let (authority, files) = (Authority::new("Gateway Root"), TempDir::new().unwrap());
        write(files.path(), &authority.issue(&["localhost"]));
        let daemon = builder
            .config(&format!("{}\n{config}", listen_tls(files.path())))
            .start();
        Self {
            daemon,
            authority,
            files,
        }
    }

    /// `localhost:PORT` of the listener with TLS.
    pub fn address(&self) -> String {
        let status = self.daemon.ctl(&["status"]).succeeds().json;
        let address = status["listen-tls"].as_str().unwrap();
        format!("localhost:{}", address.rsplit_once(':').unwrap().1)
    }

    /// URL of the proxy with a password: `https://regauth:PASSWORD@localhost:PORT`.
    pub fn proxy(&self, password: &str) -> String {
        format!("https://regauth:{password}@{}", self.address())
    }

    /// Creates a grant and returns the URL of the proxy with it.
    pub fn grant(&self, arguments: &[&str]) -> String {
        let created = self.daemon.ctl(&[&["grant"], arguments].concat()).succeeds().json;
        let url = created["proxy"].as_str().unwrap();
        let token = url.split(['@', ':']).nth(2).unwrap().to_owned();
        self.daemon.register_secret(&token);
        self.proxy(&token)
    }

    /// curl that sends requests through a proxy of this gateway, and trusts it and the daemon's bundle.
    pub fn curl(&self, proxy: &str) -> Curl {
        let authority = self.authority.file();
        let trusts = ["--proxy-cacert", authority.to_str().unwrap()];
        Curl::new().proxy(proxy).trusts(&self.daemon.bundle()).with(&trusts)
    }

    /// File of the certificate, and of its key.
    pub fn files(&self) -> [PathBuf; 2] {
        ["tls.crt", "tls.key"].map(|name| self.files.path().join(name))
    }

    /// Replaces the certificate and its key, one after the other.
    pub fn replace(&self, certificate: &Certificate) {
        write(self.files.path(), certificate);
    }
}

/// Configuration of a gateway with TLS on a free port, whose files are in a folder.
pub fn listen_tls(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "clients = \"gateway\"\nlisten-tls = {{ address = \"127.0.0.1:0\", cert = \"{folder}/tls.crt\", key = \
         \"{folder}/tls.key\" }}"
    )
}

fn write(folder: &Path, certificate: &Certificate) {
    fs::copy(certificate.chain_file(), folder.join("tls.crt")).unwrap();
    fs::copy(certificate.key_file(), folder.join("tls.key")).unwrap();
}
