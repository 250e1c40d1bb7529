//! Tools that can be set up, and the settings that each of them needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use regauth_shared::ErrorBody;
use regauth_shared::response::RegistryView;
use serde::{Deserialize, Serialize};

use super::format::Format;
use super::record::SetupRecord;
use super::setting::{Setting, SettingValue};
use super::target::SetupTarget;
use super::{cargo_names, ini, secrets};
use crate::client_files;
use crate::company::{self, CompanySetting};
use crate::daemon_info::{DaemonInfo, is_git_index};
use crate::program::on_path;
use crate::shell::Shell;
use crate::user_folders::cargo_home;
use crate::{environment, error};

/// Tool that can be set up. The comments are help texts of `regauthctl setup`.
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

/// Settings that a tool needs, in all its files.
#[derive(Debug, Default)]
pub(super) struct ToolSettings {
    /// Files with their settings.
    pub(super) files: Vec<FileSettings>,
    /// Advice for the user.
    pub(super) notes: Vec<String>,
    /// Files of others that the settings depend on.
    pub(super) other_files: Vec<PathBuf>,
}

/// File with the settings that it needs.
#[derive(Debug)]
pub(super) struct FileSettings {
    /// Role of the file, such as `config`.
    pub(super) role: &'static str,
    /// Path of the file.
    pub(super) path: PathBuf,
    /// Format of the file.
    pub(super) format: Format,
    /// Wanted settings.
    pub(super) settings: Vec<Setting>,
}

impl FileSettings {
    /// Notes on secrets of the user that stay in the text, where setup would write a placeholder.
    pub(super) fn notes_on_kept_secrets(&self, text: &str) -> Vec<String> {
        let is_kept = |setting: &&Setting| {
            let present = setting.key.last().and_then(|key| ini::npm_value(text, key));
            matches!(setting.value, SettingValue::Placeholder(_))
                && present.as_deref().is_some_and(secrets::is_secret_value)
        };
        let note = |setting: &Setting| {
            format!(
                "{} has a token of its own in {}, which stays there; `regauthctl import` moves it into regauth",
                self.path.display(),
                setting.key.join(".")
            )
        };
        self.settings.iter().filter(is_kept).map(note).collect()
    }
}

impl Tool {
    /// Name on the command line.
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

    /// All tools, in the order of the help. The shell is last: what it starts has its own configuration first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let tools = Self::value_variants().iter().copied();
        let others = tools.filter(|tool| *tool != Self::Shell);
        others.chain([Self::Shell])
    }

    /// Tools that are installed here.
    pub(crate) fn found() -> impl Iterator<Item = Self> {
        Self::all().filter(|tool| tool.is_found())
    }

    /// True if the tool's program is in `PATH`, or the user has a configuration file of it.
    pub(crate) fn is_found(self) -> bool {
        let has_program = match self {
            Self::Shell => true,
            Self::Pip => on_path("pip").or_else(|| on_path("pip3")).is_some(),
            _ => on_path(self.name()).is_some(),
        };
        has_program || self.config_file(&SetupTarget::User).is_ok_and(|file| file.is_file())
    }

    /// True if the tool can use this registry.
    pub(crate) fn uses(self, view: &RegistryView) -> bool {
        match self {
            Self::Cargo => view.kind == "cargo",
            Self::Git => is_git_index(view) || matches!(view.kind.as_str(), "git" | "generic"),
            Self::Pip | Self::Uv => view.kind == "pypi",
            Self::Npm => view.kind == "npm",
            Self::Shell => true,
        }
    }

    /// Computes the settings of this tool. The configuration file of an earlier setup stays the one, even if the
    /// environment now names another.
    ///
    /// # Errors
    /// `HOME` is not set, or a program that has to be asked is missing.
    pub(super) fn settings(
        self,
        target: &SetupTarget,
        info: &DaemonInfo,
        earlier: &SetupRecord,
    ) -> Result<ToolSettings, ErrorBody> {
        let path = match earlier.path_of(CONFIG_ROLE) {
            Some(path) if !self.is_shadowed(path) => path.to_owned(),
            _ => self.config_file(target)?,
        };
        match self {
            Self::Cargo => Ok(cargo(path, info, other_cargo_files(target, &earlier.other_files))),
            Self::Git => Ok(git(path, info)),
            Self::Pip => Ok(pip(path, info)),
            Self::Uv => uv(path, info),
            Self::Npm => Ok(npm(path, info)),
            Self::Shell => Ok(shell(path, info)),
        }
    }

    /// A company's settings outside the tool's own files, which the tool's settings override: the environment, and for git
    /// the settings of all hosts.
    pub(super) fn overridden(self) -> Vec<CompanySetting> {
        let mut found = company::of_environment(|name| std::env::var(name).ok());
        if self == Self::Git {
            found.extend(git_setting("http.proxy").map(|url| CompanySetting::proxy("git's http.proxy", &url)));
            let roots = git_setting("http.sslCAInfo");
            found.extend(roots.map(|file| CompanySetting::ca_file("git's http.sslCAInfo", &file)));
        }
        found
    }

    /// True if the tool ignores the file: cargo reads `config` instead of `config.toml` if both exist.
    fn is_shadowed(self, path: &Path) -> bool {
        let is_config_toml = path.file_name().is_some_and(|name| name == "config.toml");
        self == Self::Cargo && is_config_toml && path.with_file_name("config").is_file()
    }

    /// Configuration file of the tool that a setup for this target edits.
    ///
    /// # Errors
    /// `HOME` is not set.
    pub(super) fn config_file(self, target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
        match self {
            Self::Cargo => target.cargo_file(),
            Self::Git => target.git_file(),
            Self::Pip => target.pip_file(),
            Self::Uv => target.uv_file(),
            Self::Npm => target.npm_file(),
            Self::Shell => target.shell_profile(),
        }
    }
}

