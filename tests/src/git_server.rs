//! Private git host for fetch and push: `git http-backend` behind nginx with a token check.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::auth_gate::{AuthGate, Scheme};
use crate::certificates::Authority;
use crate::exec;
use crate::git_backend::GitBackend;
use crate::nginx::Nginx;

/// Running git host. [`GitServer::nginx`] has its requests.
#[derive(Debug)]
pub struct GitServer {
    /// nginx in front of the repositories.
    pub nginx: Nginx,
    gate: AuthGate,
    backend: GitBackend,
    authority: Authority,
    token: String,
    _folder: TempDir,
}

impl GitServer {
    /// Starts a git host with a certificate of this authority that requires `token` by this scheme.
    pub fn start(authority: &Authority, scheme: Scheme, token: &str) -> Self {
        Self::start_at(authority, scheme, token, "/git/")
    }

    /// Starts a git host with its repositories below this path. Its certificate is for `github.com`, too.
    pub fn start_at(authority: &Authority, scheme: Scheme, token: &str, path: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let (gate, backend) = (AuthGate::new(scheme, folder.path()), GitBackend::start());
        gate.accept(&[token]);
        let nginx = Nginx::builder(&authority.issue(&["localhost", "127.0.0.1", "github.com"]))
            .http(&gate.http_directives())
            .server(&gate.server_directives())
            .location(
                path,
                &format!("{}{}", gate.location_directives(), backend.directives(path)),
            )
            .start();
        Self {
            nginx,
            gate,
            backend,
            authority: authority.clone(),
            token: token.to_owned(),
            _folder: folder,
        }
    }

    /// Private root as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// Authentication scheme.
    pub fn scheme(&self) -> &Scheme {
        self.gate.scheme()
    }

    /// Check of its tokens.
    pub fn gate(&self) -> &AuthGate {
        &self.gate
    }

    /// First token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Replaces the set of accepted tokens.
    pub fn accept(&self, tokens: &[&str]) {
        self.gate.accept(tokens);
    }

    /// `https://localhost:PORT/git/NAME.git`.
    pub fn url(&self, name: &str) -> String {
        self.nginx.url(&format!("/git/{name}.git"))
    }

    /// Scope of all repositories: `https://localhost:PORT/git/`.
    pub fn scope(&self) -> String {
        self.nginx.url("/git/")
    }

    /// Creates a repository that accepts pushes, with one commit of these files on `main`.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) {
        let work = TempDir::new().unwrap();
        for (path, text) in files {
            let file = work.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let bare = self.backend.repository(name);
        let bare = bare.to_str().unwrap();
        for arguments in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all"],
            &["commit", "--quiet", "--message", "first"],
            &["clone", "--quiet", "--bare", ".", bare],
            &["-C", bare, "config", "http.receivepack", "true"],
        ] {
            git(work.path(), arguments);
        }
    }

    /// Adds branches with one commit each. A clone then requests so many commits that git compresses the request.
    pub fn branches(&self, name: &str, count: usize) {
        let commits: String = (1..=count)
            .map(|number| {
                format!(
                    "commit refs/heads/branch-{number}\ncommitter host <host@corp.example> {number} +0000\n\
                     data 0\nfrom refs/heads/main^0\n\n"
                )
            })
            .collect();
        let bare = self.backend.repository(name);
        let mut import = exec::command("git", &bare);
        import.args(["fast-import", "--quiet"]).current_dir(&bare);
        exec::run_with_input(&mut import, commits).succeeds();
    }

    /// Creates a repository with a library crate of this name, for a git dependency.
    pub fn library(&self, name: &str) {
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        self.repository(
            name,
            &[("Cargo.toml", &manifest), ("src/lib.rs", "pub fn secret() {}\n")],
        );
    }

    /// Commit of a branch in the host's repository.
    pub fn head(&self, name: &str, branch: &str) -> String {
        let bare = self.backend.repository(name);
        git(&bare, &["rev-parse", branch]).trim().to_owned()
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = exec::command("git", folder);
    git.args(["-c", "user.name=host", "-c", "user.email=host@corp.example"])
        .args(arguments)
        .current_dir(folder);
    exec::run(&mut git).succeeds().stdout
}
