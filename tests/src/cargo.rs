//! Real cargo with a `CARGO_HOME` and a project of its own, without this machine's configuration.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::exec::{self, Output, RunningCommand};

/// Command for the cargo that runs the tests, without rustup, in a clean environment with this `HOME`.
pub fn command(home: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from(env!("CARGO")), PathBuf::from);
    let toolchain = cargo.parent().unwrap();
    let path = exec::path();
    let folders = std::iter::once(toolchain.to_owned()).chain(std::env::split_paths(&path));
    let mut command = exec::command(&cargo, home);
    command
        .env("PATH", std::env::join_paths(folders).unwrap())
        .env("CARGO_HOME", home.join("cargo"));
    command
}

/// Cargo with a project. The package is called `project`, version 0.1.0.
#[derive(Debug)]
pub struct Cargo {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Cargo {
    /// Creates an empty project. Cargo uses the git command, as it must behind regauth.
    pub fn new() -> Self {
        Self::within(TempDir::new().unwrap())
    }

    /// Creates an empty project in this folder.
    pub fn within(folder: TempDir) -> Self {
        for folder_name in ["cargo", "project/src"] {
            fs::create_dir_all(folder.path().join(folder_name)).unwrap();
        }
        let cargo = Self {
            folder,
            environment: Vec::new(),
        };
        fs::write(cargo.project().join("src/lib.rs"), "").unwrap();
        cargo
            .manifest(
                "[package]\nname = \"project\"\nversion = \"0.1.0\"\nedition = \"2021\"\nlicense = \"MIT\"\n\
                 description = \"a project\"\nhomepage = \"https://corp.example\"\n[dependencies]\n",
            )
            .config("net.git-fetch-with-cli = true")
    }

    /// Adds lines of the root table to `CARGO_HOME/config.toml`, such as `http.proxy = "…"`.
    pub fn config(self, lines: &str) -> Self {
        append(&self.home().join("cargo/config.toml"), lines);
        self
    }

    /// Configures a registry.
    pub fn registry(self, name: &str, index: &str) -> Self {
        self.config(&format!("registries.{name}.index = \"{index}\""))
    }

    /// Gives cargo a token, as users without regauth do: it is sent as `Authorization: TOKEN`.
    pub fn token(self, registry: &str, token: &str) -> Self {
        append(
            &self.home().join("cargo/credentials.toml"),
            &format!("registries.{registry}.token = \"{token}\""),
        );
        self.config(&format!("registries.{registry}.credential-provider = \"cargo:token\""))
    }

    /// Gives cargo a placeholder token, for a registry with `auth-required`.
    pub fn placeholder(self, registry: &str, token: &str) -> Self {
        self.config(&format!(
            "registries.{registry}.credential-provider = [\"cargo:token-from-stdout\", \"echo\", \"{token}\"]"
        ))
    }

    /// Trusts the roots in this file instead of the system's: `http.cainfo`, and `http.sslCAInfo` for git.
    pub fn trusts(self, roots: &Path) -> Self {
        let roots = roots.display();
        self.git_config(&format!("[http]\n\tsslCAInfo = {roots}"))
            .config(&format!("http.cainfo = \"{roots}\""))
    }

    /// Sends requests through a proxy: `http.proxy` of cargo and git.
    pub fn proxy(self, proxy: &str) -> Self {
        self.git_config(&format!("[http]\n\tproxy = {proxy}"))
            .config(&format!("http.proxy = \"{proxy}\""))
    }

    /// Sends requests through this daemon and trusts its bundle.
    pub fn behind(self, daemon: &Daemon) -> Self {
        self.proxy(&daemon.proxy()).trusts(&daemon.bundle())
    }

    /// Adds lines to the configuration of git.
    pub fn git_config(self, lines: &str) -> Self {
        append(&self.home().join(".gitconfig"), lines);
        self
    }

    /// Adds a dependency: `ship = { version = "1", registry = "corp" }`.
    pub fn depends_on(self, dependency: &str) -> Self {
        self.manifest(dependency)
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs `cargo build`.
    pub fn build(&self) -> Output {
        self.run(["build"])
    }

    /// Runs `cargo fetch`.
    pub fn fetch(&self) -> Output {
        self.run(["fetch"])
    }

    /// Runs `cargo publish` for the project.
    pub fn publish(&self, registry: &str) -> Output {
        self.run(["publish", "--registry", registry, "--allow-dirty", "--no-verify"])
    }

    /// Runs `cargo yank NAME@VERSION`.
    pub fn yank(&self, registry: &str, package: &str) -> Output {
        self.run(["yank", "--registry", registry, package])
    }

    /// Runs `cargo owner NAME` with `--add LOGIN`, `--remove LOGIN` or `--list`.
    pub fn owner(&self, registry: &str, name: &str, arguments: &[&str]) -> Output {
        self.run(["owner", "--registry", registry, name].iter().chain(arguments))
    }

    /// Runs `cargo search TEXT`.
    pub fn search(&self, registry: &str, text: &str) -> Output {
        self.run(["search", "--registry", registry, text])
    }

    /// Runs any cargo command in the project.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.start(arguments).finish()
    }

    /// Starts any cargo command in the project.
    pub fn start(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> RunningCommand {
        let mut cargo = command(self.home());
        cargo
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(arguments);
        RunningCommand::start(cargo.current_dir(self.project()), b"")
    }

    /// Deletes downloads, the lock file and the build output, so that the next build downloads everything.
    pub fn clear_downloads(&self) {
        for folder_name in ["cargo/registry", "cargo/git", "project/target"] {
            let folder = self.home().join(folder_name);
            if folder.exists() {
                fs::remove_dir_all(folder).unwrap();
            }
        }
        let lock = self.project().join("Cargo.lock");
        if lock.exists() {
            fs::remove_file(lock).unwrap();
        }
    }

    /// `HOME`, with `CARGO_HOME` in `cargo/` and the project in `project/`.
    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    /// Folder of the project.
    pub fn project(&self) -> PathBuf {
        self.home().join("project")
    }

    fn manifest(self, lines: &str) -> Self {
        append(&self.project().join("Cargo.toml"), lines);
        self
    }
}

impl Default for Cargo {
    fn default() -> Self {
        Self::new()
    }
}

fn append(file: &Path, lines: &str) {
    let mut text = fs::read_to_string(file).unwrap_or_default();
    text += lines;
    text.push('\n');
    fs::write(file, text).unwrap();
}
