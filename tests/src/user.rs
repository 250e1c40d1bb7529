//! User with a `HOME`, who runs `regauthctl` and the clients that it sets up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::exec::{self, Output};
use crate::programs::binary;

/// `HOME` and environment of a user.
#[derive(Debug)]
pub struct User {
    home: PathBuf,
    environment: Vec<(String, String)>,
    _folder: Option<TempDir>,
}

impl User {
    /// User with an empty home.
    pub fn new(daemon: &Daemon) -> Self {
        let folder = TempDir::new().unwrap();
        let mut user = Self::at(daemon, folder.path());
        user._folder = Some(folder);
        user
    }

    /// User of a home that other clients use too, such as `Cargo::home`.
    pub fn at(daemon: &Daemon, home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            environment: vec![("REGAUTH_HOME".to_owned(), daemon.home().display().to_string())],
            _folder: None,
        }
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes an environment variable that was added.
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// Runs `regauthctl`.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(binary("regauthctl"));
        exec::run(command.args(arguments))
    }

    /// Runs any program in the home.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        exec::run(self.command(program).args(arguments))
    }

    /// Runs pip, which installs the package `treasure` from this index into a folder of the home.
    pub fn pip_install(&self, folder: &str, index: &str) -> Output {
        let from = ["--target", folder, "--index-url", index, "treasure"];
        self.run("python3", &[&["-m", "pip", "install"], &from[..]].concat())
    }

    /// Command with this user's environment, in the home.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = exec::command(program, &self.home);
        command
            .env("CARGO_HOME", self.home.join("cargo"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.home);
        command
    }

    /// Text of a file below the home; `None` when it does not exist.
    pub fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.home.join(file)).ok()
    }

    /// Writes a file below the home.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.home.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `HOME` of the user.
    pub fn home(&self) -> &Path {
        &self.home
    }
}
