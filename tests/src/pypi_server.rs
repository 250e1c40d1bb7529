//! A private Python index: a real pypiserver that wants a password for everything, behind nginx.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::auth_gate;
use crate::certificates::Authority;
use crate::exec;
use crate::nginx::Nginx;
use crate::process::Process;
use crate::programs::tool;

/// A running index. Its requests are in [`PypiServer::nginx`].
#[derive(Debug)]
pub struct PypiServer {
    /// The web server in front.
    pub nginx: Nginx,
    authority: Authority,
    folder: TempDir,
    _process: Process,
}

impl PypiServer {
    /// An empty index that serves this user only.
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

    /// The page of all packages, as clients want it for `--index-url`.
    pub fn index(&self) -> String {
        self.nginx.url("/simple/")
    }

    /// The private root as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// Puts a package there, version 1.0: the least that is a wheel (PEP 427).
    pub fn package(&self, name: &str) {
        let source = self.folder.path().join("source").join(name);
        let facts = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
        let information = format!("{name}-1.0.dist-info");
        for (file, text) in [
            (format!("{name}/__init__.py"), ""),
            (format!("{information}/METADATA"), facts.as_str()),
            (format!("{information}/WHEEL"), WHEEL),
            (format!("{information}/RECORD"), ""),
        ] {
            write(&source.join(file), text);
        }
        let wheel = self.folder.path().join(format!("packages/{name}-1.0-py3-none-any.whl"));
        let mut zip = exec::command("python3", self.folder.path());
        zip.args(["-m", "zipfile", "-c"]).arg(wheel).args([name, &information]);
        exec::run(zip.current_dir(&source)).succeeds();
    }
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

const WHEEL: &str = "Wheel-Version: 1.0\nGenerator: regauth\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
