//! `regauthd --hand-over`, run as a user: gives that user's registries and tokens through a pipe.
//!
//! The user's programs could change what it writes, or stop it. So nothing of it is trusted: a registry must bring its token,
//! and names no file, no program and no registry of another user. What root agrees to is shown by [`super::proposal`], and
//! each step has a deadline.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use regauth_shared::hand_over::{HandOver, PROXY_PASSWORD};
use regauth_shared::request::{AddRegistry, SetUpstream};
use regauth_shared::{ErrorBody, RegistryName};
use secrecy::zeroize::Zeroizing;

use super::account::Account;
use super::child::{self, Pipe};
use super::proposal::{unshowable, unshowable_upstream};
use crate::error;
use crate::output::one_line;
use crate::team_file::CaFile;

/// Running handover of one user.
pub(super) struct HandingOver {
    child: Child,
    lines: BufReader<Pipe<ChildStdout>>,
    /// Bytes that it may still write.
    left_to_read: u64,
    /// Registries to move, owners of shared credentials first.
    pub(super) registries: Vec<Moving>,
    /// Registries that stay with the user, with the reason.
    pub(super) left: Vec<(RegistryName, String)>,
    /// Way to other hosts.
    pub(super) upstream: Option<(SetUpstream, Option<CaFile>)>,
}

/// Registry to move.
pub(super) struct Moving {
    pub(super) request: AddRegistry,
    /// Its `ca-file`.
    pub(super) roots: Option<CaFile>,
}

impl HandingOver {
    /// Starts the handover, and reads what there is to move.
    ///
    /// # Errors
    /// The user's configuration or store cannot be read in time.
    pub(super) fn start(account: &Account, regauthd: &Path, with_tokens: bool) -> Result<Self, ErrorBody> {
        let what = if with_tokens { "tokens" } else { "definitions" };
        let mut command = account.command(regauthd);
        command.args(["--hand-over", what]);
        let started = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = started.spawn().map_err(error::io("cannot run setpriv"))?;
        Self::read(child, &account.name, TIMEOUT)
    }

    /// Reads what there is to move from a process of `user`.
    fn read(mut child: Child, user: &str, limit: Duration) -> Result<Self, ErrorBody> {
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| error::failed("the handover has no output"))?;
        let mut handing_over = Self {
            child,
            lines: BufReader::new(Pipe::new(stdout, limit)),
            left_to_read: MAX_BYTES,
            registries: Vec::new(),
            left: Vec::new(),
            upstream: None,
        };
        match handing_over.read_lines() {
            Ok(true) => Ok(handing_over),
            Ok(false) => Err(handing_over.failure(user)),
            Err(error) => {
                let _ = handing_over.child.kill();
                Err(error)
            }
        }
    }

    /// Reads the list; false if it has no end.
    fn read_lines(&mut self) -> Result<bool, ErrorBody> {
        while let Some(line) = self.next_line()? {
            match serde_json::from_str(&line).map_err(|_| unreadable())? {
                HandOver::End => return Ok(true),
                HandOver::Registry { request, roots } => self.take_in(*request, roots),
                HandOver::Left { name, reason } => self.left.push((name, one_line(&reason))),
                HandOver::Upstream { request, roots } => self.upstream = Some(upstream(request, roots)?),
            }
        }
        Ok(false)
    }

    /// Takes a registry in if root can see what it would agree to. The daemon must add nothing to that by itself.
    fn take_in(&mut self, request: AddRegistry, roots: Option<String>) {
        let request = AddRegistry {
            verify: false,
            untrusted: false,
            ..request
        };
        let roots = roots.map(|roots| CaFile::parse("that it trusts", roots)).transpose();
        match (unshowable(&request), roots) {
            (Some(reason), _) => self.left.push((request.name, reason.to_owned())),
            (None, Err(error)) => self.left.push((request.name, error.message)),
            (None, Ok(roots)) => self.registries.push(Moving { request, roots }),
        }
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

    /// Deletes the tokens of these registries from the user's store, and the proxy's password if that was taken over.
    ///
    /// # Errors
    /// The store does not delete them in time.
    pub(super) fn delete_secrets(
        mut self,
        user: &str,
        names: &BTreeSet<RegistryName>,
        with_proxy_password: bool,
    ) -> Result<(), ErrorBody> {
        let password = with_proxy_password.then_some(PROXY_PASSWORD);
        let items: Vec<&str> = names.iter().map(RegistryName::as_str).chain(password).collect();
        if let Some(mut stdin) = self.child.stdin.take() {
            let text: String = items.iter().map(|item| format!("{item}\n")).collect();
            // A process that was stopped reads nothing. If it has ended, its error says more.
            let _ = rustix::io::ioctl_fionbio(&stdin, true);
            let _ = stdin.write_all(text.as_bytes());
        }
        self.lines.get_mut().extend(TIMEOUT);
        match self.next_line()? {
            Some(count) if count.trim() == items.len().to_string() => Ok(()),
            _ => Err(self.failure(user)),
        }
    }

    fn next_line(&mut self) -> Result<Option<Zeroizing<String>>, ErrorBody> {
        let mut line = Zeroizing::new(String::new());
        let limit = MAX_LINE.min(self.left_to_read);
        let read = (&mut self.lines).take(limit).read_line(&mut line);
        let length = read.map_err(error::io("cannot read the handover"))?;
        self.left_to_read = self.left_to_read.saturating_sub(length as u64);
        Ok((length > 0).then_some(line))
    }

    /// Error of a handover that ended too early, in its own words.
    fn failure(mut self, user: &str) -> ErrorBody {
        drop(self.child.stdin.take());
        child::end(&mut self.child, END_TIMEOUT);
        let mut stderr = Vec::new();
        if let Some(pipe) = self.child.stderr.take() {
            let _ = Pipe::new(pipe, END_TIMEOUT).take(MAX_LINE).read_to_end(&mut stderr);
        }
        let why = child::quote(&String::from_utf8_lossy(&stderr));
        error::failed(format!("cannot take over the registries of {user}: {why}"))
            .hint("correct that, or give the tokens again: --ask")
    }
}

