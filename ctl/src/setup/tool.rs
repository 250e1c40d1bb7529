//! The clients, and what each of them needs in which of its files.

use std::path::{Path, PathBuf};
use std::process::Command;

use regauth_shared::ErrorBody;
use serde::{Deserialize, Serialize};

use super::format::{Format, Setting, Value};
use super::record::{Place, Record};
use crate::daemon_info::{DaemonInfo, is_git_index};
use crate::program::on_path;
use crate::shell::Shell;
use crate::{environment, error};

/// A client that can be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tool {
    /// cargo: proxy, bundle, registries and the credential provider, in config.toml
    Cargo,
    /// git: proxy and bundle for the configured hosts only, in .gitconfig
    Git,
    /// pip: proxy and bundle, in pip.conf
    Pip,
    /// uv: proxy, in uv.toml; the bundle has to come from the shell
    Uv,
    /// npm: proxy, bundle and placeholder tokens, in .npmrc
    Npm,
    /// the shell: the environment for everything that it starts, in its profile
    Shell,
}

/// What a client wants.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Which settings in which files.
    pub(super) files: Vec<WantedFile>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

/// A file and the settings it is to have.
#[derive(Debug)]
pub(super) struct WantedFile {
    /// What it is to the client.
    pub(super) role: &'static str,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// How it is written.
    pub(super) format: Format,
    /// The settings.
    pub(super) settings: Vec<Setting>,
}

impl Tool {
    /// As a person types it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Git => "git",
            Self::Pip => "pip",
            Self::Uv => "uv",
            Self::Npm => "npm",
            Self::Shell => "shell",
        }
    }

    /// Which settings it needs in which files. A file that was found before stays the one, whatever the environment of
    /// this call says.
    pub(super) fn wants(self, place: &Place, facts: &DaemonInfo, before: &Record) -> Result<Wanted, ErrorBody> {
        let path = |usual: Result<PathBuf, ErrorBody>| match before.path_of(CONFIG) {
            Some(path) => Ok(path.to_owned()),
            None => usual,
        };
        match self {
            Self::Cargo => Ok(cargo(path(cargo_file(place))?, facts)),
            Self::Git => Ok(git(path(git_file(place))?, facts)),
            Self::Pip => Ok(pip(path(pip_file(place))?, facts)),
            Self::Uv => uv(path(uv_file(place))?, facts),
            Self::Npm => Ok(npm(path(npm_file(place))?, facts)),
            Self::Shell => Ok(shell(path(profile(place))?, facts)),
        }
    }
}

fn cargo(path: PathBuf, facts: &DaemonInfo) -> Wanted {
    let mut settings = vec![
        text(&["http", "proxy"], &facts.proxy),
        text(&["http", "cainfo"], &facts.bundle),
        // Any [http] setting switches cargo to a git that knows no credential helpers, for all hosts.
        setting(&["net", "git-fetch-with-cli"], Value::Yes),
    ];
    let spaced = facts.provider.iter().any(|word| word.contains(char::is_whitespace));
    let provider = if spaced {
        settings.push(setting(
            &["credential-alias", ALIAS],
            Value::Texts(facts.provider.clone()),
        ));
        ALIAS.to_owned()
    } else {
        facts.provider.join(" ")
    };
    // Cargo's default; later ones come first.
    let usual = vec!["cargo:token".to_owned()];
    let last = Value::Last(provider.clone(), usual);
    settings.push(setting(&["registry", "global-credential-providers"], last));
    let mut notes = Vec::new();
    for (view, index) in facts.cargo_indexes() {
        settings.push(text(&["registries", view.name.as_str(), "index"], index));
        let own = &["registries", view.name.as_str(), "credential-provider"];
        settings.push(setting(own, Value::Instead(provider.clone())));
        if is_git_index(view) {
            notes.push(format!(
                "the index of {} is a git repository, which cargo fetches with git: `regauthctl setup git` as well",
                view.name
            ));
        }
    }
    one(path, Format::Toml, settings, notes)
}

