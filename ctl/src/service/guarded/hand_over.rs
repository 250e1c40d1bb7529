//! `regauthd --hand-over`, run as a user: gives that user's registries and tokens through a pipe.
//!
//! The user's programs could change what it writes. So nothing of it is trusted: a registry must bring its token, and names
//! no file, no program and no registry of another user.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use regauth_shared::hand_over::HandOver;
use regauth_shared::request::{AddRegistry, SetUpstream};
use regauth_shared::{ErrorBody, RegistryName};
use secrecy::zeroize::Zeroizing;

use super::account::Account;
use crate::error;

/// Running handover of one user.
pub(super) struct HandingOver {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// Registries to move, owners of shared credentials first.
    pub(super) registries: Vec<Moving>,
    /// Registries that stay with the user, with the reason.
    pub(super) left: Vec<(RegistryName, String)>,
    /// Way to other hosts.
    pub(super) upstream: Option<(SetUpstream, Option<String>)>,
}

/// Registry to move.
pub(super) struct Moving {
    pub(super) request: AddRegistry,
    /// Contents of its `ca-file`.
    pub(super) roots: Option<String>,
}

impl HandingOver {
    /// Starts the handover, and reads what there is to move.
    ///
    /// # Errors
    /// The user's configuration or store cannot be read.
    pub(super) fn start(account: &Account, regauthd: &Path, with_tokens: bool) -> Result<Self, ErrorBody> {
        let what = if with_tokens { "tokens" } else { "definitions" };
        let mut command = account.command(regauthd);
        command.args(["--hand-over", what]);
        let started = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = started.spawn().map_err(error::io("cannot run setpriv"))?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| error::failed("the handover has no output"))?;
        let mut handing_over = Self {
            child,
            lines: BufReader::new(stdout),
            registries: Vec::new(),
            left: Vec::new(),
            upstream: None,
        };
        while let Some(line) = handing_over.next_line()? {
            match serde_json::from_str(&line).map_err(|_| unreadable())? {
                HandOver::End => return Ok(handing_over),
                HandOver::Registry { request, roots } => handing_over.registries.push(Moving {
                    request: *request,
                    roots,
                }),
                HandOver::Left { name, reason } => handing_over.left.push((name, reason)),
                HandOver::Upstream { request, roots } => handing_over.upstream = Some((request, roots)),
            }
        }
        Err(handing_over.failure(account))
    }

    /// A line for each registry: where its token goes.
    pub(super) fn describe(&self, user: &str) -> Vec<String> {
        let line = |moving: &Moving| {
            let request = &moving.request;
            let scheme = request.scheme.as_deref().unwrap_or("bearer");
            let is_open = request.writes.as_deref() == Some("allow");
            let writes = if is_open { ", writes open" } else { "" };
            let roots = if moving.roots.is_some() {
                ", roots of its own"
            } else {
                ""
            };
            format!(
                "{} of {user}: {scheme} to {}{writes}{roots}",
                request.name,
                request.scopes.join(" ")
            )
        };
        self.registries.iter().map(line).collect()
    }

    /// Reason that keeps a registry from being moved, besides those that the user's side gives.
    pub(super) fn obstacle(request: &AddRegistry, moved: &BTreeSet<RegistryName>, with_tokens: bool) -> Option<String> {
        if request.ca_file.is_some() || request.source.is_some() || request.source_command.is_some() {
            return Some("its definition names files or programs".to_owned());
        }
        match &request.credential_of {
            Some(owner) if moved.contains(owner) => None,
            Some(owner) => Some(format!("it shares the token of {owner}, which was not moved")),
            None => (with_tokens && request.token.is_none()).then(|| "it has no token".to_owned()),
        }
    }

    /// Deletes the tokens of these registries from the user's store.
    ///
    /// # Errors
    /// The store does not delete them.
    pub(super) fn delete_tokens(mut self, account: &Account, names: &BTreeSet<RegistryName>) -> Result<(), ErrorBody> {
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        if let Some(mut stdin) = self.child.stdin.take() {
            // If the process has ended, its error says more.
            let _ = stdin.write_all(text.as_bytes());
        }
        match self.next_line()? {
            Some(count) if count.trim() == names.len().to_string() => Ok(()),
            _ => Err(self.failure(account)),
        }
    }

    fn next_line(&mut self) -> Result<Option<Zeroizing<String>>, ErrorBody> {
        let mut line = Zeroizing::new(String::new());
        let read = (&mut self.lines).take(MAX_LINE).read_line(&mut line);
        let length = read.map_err(error::io("cannot read the handover"))?;
        Ok((length > 0).then_some(line))
    }

    /// Error of a handover that ended too early, in its own words.
    fn failure(mut self, account: &Account) -> ErrorBody {
        drop(self.child.stdin.take());
        let mut stderr = String::new();
        if let Some(pipe) = self.child.stderr.take() {
            let _ = pipe.take(MAX_LINE).read_to_string(&mut stderr);
        }
        let why = stderr.trim().trim_start_matches("error: ").to_owned();
        error::failed(format!("cannot take over the registries of {}: {why}", account.name))
            .hint("correct that, or give the tokens again: --ask")
    }
}

/// Ends the process: it deletes nothing that it was not told to.
impl Drop for HandingOver {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn unreadable() -> ErrorBody {
    error::failed("regauthd handed over a line that this regauthctl does not understand")
        .hint("install regauthctl and regauthd of the same release")
}

/// A definition with the roots of its `ca-file`.
const MAX_LINE: u64 = 4 * 1024 * 1024;
