//! `git http-backend` behind fcgiwrap: nginx serves bare repositories with it, for fetch and push.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::exec;
use crate::process::Process;

/// Running fcgiwrap and the folder of its repositories.
#[derive(Debug)]
pub struct GitBackend {
    _process: Process,
    folder: TempDir,
}

impl GitBackend {
    /// Starts fcgiwrap.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("fcgi.sock");
        let mut fcgiwrap: Command = exec::command("fcgiwrap", folder.path());
        fcgiwrap
            .args(["-f", "-c", "4", "-s"])
            .arg(format!("unix:{}", socket.display()));
        let mut process = Process::spawn("fcgiwrap", &mut fcgiwrap, &folder.path().join("fcgiwrap.log"));
        process.wait_until("its socket", || socket.exists().then_some(()));
        fs::create_dir(folder.path().join("repositories")).unwrap();
        Self {
            _process: process,
            folder,
        }
    }

    /// Path of the bare repository `name`, which need not exist.
    pub fn repository(&self, name: &str) -> PathBuf {
        self.folder.path().join("repositories").join(format!("{name}.git"))
    }

    /// Directives for an nginx location that ends with a slash: `/git/` serves `/git/NAME.git`.
    pub fn directives(&self, location: &str) -> String {
        let program = http_backend();
        let [program, home] = [program.as_path(), self.folder.path()].map(Path::display);
        format!(
            "rewrite ^{location}(.*)$ /$1 break;
             fastcgi_pass unix:{home}/fcgi.sock; fastcgi_buffering off;
             fastcgi_param SCRIPT_FILENAME {program}; fastcgi_param PATH_INFO $uri;
             fastcgi_param GIT_PROJECT_ROOT {home}/repositories; fastcgi_param GIT_HTTP_EXPORT_ALL 1;
             fastcgi_param GIT_CONFIG_NOSYSTEM 1; fastcgi_param HOME {home};
             fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
             fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;
             fastcgi_param REMOTE_USER $remote_user; fastcgi_param REMOTE_ADDR $remote_addr;"
        )
    }
}

/// Path of git-http-backend in the folder of git's own programs.
fn http_backend() -> PathBuf {
    let found = exec::run(Command::new("git").arg("--exec-path")).succeeds();
    let program = Path::new(found.stdout.trim()).join("git-http-backend");
    assert!(program.exists(), "git has no http-backend at {}", program.display());
    program
}
