//! Tools that can be set up, and the settings that each of them needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use regauth_shared::ErrorBody;
use serde::{Deserialize, Serialize};

use super::format::Format;
use super::setting::{Setting, SettingValue};
use super::target::SetupTarget;
use crate::company::{self, CompanySetting};
use crate::daemon_info::{DaemonInfo, is_git_index};
use crate::program::on_path;
use crate::shell::Shell;
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

    /// Computes the settings of this tool. `recorded_file` is the configuration file of an earlier setup, which stays
    /// the one even if the environment now names another.
    ///
    /// # Errors
    /// `HOME` is not set, or a program that has to be asked is missing.
    pub(super) fn settings(
        self,
        target: &SetupTarget,
        info: &DaemonInfo,
        recorded_file: Option<&Path>,
    ) -> Result<ToolSettings, ErrorBody> {
        let path = match recorded_file {
            Some(path) if !self.is_shadowed(path) => path.to_owned(),
            _ => self.config_file(target)?,
        };
        match self {
            Self::Cargo => Ok(cargo(path, info)),
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

fn cargo(path: PathBuf, info: &DaemonInfo) -> ToolSettings {
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
    let mut notes = Vec::new();
    for (view, index) in info.cargo_indexes() {
        settings.push(text(&["registries", view.name.as_str(), "index"], index));
        let own_provider = &["registries", view.name.as_str(), "credential-provider"];
        settings.push(setting(own_provider, SettingValue::ReplaceOnly(provider.clone())));
        if is_git_index(view) {
            notes.push(format!(
                "cargo fetches the index of {} with git, so run `regauthctl setup git` as well",
                view.name
            ));
        }
    }
    one_file(path, Format::Toml, settings, notes)
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
    let note = "uv reads the bundle only from SSL_CERT_FILE, so run `regauthctl setup shell` as well";
    Ok(one_file(path, Format::Toml, settings, vec![note.to_owned()]))
}

fn npm(path: PathBuf, info: &DaemonInfo) -> ToolSettings {
    let mut settings = vec![text(&["https-proxy"], &info.proxy), text(&["cafile"], &info.bundle)];
    for (key, token) in info.npm_tokens() {
        settings.push(text(&[&key], token));
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
    ToolSettings {
        files: vec![environment, profile],
        notes: vec!["running shells do not change; `eval \"$(regauthctl env)\"` sets this one up".to_owned()],
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
