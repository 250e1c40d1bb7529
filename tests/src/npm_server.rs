//! Private npm registry: real verdaccio behind nginx. Every request needs a password.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::auth_gate;
use crate::certificates::Authority;
use crate::exec;
use crate::nginx::Nginx;
use crate::process::Process;
use crate::programs::tool;

/// Running registry. [`NpmServer::nginx`] has its requests.
#[derive(Debug)]
pub struct NpmServer {
    /// nginx in front of the registry.
    pub nginx: Nginx,
    authority: Authority,
    _folder: TempDir,
    _process: Process,
}

impl NpmServer {
    /// Starts an empty registry with one user.
    pub fn start(user: &str, password: &str) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("Corp Root"));
        let [configuration, socket] = ["verdaccio.yaml", "socket"].map(|name| folder.path().join(name));
        fs::write(&configuration, CONFIGURATION).unwrap();
        fs::write(folder.path().join("htpasswd"), auth_gate::htpasswd(user, password)).unwrap();
        let mut verdaccio = exec::command("node", folder.path());
        verdaccio
            .arg(tool("npm/node_modules/verdaccio/bin/verdaccio"))
            .arg("--config")
            .arg(configuration)
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()));
        let mut process = Process::spawn("verdaccio", &mut verdaccio, &folder.path().join("verdaccio.log"));
        process.wait_until("its socket", || socket.exists().then_some(()));
        let nginx = Nginx::builder(&authority.issue(&["localhost"]))
            .proxy_to(&socket)
            .start();
        Self {
            nginx,
            authority,
            _folder: folder,
            _process: process,
        }
    }

    /// URL of the registry, with a slash at its end.
    pub fn url(&self) -> String {
        self.nginx.url("/")
    }

    /// Private root as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }
}

/// Configuration without uplinks to other registries. Paths are relative to the file.
const CONFIGURATION: &str = "\
storage: ./storage
web: { enable: false }
auth:
  htpasswd: { file: ./htpasswd, algorithm: sha1, max_users: -1 }
packages:
  '**': { access: $authenticated, publish: $authenticated, unpublish: $authenticated }
log: { type: stdout, format: pretty, level: http }
";
