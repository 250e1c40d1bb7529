//! Table of clients: the file that each one reads, and the settings that the file needs. One file a family of clients.

mod cargo;
mod containers;
mod downloads;
pub(super) mod git;
mod java;
mod mercurial;
mod node;
mod python;
mod ruby;
mod shell;

use std::path::PathBuf;

use regauth_shared::ErrorBody;

use super::format::Format;
use super::record::SetupRecord;
use super::secrets;
use super::setting::{Setting, SettingValue};
use super::target::SetupTarget;
use crate::daemon_info::DaemonInfo;
use crate::error;

pub(super) use cargo::{CARGO, other_cargo_files};
pub(super) use containers::PODMAN;
pub(super) use downloads::{ARIA2, WGET};
pub(super) use git::GIT;
pub(super) use java::{GRADLE, MAVEN, maven_proxies};
pub(super) use mercurial::MERCURIAL;
pub(super) use node::{BUN, NPM, YARN};
pub(super) use python::{PIP, UV};
pub(super) use ruby::GEM;
pub(super) use shell::{SHELL, profiles};

/// Row of the table.
#[derive(Clone, Copy)]
pub(super) struct Client {
    /// Name on the command line.
    pub(super) name: &'static str,
    /// Programs that show that the client is installed.
    pub(super) programs: &'static [&'static str],
    /// Kinds of registries that it connects to.
    pub(super) kinds: &'static [&'static str],
    /// Finds the configuration file that a setup for the target edits. It may be missing.
    pub(super) file: fn(&SetupTarget) -> Result<PathBuf, ErrorBody>,
    /// Computes the settings.
    pub(super) settings: fn(&Context<'_>) -> Result<ToolSettings, ErrorBody>,
}

/// Values that a client's settings depend on.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// The client's configuration file.
    pub(super) path: PathBuf,
    /// Target of the setup.
    pub(super) target: &'a SetupTarget,
    /// Settings of the daemon.
    pub(super) info: &'a DaemonInfo,
    /// Record of an earlier setup; without files if there was none.
    pub(super) earlier: &'a SetupRecord,
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
            matches!(setting.value, SettingValue::Placeholder(_))
                && self
                    .format
                    .value(text, &setting.key)
                    .as_deref()
                    .is_some_and(secrets::is_secret_value)
        };
        let note = |setting: &Setting| {
            format!(
                "{} has a token of its own in {}, which stays there; {}",
                self.path.display(),
                setting.key.join("."),
                self.format.advice_on_a_token()
            )
        };
        self.settings.iter().filter(is_kept).map(note).collect()
    }
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

pub(super) fn setting(key: &[&str], value: SettingValue) -> Setting {
    let key = key.iter().map(ToString::to_string).collect();
    Setting { key, value }
}

fn text(key: &[&str], value: &str) -> Setting {
    setting(key, SettingValue::Text(value.to_owned()))
}

/// Host and port of the proxy, without the brackets of an IPv6 address.
fn proxy_address(info: &DaemonInfo) -> Result<(String, u16), ErrorBody> {
    let url = url::Url::parse(&info.proxy).ok();
    let address = url.and_then(|url| {
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some((host, url.port_or_known_default()?))
    });
    address.ok_or_else(|| error::failed(format!("the daemon's proxy {} is not a URL", info.proxy)))
}

fn no_project(client: &str) -> ErrorBody {
    error::usage(format!("{client} has no settings of a project")).hint(format!(
        "leave out --project: `regauthctl setup {client}`, or use `regauthctl setup shell --project`"
    ))
}

/// Role of a tool's own configuration file in the setup record.
pub(in crate::setup) const CONFIG_ROLE: &str = "config";
