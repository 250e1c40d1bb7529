//! Target of a setup, and each tool's configuration file there.

use std::path::{Path, PathBuf};
use std::process::Command;

use regauth_shared::ErrorBody;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::user_folders::{cargo_home, home, npmrc, path_variable, xdg_config};

/// Target of a setup: the user's own configuration, or a project's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SetupTarget {
    /// Configuration of the user, for all projects.
    User,
    /// Configuration of the project in this folder.
    Project(PathBuf),
}

impl SetupTarget {
    /// True if the project's folder still exists.
    pub(super) fn exists(&self) -> bool {
        match self {
            Self::User => true,
            Self::Project(folder) => folder.is_dir(),
        }
    }

    /// `config.toml` of cargo. Cargo reads `config` instead if both exist (the Cargo book, "Hierarchical structure").
    pub(super) fn cargo_file(&self) -> Result<PathBuf, ErrorBody> {
        let folder = match self {
            Self::Project(folder) => folder.join(".cargo"),
            Self::User => cargo_home()?,
        };
        Ok(first_existing(&[folder.join("config")]).unwrap_or_else(|| folder.join("config.toml")))
    }

    /// File that `git config --global` or `git config --local` writes (git-config(1), "FILES").
    pub(super) fn git_file(&self) -> Result<PathBuf, ErrorBody> {
        if let Self::Project(folder) = self {
            return repository_config(folder);
        }
        if let Some(file) = path_variable("GIT_CONFIG_GLOBAL") {
            return Ok(file);
        }
        let default = home()?.join(".gitconfig");
        let xdg = xdg_config()?.join("git/config");
        Ok(first_existing(&[default.clone(), xdg]).unwrap_or(default))
    }

    /// `pip.conf`. A project's is the one of its virtual environment (pip's documentation, "Configuration").
    pub(super) fn pip_file(&self) -> Result<PathBuf, ErrorBody> {
        if matches!(self, Self::Project(_)) {
            let environment = path_variable("VIRTUAL_ENV").ok_or_else(|| {
                error::usage("pip has project settings only in a virtual environment, and none is active")
                    .hint("activate the virtual environment, or leave out --project")
            })?;
            return Ok(environment.join("pip.conf"));
        }
        if let Some(file) = path_variable("PIP_CONFIG_FILE") {
            return Ok(file);
        }
        let default = default_pip_file()?;
        let legacy = home()?.join(".pip/pip.conf");
        Ok(first_existing(&[default.clone(), legacy]).unwrap_or(default))
    }

    /// `uv.toml`.
    ///
    /// # Errors
    /// `HOME` is not set.
    pub(crate) fn uv_file(&self) -> Result<PathBuf, ErrorBody> {
        match self {
            Self::Project(folder) => Ok(folder.join("uv.toml")),
            Self::User => Ok(xdg_config()?.join("uv/uv.toml")),
        }
    }

    /// `.npmrc`.
    pub(super) fn npm_file(&self) -> Result<PathBuf, ErrorBody> {
        match self {
            Self::Project(folder) => Ok(folder.join(".npmrc")),
            Self::User => npmrc(),
        }
    }

    /// Startup file of the user's shell; for a project, direnv's `.envrc`.
    pub(super) fn shell_profile(&self) -> Result<PathBuf, ErrorBody> {
        if let Self::Project(folder) = self {
            return Ok(folder.join(".envrc"));
        }
        let shell = path_variable("SHELL").unwrap_or_default();
        let name = shell.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.as_str() {
            "bash" if cfg!(target_os = "macos") => Ok(home()?.join(".bash_profile")),
            "bash" => Ok(home()?.join(".bashrc")),
            // The only file that every zsh reads, also one that is not interactive.
            "zsh" => Ok(path_variable("ZDOTDIR").map_or_else(home, Ok)?.join(".zshenv")),
            "fish" => Ok(xdg_config()?.join("fish/conf.d/regauth.fish")),
            _ => Ok(home()?.join(".profile")),
        }
    }
}

impl SetupTarget {
    /// Profile of the user's login shells, beside [`SetupTarget::shell_profile`]. bash reads the first of three files, and
    /// not `.bashrc`, whose usual first lines end it in a shell that is not interactive (bash(1), "INVOCATION").
    pub(super) fn login_profile(&self) -> Option<PathBuf> {
        let shell = path_variable("SHELL")?;
        if *self != Self::User || shell.file_name()? != "bash" || cfg!(target_os = "macos") {
            return None;
        }
        let home = home().ok()?;
        let profiles = [".bash_profile", ".bash_login", ".profile"].map(|name| home.join(name));
        Some(first_existing(&profiles).unwrap_or_else(|| home.join(".profile")))
    }
}

fn repository_config(folder: &Path) -> Result<PathBuf, ErrorBody> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["rev-parse", "--git-path", "config"]);
    let output = git.output().map_err(error::io("cannot run git"))?;
    if !output.status.success() {
        return Err(error::usage(format!("{} is not in a git repository", folder.display()))
            .hint("change to a repository, or leave out --project"));
    }
    let path = String::from_utf8_lossy(&output.stdout);
    Ok(folder.join(path.trim_end_matches('\n')))
}

fn default_pip_file() -> Result<PathBuf, ErrorBody> {
    if cfg!(target_os = "macos") {
        let support = home()?.join("Library/Application Support/pip");
        if support.is_dir() {
            return Ok(support.join("pip.conf"));
        }
    }
    Ok(xdg_config()?.join("pip/pip.conf"))
}

fn first_existing(files: &[PathBuf]) -> Option<PathBuf> {
    files.iter().find(|file| file.exists()).cloned()
}
