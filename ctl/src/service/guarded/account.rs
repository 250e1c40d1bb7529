//! User that a guarded daemon is to serve, and programs that run as that user.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::User;
use regauth_shared::{ErrorBody, ErrorKind};
use serde::de::DeserializeOwned;

use super::child;
use crate::error;

/// User account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    gid: u32,
    home: PathBuf,
}

impl Account {
    /// Looks up a user by name.
    ///
    /// # Errors
    /// `not-found`; `refused` for root and for the daemon's own user, which nothing guards the tokens from.
    pub(super) fn find(name: &str) -> Result<Self, ErrorBody> {
        let found = User::from_name(name).map_err(|errno| error::failed(format!("cannot look up {name}: {errno}")))?;
        let user = found.ok_or_else(|| {
            ErrorBody::new(ErrorKind::NotFound, format!("there is no user {name}"))
                .hint("name users as `getent passwd` lists them: sudo regauthctl service install --for USER")
        })?;
        if user.uid.is_root() || user.name == super::USER {
            let message = format!("{name} can read the daemon's files, so nothing would be guarded");
            return Err(error::refused(message).hint("name the users that build: --for USER"));
        }
        Ok(Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
        })
    }

    /// Command that runs a program as this user, in the user's own session and with nothing of root's environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let session = format!("/run/user/{}", self.uid);
        let mut command = Command::new("setpriv");
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.home)
            .env("USER", &self.name)
            .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={session}/bus"))
            .env("XDG_RUNTIME_DIR", session)
            .current_dir("/")
            .stdin(Stdio::null());
        command.args([format!("--reuid={}", self.uid), format!("--regid={}", self.gid)]);
        command.args(["--init-groups", "--"]).arg(program);
        command
    }

    /// Runs `regauthctl` as this user, and parses the JSON that it prints; `None` if it fails.
    ///
    /// # Errors
    /// It does not end in time.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        regauthctl: &Path,
        arguments: &[&str],
    ) -> Result<Option<T>, ErrorBody> {
        let mut command = self.command(regauthctl);
        let output = child::run(command.args(arguments).arg("--json"), QUESTION_TIMEOUT);
        let output = output.map_err(|error| self.explain(regauthctl, arguments, &error.message))?;
        let answer = serde_json::from_str(&output.stdout).ok();
        Ok(answer.filter(|_| output.status.success()))
    }

    /// Runs a program as this user.
    ///
    /// # Errors
    /// It fails, or does not end in time; the error quotes its stderr.
    pub(super) fn run(&self, program: &Path, arguments: &[&str]) -> Result<(), ErrorBody> {
        let mut command = self.command(program);
        let output = child::run(command.args(arguments), CHANGE_TIMEOUT);
        let output = output.map_err(|error| self.explain(program, arguments, &error.message))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.explain(program, arguments, &child::quote(&output.stderr)))
    }

    fn explain(&self, program: &Path, arguments: &[&str], why: &str) -> ErrorBody {
        let command = format!("{} {}", program.display(), arguments.join(" "));
        error::failed(format!("`{command}`, run as {}, failed: {why}", self.name)).hint(format!(
            "`ps -u {}` shows what runs as that user; correct that and repeat",
            self.name
        ))
    }

    /// File or folder below the user's home.
    pub(super) fn in_home(&self, path: &str) -> PathBuf {
        self.home.join(path)
    }

    /// True if a service manager runs for this user, now.
    pub(super) fn has_session(&self) -> bool {
        Path::new(&format!("/run/user/{}/systemd/private", self.uid)).exists()
    }
}

/// Longest time of a command that only looks.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time of a command that stops or starts a service: a daemon drains for half a minute by default.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(180);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
