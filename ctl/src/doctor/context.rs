//! Context of the checks: the daemon's status, the caller's environment, and the answers of real clients.

use std::fmt::Display;
use std::path::Path;
use std::process::Command;

use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::Status;
use regauth_shared::{ErrorBody, Request};

use super::syntax::{self, UnreadableConfiguration};
use crate::client::Client;
use crate::connect;
use crate::daemon_info::DaemonInfo;
use crate::program::on_path;
use crate::setup::{self, Tool};

/// Snapshot of an installation, shared by all checks.
pub(super) struct DoctorContext {
    /// Status of the daemon.
    pub(super) status: Status,
    /// Proxy, bundle and registries of the daemon.
    pub(super) info: DaemonInfo,
    /// Folders of the daemon.
    pub(super) folders: Folders,
    /// Connection to the daemon.
    pub(super) client: Client,
    /// Configurations that their clients cannot read.
    pub(super) unreadable: Vec<UnreadableConfiguration>,
}

impl DoctorContext {
    /// Asks the daemon for its status and registries.
    ///
    /// # Errors
    /// No daemon answers.
    pub(super) fn new(folders: &Folders, client: &Client) -> Result<Self, ErrorBody> {
        let info = DaemonInfo::fetch(client, folders)?;
        Ok(Self {
            status: client.call(&Request::Status(Nothing {}))?.answer,
            unreadable: syntax::find(&info, folders),
            info,
            folders: folders.clone(),
            client: connect::user_daemon(folders),
        })
    }

    /// True if a registry of this kind exists.
    pub(super) fn has_kind(&self, kind: &str) -> bool {
        self.info.registries.iter().any(|view| view.kind == kind)
    }

    /// True if a client's proxy setting names regauthd.
    pub(super) fn is_our_proxy(&self, value: &str) -> bool {
        let address = |url: &str| url.trim_end_matches('/').trim_start_matches("http://").to_owned();
        address(value) == address(&self.info.proxy)
    }

    /// True if the user has set this tool up, or the shell that starts it.
    pub(super) fn is_set_up(&self, tool: Tool) -> bool {
        [tool, Tool::Shell]
            .iter()
            .any(|tool| setup::is_set_up(tool.name(), &self.folders))
    }

    /// True if the tool cannot read its configuration: its settings cannot be asked for.
    pub(super) fn is_unreadable(&self, tool: Tool) -> bool {
        self.unreadable.iter().any(|unreadable| unreadable.tool == tool)
    }

    /// True if the store gives its tokens. If it does not, that is the cause of other faults.
    pub(super) fn is_store_open(&self) -> bool {
        self.status.store.state == "open"
    }

    /// Remedy for a wrong setting of a tool: a setup, if that edits the file which has the setting; else an edit.
    pub(super) fn remedy(&self, tool: Tool, key: &str, file: Option<&Path>) -> String {
        match file {
            Some(file) if !setup::edits(tool, file, &self.folders) => removal(key, &file.display()),
            _ => format!("regauthctl setup {}", tool.name()),
        }
    }

    /// True if a file is the daemon's bundle, under any name.
    pub(super) fn is_our_bundle(&self, file: &str) -> bool {
        let canonical = |path: &str| std::fs::canonicalize(path).ok();
        file == self.info.bundle || canonical(file).is_some_and(|file| Some(file) == canonical(&self.info.bundle))
    }
}

/// Remedy that removes a setting from a file which no setup edits.
pub(super) fn removal(key: &str, file: &dyn Display) -> String {
    format!("remove {key} from {file}")
}

/// Environment variable, if it is not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// First of these environment variables that is not empty, with its name.
pub(super) fn first_variable(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| Some((*name, variable(name)?)))
}

/// Trimmed stdout of a client; `None` if it is not installed or fails.
pub(super) fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    on_path(program)?;
    let output = Command::new(program).args(arguments).output().ok()?;
    let stdout = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(stdout)
}

/// Addition to a message about a file: empty if the file exists.
pub(super) fn missing_suffix(file: &str) -> &'static str {
    if Path::new(file).exists() {
        ""
    } else {
        ", which does not exist"
    }
}