/// Ends the process: it deletes nothing that it was not told to.
impl Drop for HandingOver {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        child::end(&mut self.child, END_TIMEOUT);
    }
}

/// Way to other hosts that root can see.
///
/// # Errors
/// It cannot be shown, or its `ca-file` has no certificates.
fn upstream(request: SetUpstream, roots: Option<String>) -> Result<(SetUpstream, Option<CaFile>), ErrorBody> {
    if let Some(reason) = unshowable_upstream(&request) {
        return Err(
            error::refused(format!("the user's way to other hosts is not taken over: {reason}"))
                .hint("correct [upstream] in the user's config.toml, then repeat"),
        );
    }
    let roots = roots.map(|roots| CaFile::parse("for all clients", roots)).transpose()?;
    let request = SetUpstream {
        ca_file: None,
        replace: false,
        remove: false,
        ..request
    };
    Ok((request, roots))
}

fn unreadable() -> ErrorBody {
    error::failed("regauthd handed over a line that this regauthctl does not understand")
        .hint("install regauthctl and regauthd of the same release")
}

/// A definition with the roots of its `ca-file`.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// All lines together.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Longest time of the list, and of the deletion. A keychain that does not answer has 10 s for each item.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Handover by a shell script in place of the user's program.
    fn read(script: &str, limit: Duration) -> Result<HandingOver, ErrorBody> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let started = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        HandingOver::read(started.spawn().unwrap(), "me", limit)
    }

    const LINES: &str = r#"cat <<'END'
{"registry":{"request":{"name":"corp","scopes":["https://corp.example/"],"token":"t0ken","verify":true,"untrusted":true},"roots":null}}
{"registry":{"request":{"name":"odd","scopes":["https://corp.example\\@evil.example/"],"token":"t0ken"},"roots":null}}
{"registry":{"request":{"name":"damaged","scopes":["https://corp.example/"],"token":"t0ken"},"roots":"-----BEGIN X-----"}}
{"left":{"name":"lost","reason":"no \u001b[2J token\n  move corp"}}
"end"
END
"#;

    #[test]
    fn what_root_cannot_see_stays_and_the_rest_moves() {
        let handing_over = read(&format!("{LINES} read -r name; echo 1"), Duration::from_secs(600)).unwrap();
        let [corp] = &handing_over.registries[..] else {
            panic!("{} registries", handing_over.registries.len())
        };
        assert_eq!(corp.request.name.as_str(), "corp");
        assert!(!corp.request.verify && !corp.request.untrusted);
        let left: Vec<&str> = handing_over.left.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["odd", "damaged", "lost"]);
        for (name, reason) in &handing_over.left {
            assert!(!reason.contains(['\u{1b}', '\n']), "{name}: {reason}");
        }
        let moved = BTreeSet::from(["corp".parse().unwrap()]);
        handing_over.delete_secrets("me", &moved, false).unwrap();
    }

    #[test]
    fn a_process_that_deletes_less_than_it_was_told_is_an_error() {
        let handing_over = read(&format!("{LINES} cat >/dev/null; echo 1"), Duration::from_secs(600)).unwrap();
        let moved = BTreeSet::from(["corp".parse().unwrap()]);
        assert!(handing_over.delete_secrets("me", &moved, true).is_err());
    }

    #[test]
    fn the_words_of_a_failing_process_cannot_pass_for_ours() {
        let script = r"printf 'error: odd \033[2J\nhint: run it as root: sh evil\n' >&2; exit 1";
        let error = read(script, Duration::from_secs(600)).err().unwrap();
        assert!(
            error
                .message
                .contains("registries of me: odd \u{fffd}[2J\n  | hint: run"),
            "{}",
            error.message
        );
    }

    #[test]
    fn a_process_that_is_silent_ends_the_handover() {
        for script in ["kill -STOP $$", "exec sleep 1000", "echo '\"begin\"'; exec sleep 1000"] {
            assert!(read(script, Duration::from_millis(50)).is_err(), "{script}");
        }
    }
}
