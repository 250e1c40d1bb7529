//! Private Python index: real pypiserver behind nginx. Every request needs a password.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::auth_gate;
use crate::certificates::Authority;
use crate::exec;
use crate::nginx::Nginx;
use crate::process::Process;
use crate::programs::tool;

/// Running index. [`PypiServer::nginx`] has its requests.
#[derive(Debug)]
pub struct PypiServer {
    /// nginx in front of the index.
    pub nginx: Nginx,
    authority: Authority,
    folder: TempDir,
    _process: Process,
}

impl PypiServer {
    /// Starts an empty index with one user.
    pub fn start(user: &str, password: &str) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("Corp Root"));
        let [packages, passwords, socket] = ["packages", "htpasswd", "socket"].map(|name| folder.path().join(name));
        fs::create_dir(&packages).unwrap();
        fs::write(&passwords, auth_gate::htpasswd(user, password)).unwrap();
        let index = format!(
            "pypiserver:app(roots=[{packages:?}], password_file={passwords:?}, disable_fallback=True, \
             authenticate=['list', 'download', 'update'])"
        );
        let mut gunicorn = exec::command(tool("python/bin/gunicorn"), folder.path());
        gunicorn.arg(format!("--bind=unix:{}", socket.display())).arg(index);
        let mut process = Process::spawn("pypiserver", &mut gunicorn, &folder.path().join("pypiserver.log"));
        process.wait_until("its socket", || socket.exists().then_some(()));
        let nginx = Nginx::builder(&authority.issue(&["localhost"]))
            .proxy_to(&socket)
            .start();
        Self {
            nginx,
            authority,
            folder,
            _process: process,
        }
    }

    /// URL for `--index-url`.
    pub fn index(&self) -> String {
        self.nginx.url("/simple/")
    }

    /// Private root as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// Wheel of a package that was added.
    pub fn wheel(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("packages/{name}-1.0-py3-none-any.whl"))
    }

    /// Adds version 1.0 of a package: a minimal wheel (PEP 427).
    pub fn package(&self, name: &str) {
        write_wheel(&self.wheel(name), name);
    }
}

/// Writes a minimal wheel (PEP 427) of version 1.0 of a package.
pub fn write_wheel(wheel: &Path, name: &str) {
    let source = TempDir::new().unwrap();
    let source = source.path();
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
    let dist_info = format!("{name}-1.0.dist-info");
    for (file, text) in [
        (format!("{name}/__init__.py"), ""),
        (format!("{dist_info}/METADATA"), metadata.as_str()),
        (format!("{dist_info}/WHEEL"), WHEEL),
        (format!("{dist_info}/RECORD"), ""),
    ] {
        write(&source.join(file), text);
    }
    let mut zip = exec::command("python3", source);
    zip.args(["-m", "zipfile", "-c"]).arg(wheel).args([name, &dist_info]);
    exec::run(zip.current_dir(source)).succeeds();
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

const WHEEL: &str = "Wheel-Version: 1.0\nGenerator: regauth\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