fn git(path: PathBuf, facts: &DaemonInfo) -> Wanted {
    let mut settings = Vec::new();
    for scope in facts.git_scopes() {
        settings.push(text(&["http", scope, "proxy"], &facts.proxy));
        settings.push(text(&["http", scope, "sslCAInfo"], &facts.bundle));
    }
    let notes = if settings.is_empty() {
        vec!["no registry is of git's kind yet; git is set up as soon as one is added".to_owned()]
    } else {
        Vec::new()
    };
    one(path, Format::Git, settings, notes)
}

fn pip(path: PathBuf, facts: &DaemonInfo) -> Wanted {
    let settings = vec![
        text(&["global", "proxy"], &facts.proxy),
        text(&["global", "cert"], &facts.bundle),
    ];
    one(path, Format::Ini, settings, Vec::new())
}

/// uv refuses a file with a key that it does not know, and `https-proxy` is young: the real uv is asked.
fn uv(path: PathBuf, facts: &DaemonInfo) -> Result<Wanted, ErrorBody> {
    if !uv_knows_https_proxy()? {
        return Err(error::failed("this uv has no proxy setting in uv.toml")
            .hint("`regauthctl setup shell` sets the proxy and the bundle in the environment, which every uv reads"));
    }
    let settings = vec![text(&["https-proxy"], &facts.proxy)];
    let note =
        "uv takes its roots from SSL_CERT_FILE only, which no file of uv's can set: `regauthctl setup shell` as well";
    Ok(one(path, Format::Toml, settings, vec![note.to_owned()]))
}

fn npm(path: PathBuf, facts: &DaemonInfo) -> Wanted {
    let mut settings = vec![text(&["https-proxy"], &facts.proxy), text(&["cafile"], &facts.bundle)];
    for (key, token) in facts.npm_tokens() {
        settings.push(text(&[&key], token));
    }
    one(path, Format::Npmrc, settings, Vec::new())
}

/// The environment lies in a file of its own, which is kept right; the profile only reads it.
fn shell(profile: PathBuf, facts: &DaemonInfo) -> Wanted {
    let shell = Shell::of_profile(&profile);
    let path = facts.state.join(shell.environment_file());
    let line = shell.source(&path);
    let script = shell.script(&environment::variables(facts));
    Wanted {
        files: vec![
            WantedFile {
                role: "environment",
                path,
                format: Format::Whole,
                settings: vec![setting(&[], Value::Text(script))],
            },
            WantedFile {
                role: CONFIG,
                path: profile,
                format: Format::Line,
                settings: vec![setting(&[], Value::Text(line))],
            },
        ],
        notes: vec![
            "shells that run already do not know of it; `eval \"$(regauthctl env)\"` tells this one".to_owned(),
        ],
    }
}

fn one(path: PathBuf, format: Format, settings: Vec<Setting>, notes: Vec<String>) -> Wanted {
    let role = CONFIG;
    Wanted {
        files: vec![WantedFile {
            role,
            path,
            format,
            settings,
        }],
        notes,
    }
}

/// Cargo reads `config` before `config.toml` where there are both (the Cargo book, "Hierarchical structure").
fn cargo_file(place: &Place) -> Result<PathBuf, ErrorBody> {
    let folder = match place {
        Place::Project(folder) => folder.join(".cargo"),
        Place::User => variable("CARGO_HOME").map_or_else(|| Ok(home()?.join(".cargo")), Ok)?,
    };
    Ok(first_there(&[folder.join("config")]).unwrap_or_else(|| folder.join("config.toml")))
}

/// What `git config --global` writes to (git-config(1), "FILES").
fn git_file(place: &Place) -> Result<PathBuf, ErrorBody> {
    if let Place::Project(folder) = place {
        return repository_file(folder);
    }
    if let Some(file) = variable("GIT_CONFIG_GLOBAL") {
        return Ok(file);
    }
    let usual = home()?.join(".gitconfig");
    let other = xdg_config()?.join("git/config");
    Ok(first_there(&[usual.clone(), other]).unwrap_or(usual))
}

fn repository_file(folder: &Path) -> Result<PathBuf, ErrorBody> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["rev-parse", "--git-path", "config"]);
    let output = git.output().map_err(error::io("cannot run git"))?;
    if !output.status.success() {
        return Err(error::usage(format!("{} is in no git repository", folder.display())));
    }
    let path = String::from_utf8_lossy(&output.stdout);
    Ok(folder.join(path.trim_end_matches('\n')))
}