fn cargo(path: PathBuf, info: &DaemonInfo, mut other_files: Vec<PathBuf>) -> ToolSettings {
    let mut settings = vec![
        text(&["http", "proxy"], &info.proxy),
        text(&["http", "cainfo"], &info.bundle),
        // Any [http] setting makes cargo use libgit2, which runs no credential helpers, for all hosts.
        setting(&["net", "git-fetch-with-cli"], SettingValue::True),
    ];
    let has_blanks = info.provider.iter().any(|word| word.contains(char::is_whitespace));
    let provider = if has_blanks {
        // Cargo splits a provider's command at blanks, and an alias is a list of words.
        let command = SettingValue::List(info.provider.clone());
        settings.push(setting(&["credential-alias", PROVIDER_ALIAS], command));
        PROVIDER_ALIAS.to_owned()
    } else {
        info.provider.join(" ")
    };
    // Cargo asks the last provider first. Its default list is `cargo:token` alone.
    let providers = SettingValue::ListEnd(provider.clone(), vec!["cargo:token".to_owned()]);
    settings.push(setting(&["registry", "global-credential-providers"], providers));
    other_files.retain(|file| *file != path);
    let own_names = cargo_names::read(std::slice::from_ref(&path));
    let other_names = cargo_names::read(&other_files);
    let mut notes = Vec::new();
    let mut files_with_names = Vec::new();
    for (view, index) in info.cargo_indexes() {
        let name = view.name.as_str();
        let in_this_file = cargo_names::others(&own_names, index, name);
        let elsewhere = cargo_names::others(&other_names, index, name);
        match in_this_file.first().or(elsewhere.first()) {
            Some(other) => notes.push(other.note(name)),
            None => settings.push(text(&["registries", name, "index"], index)),
        }
        for name in in_this_file.iter().map(|other| other.name.as_str()).chain([name]) {
            let own_provider = &["registries", name, "credential-provider"];
            settings.push(setting(own_provider, SettingValue::ReplaceOnly(provider.clone())));
        }
        files_with_names.extend(elsewhere.into_iter().map(|other| other.file.clone()));
        notes.extend(is_git_index(view).then(|| needs_git(name)));
    }
    other_files.retain(|file| files_with_names.contains(file));
    ToolSettings {
        other_files,
        ..one_file(path, Format::Toml, settings, notes)
    }
}

fn needs_git(name: &str) -> String {
    format!("cargo fetches the index of {name} with git, so run `regauthctl setup git` as well")
}

/// Configuration files that cargo merges with the one that setup edits: those above the current folder, those of an
/// earlier setup, and the user's. They may name an index.
fn other_cargo_files(target: &SetupTarget, earlier: &[PathBuf]) -> Vec<PathBuf> {
    let folder = match target {
        SetupTarget::User => std::env::current_dir().unwrap_or_default(),
        SetupTarget::Project(folder) => folder.clone(),
    };
    let of_user = cargo_home().ok().map(|home| cargo_names::files_in(&home));
    let mut files = cargo_names::files_above(&folder);
    files.extend(of_user.into_iter().flatten());
    files.extend_from_slice(earlier);
    let mut unique = Vec::new();
    for file in files {
        if !unique.contains(&file) {
            unique.push(file);
        }
    }
    unique
}

fn git(path: PathBuf, info: &DaemonInfo) -> ToolSettings {
    let mut settings = Vec::new();
    for scope in info.git_scopes() {
        settings.push(text(&["http", scope, "proxy"], &info.proxy));
        settings.push(text(&["http", scope, "sslCAInfo"], &info.bundle));
    }
    let notes = if settings.is_empty() {
        vec!["no registry uses git yet; regauth sets git up as soon as one is added".to_owned()]
    } else {
        Vec::new()
    };
    one_file(path, Format::Git, settings, notes)
}