/// pip has no file for a project but that of its virtual environment (pip's documentation, "Configuration").
fn pip_file(place: &Place) -> Result<PathBuf, ErrorBody> {
    if matches!(place, Place::Project(_)) {
        let environment = variable("VIRTUAL_ENV").ok_or_else(|| {
            error::usage("pip has project settings in a virtual environment only, and none is active")
                .hint("activate it, or leave out --project")
        })?;
        return Ok(environment.join("pip.conf"));
    }
    if let Some(file) = variable("PIP_CONFIG_FILE") {
        return Ok(file);
    }
    let usual = if cfg!(target_os = "macos") {
        let support = home()?.join("Library/Application Support/pip");
        if support.is_dir() {
            support.join("pip.conf")
        } else {
            xdg_config()?.join("pip/pip.conf")
        }
    } else {
        xdg_config()?.join("pip/pip.conf")
    };
    let legacy = home()?.join(".pip/pip.conf");
    Ok(first_there(&[usual.clone(), legacy]).unwrap_or(usual))
}

/// uv's own file.
///
/// # Errors
/// HOME is not set.
pub(crate) fn uv_file(place: &Place) -> Result<PathBuf, ErrorBody> {
    match place {
        Place::Project(folder) => Ok(folder.join("uv.toml")),
        Place::User => Ok(xdg_config()?.join("uv/uv.toml")),
    }
}

fn uv_knows_https_proxy() -> Result<bool, ErrorBody> {
    let cannot = || error::io("cannot try out uv");
    let uv = on_path("uv").ok_or_else(|| error::failed("there is no uv on the PATH"))?;
    let folder = tempfile::tempdir().map_err(cannot())?;
    let file = folder.path().join("uv.toml");
    std::fs::write(&file, "https-proxy = \"http://127.0.0.1:1\"\n").map_err(cannot())?;
    let mut command = Command::new(uv);
    command.arg("--config-file").arg(&file).args(["cache", "dir"]);
    Ok(command.output().map_err(cannot())?.status.success())
}

fn npm_file(place: &Place) -> Result<PathBuf, ErrorBody> {
    match place {
        Place::Project(folder) => Ok(folder.join(".npmrc")),
        Place::User => variable("NPM_CONFIG_USERCONFIG").map_or_else(|| Ok(home()?.join(".npmrc")), Ok),
    }
}

/// What the person's shell reads when it starts; for a project, what direnv reads.
fn profile(place: &Place) -> Result<PathBuf, ErrorBody> {
    if let Place::Project(folder) = place {
        return Ok(folder.join(".envrc"));
    }
    let shell = variable("SHELL").unwrap_or_default();
    let name = shell.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.as_str() {
        "bash" if cfg!(target_os = "macos") => Ok(home()?.join(".bash_profile")),
        "bash" => Ok(home()?.join(".bashrc")),
        "zsh" => Ok(variable("ZDOTDIR").map_or_else(home, Ok)?.join(".zshrc")),
        "fish" => Ok(xdg_config()?.join("fish/conf.d/regauth.fish")),
        _ => Ok(home()?.join(".profile")),
    }
}

fn first_there(files: &[PathBuf]) -> Option<PathBuf> {
    files.iter().find(|file| file.exists()).cloned()
}

/// The person's home.
///
/// # Errors
/// `HOME` is not set.
pub(crate) fn home() -> Result<PathBuf, ErrorBody> {
    variable("HOME").ok_or_else(|| error::usage("HOME is not set, so there is no telling where your settings are"))
}

/// Where programs have their configuration.
///
/// # Errors
/// `HOME` is not set.
pub(crate) fn xdg_config() -> Result<PathBuf, ErrorBody> {
    variable("XDG_CONFIG_HOME").map_or_else(|| Ok(home()?.join(".config")), Ok)
}

/// A path in an environment variable.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    std::path::absolute(value).ok()
}

fn setting(key: &[&str], value: Value) -> Setting {
    let key = key.iter().map(ToString::to_string).collect();
    Setting { key, value }
}

fn text(key: &[&str], value: &str) -> Setting {
    setting(key, Value::Text(value.to_owned()))
}

/// The role of a client's own file.
const CONFIG: &str = "config";
const ALIAS: &str = "regauth";