fn pip(path: PathBuf, info: &DaemonInfo) -> ToolSettings {
    let settings = vec![
        text(&["global", "proxy"], &info.proxy),
        text(&["global", "cert"], &info.bundle),
    ];
    one_file(path, Format::Ini, settings, Vec::new())
}

fn uv(path: PathBuf, info: &DaemonInfo) -> Result<ToolSettings, ErrorBody> {
    if !uv_accepts_https_proxy()? {
        return Err(error::failed("this version of uv has no proxy setting in uv.toml")
            .hint("`regauthctl setup shell` sets the proxy and the bundle in the environment, which every uv reads"));
    }
    let settings = vec![text(&["https-proxy"], &info.proxy)];
    let notes = [
        "uv reads the bundle only from SSL_CERT_FILE, so run `regauthctl setup shell` as well",
        "`uv publish` and an index with authenticate = \"always\" insist on a user name and password; any do: \
         UV_PUBLISH_USERNAME=x UV_PUBLISH_PASSWORD=x, or UV_INDEX_NAME_USERNAME=x UV_INDEX_NAME_PASSWORD=x",
    ];
    Ok(one_file(path, Format::Toml, settings, notes.map(str::to_owned).into()))
}

fn npm(path: PathBuf, info: &DaemonInfo) -> ToolSettings {
    let mut settings = vec![text(&["https-proxy"], &info.proxy), text(&["cafile"], &info.bundle)];
    for (key, token) in info.npm_tokens() {
        settings.push(setting(&[&key], SettingValue::Placeholder(token.to_owned())));
    }
    one_file(path, Format::Npmrc, settings, Vec::new())
}

/// The environment is in a file of regauth's own, which setup rewrites. The profile gets one line that reads it.
fn shell(profile: PathBuf, info: &DaemonInfo) -> ToolSettings {
    let shell = Shell::of_profile(&profile);
    let path = info.state.join(shell.environment_file());
    let line = shell.source(&path);
    let script = shell.script(&environment::variables(info));
    let environment = FileSettings {
        role: "environment",
        path,
        format: Format::Whole,
        settings: vec![setting(&[], SettingValue::Text(script))],
    };
    let profile = FileSettings {
        role: CONFIG_ROLE,
        path: profile,
        format: Format::Line,
        settings: vec![setting(&[], SettingValue::Text(line))],
    };
    let client_files = client_files::all(info).into_iter().map(|file| FileSettings {
        role: file.role,
        path: file.path,
        format: Format::Whole,
        settings: vec![setting(&[], SettingValue::Text(file.text))],
    });
    ToolSettings {
        files: [environment, profile].into_iter().chain(client_files).collect(),
        notes: vec!["running shells do not change; `eval \"$(regauthctl env)\"` sets this one up".to_owned()],
        other_files: Vec::new(),
    }
}

/// Setting of git for all hosts, if git is installed and has one.
fn git_setting(key: &str) -> Option<String> {
    let mut git = Command::new(on_path("git")?);
    let output = git.args(["config", "--get", key]).output().ok()?;
    let value = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !value.is_empty()).then_some(value)
}

/// Asks the installed uv. An old uv rejects a file with a key that it does not know.
fn uv_accepts_https_proxy() -> Result<bool, ErrorBody> {
    let io_error = || error::io("cannot test uv");
    let uv = on_path("uv").ok_or_else(|| error::failed("there is no uv in PATH"))?;
    let folder = tempfile::tempdir().map_err(io_error())?;
    let file = folder.path().join("uv.toml");
    std::fs::write(&file, "https-proxy = \"http://127.0.0.1:1\"\n").map_err(io_error())?;
    let mut command = Command::new(uv);
    command.arg("--config-file").arg(&file).args(["cache", "dir"]);
    Ok(command.output().map_err(io_error())?.status.success())
}

fn one_file(path: PathBuf, format: Format, settings: Vec<Setting>, notes: Vec<String>) -> ToolSettings {
    let file = FileSettings {
        role: CONFIG_ROLE,
        path,
        format,
        settings,
    };
    ToolSettings {
        files: vec![file],
        notes,
        other_files: Vec::new(),
    }
}

fn setting(key: &[&str], value: SettingValue) -> Setting {
    let key = key.iter().map(ToString::to_string).collect();
    Setting { key, value }
}

fn text(key: &[&str], value: &str) -> Setting {
    setting(key, SettingValue::Text(value.to_owned()))
}

/// Role of a tool's own configuration file in the setup record.
pub(super) const CONFIG_ROLE: &str = "config";
const PROVIDER_ALIAS: &str = "regauth";
