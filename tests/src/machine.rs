//! Machine with users and one daemon: a guarded one as `service install --for` runs it, or a user's own. Its `/run` is its
//! own.
//!
//! Programs of the users run in the mount namespace of that machine. Nothing but the kernel keeps them from the daemon.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::exec::{self, Output};
use crate::privilege::{require, require_root};
use crate::process::Process;
use crate::programs;

/// The user that builds.
pub const ME: u32 = 61001;
/// Another user of the machine.
pub const OTHER: u32 = 61002;
/// Root.
pub const ROOT: u32 = 0;
/// The user that a guarded daemon runs as.
const DAEMON: u32 = 61000;

/// Machine with a daemon and its vault.
#[derive(Debug)]
pub struct Machine {
    daemon: Process,
    namespace: Process,
    mode: Mode,
    status: Value,
    folder: TempDir,
}

/// Mode of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a system user, for [`ME`].
    Guarded,
    /// As [`ME`], the vault's key in a file.
    OwnUser,
}

impl Mode {
    /// The user who configures the daemon.
    pub fn admin(self) -> u32 {
        match self {
            Self::Guarded => ROOT,
            Self::OwnUser => ME,
        }
    }
}

impl Machine {
    /// Starts the machine and its daemon; `None` without root, or on a machine that allows no namespaces.
    ///
    /// # Panics
    /// Instead of `None` when the environment variable `CI` is set.
    pub fn start(mode: Mode) -> Option<Self> {
        if !require_root("a daemon of another user") {
            return None;
        }
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let mut unshare = exec::command("unshare", folder.path());
        let can_unshare = exec::run(unshare.args(["--mount", "true"])).status.success();
        if !require(can_unshare, "mount namespaces") {
            return None;
        }
        for program in ["regauthd", "regauthctl", "cargo-credential-regauth"] {
            install_program(&programs::binary(program), &folder.path().join(program));
        }
        for (name, owner, mode) in [
            ("state", DAEMON, 0o700),
            ("credentials", DAEMON, 0o500),
            ("cache", DAEMON, 0o755),
            ("me", ME, 0o700),
            ("other", OTHER, 0o700),
        ] {
            make_folder(&folder.path().join(name), owner, mode);
        }
        let mut new_identity = exec::command(folder.path().join("regauthd"), folder.path());
        let identity = exec::run(new_identity.arg("--new-vault-identity"));
        let key = folder.path().join("credentials/vault-identity");
        fs::write(&key, identity.succeeds().stdout).unwrap();
        chown(&key, Some(DAEMON), Some(DAEMON)).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
        let namespace = make_namespace(folder.path());
        let mut machine = Self {
            daemon: spawn_daemon(mode, &namespace, folder.path(), "127.0.0.1:0"),
            namespace,
            mode,
            status: Value::Null,
            folder,
        };
        machine.wait_until_ready();
        Some(machine)
    }

    /// Stops the daemon and starts it on the same port.
    pub fn restart(&mut self) {
        self.daemon.stop();
        let listen = self.status["listen"].as_str().unwrap().to_owned();
        self.daemon = spawn_daemon(self.mode, &self.namespace, self.folder.path(), &listen);
        self.wait_until_ready();
    }

    /// Answer of `status` at the start.
    pub fn status(&self) -> &Value {
        &self.status
    }

    /// URL of the proxy.
    pub fn proxy(&self) -> String {
        self.status["proxy"].as_str().unwrap().to_owned()
    }

    /// Bundle for clients.
    pub fn bundle(&self) -> PathBuf {
        PathBuf::from(self.status["bundle"].as_str().unwrap())
    }

    /// Mode of the daemon.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Folder of the daemon's vault.
    pub fn state(&self) -> PathBuf {
        match self.mode {
            Mode::Guarded => self.folder.path().join("state"),
            Mode::OwnUser => self.home().join(".local/state/regauth"),
        }
    }

    /// Process id of the daemon.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Log of the daemon.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Folder with everything that the machine has of its own on disk.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Home of [`ME`].
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("me")
    }

    /// Path of an installed program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Command of a user on this machine.
    pub fn command(&self, user: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let home = match user {
            ME => self.home(),
            OTHER => self.folder.path().join("other"),
            _ => self.folder.path().to_path_buf(),
        };
        let mut command = in_namespace(&self.namespace, user, &home);
        command.arg(program);
        command
    }

    /// Command that runs a shell script as a user, in the user's home.
    pub fn script(&self, user: u32, script: &str) -> Command {
        let mut command = self.command(user, "sh");
        command.args(["-c", &format!("cd \"$HOME\"; {script}")]);
        command
    }

    /// Runs a shell script as a user, in the user's home.
    pub fn shell(&self, user: u32, script: &str) -> Output {
        exec::run(&mut self.script(user, script))
    }

    /// Runs `regauthctl` as a user.
    pub fn ctl(&self, user: u32, arguments: &[&str]) -> Output {
        self.ctl_with_input(user, arguments, "")
    }

    /// Runs `regauthctl` as a user, with a token on stdin.
    pub fn ctl_with_input(&self, user: u32, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(user, self.program("regauthctl"));
        exec::run_with_input(command.args(arguments), input)
    }

    /// HTTP status that curl of a user gets through the proxy; 0 if the proxy refuses.
    pub fn get(&self, user: u32, url: &str, options: &[&str]) -> u16 {
        let bundle = self.bundle();
        let mut curl = self.command(user, "curl");
        curl.args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--proxy",
        ])
        .arg(self.proxy())
        .arg("--cacert")
        .arg(bundle)
        .args(options);
        exec::run(curl.arg(url)).stdout.trim().parse().unwrap()
    }

    /// Copies a file to where only root can change it, as a daemon of a system user needs it, and returns its path there.
    pub fn install_file(&self, file: &Path) -> String {
        let name = file.file_name().unwrap().to_str().unwrap();
        let path = format!("{ETC}/{name}");
        let script = format!("mkdir -p {ETC} && cat > {path} && chmod 644 {path}");
        let mut install = self.command(ROOT, "sh");
        exec::run_with_input(install.args(["-c", &script]), fs::read(file).unwrap()).succeeds();
        path
    }

    fn wait_until_ready(&mut self) {
        let mut status = self.command(self.mode.admin(), self.program("regauthctl"));
        status.args(["status", "--json"]);
        self.status = self.daemon.wait_until("regauthctl status", || {
            let answer = exec::run(&mut status);
            (answer.status.success()).then(|| serde_json::from_str(&answer.stdout).unwrap())
        });
    }
}

/// Puts a program where every user can run it. A link, as the programs are large.
fn install_program(program: &Path, to: &Path) {
    if fs::hard_link(program, to).is_err() {
        exec::copy_program(program, to);
    }
}

fn make_folder(path: &Path, owner: u32, mode: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

/// Starts a process that holds a mount namespace whose `/run` has what systemd would put there.
fn make_namespace(folder: &Path) -> Process {
    let ready = folder.join("ready");
    let script = format!(
        "mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/regauth && chown {DAEMON} /run/regauth && mkdir -p -m 700 \
         /run/user/{ME} && chown {ME} /run/user/{ME} && chmod 755 /run/user && touch {} && exec sleep infinity",
        ready.display()
    );
    let mut unshare = exec::command("unshare", folder);
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let mut namespace = Process::spawn("namespace", &mut unshare, &folder.join("namespace.log"));
    namespace.wait_until("its mounts", || ready.exists().then_some(()));
    namespace
}

/// Command that runs its arguments as a user in the namespace.
fn in_namespace(namespace: &Process, user: u32, home: &Path) -> Command {
    let mut command = exec::command("nsenter", home);
    if user == ME {
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{ME}"));
    }
    command.args(["--mount", "--target", &namespace.pid().to_string(), "setpriv"]);
    command.args([format!("--reuid={user}"), format!("--regid={user}")]);
    command.arg("--clear-groups");
    command
}

/// Starts the daemon with the variables and folders that its unit gives it.
fn spawn_daemon(mode: Mode, namespace: &Process, folder: &Path, listen: &str) -> Process {
    let mut daemon;
    match mode {
        Mode::OwnUser => daemon = in_namespace(namespace, ME, &folder.join("me")),
        Mode::Guarded => {
            daemon = in_namespace(namespace, DAEMON, folder);
            daemon
                .env("STATE_DIRECTORY", folder.join("state"))
                .env("CONFIGURATION_DIRECTORY", folder.join("state"))
                .env("RUNTIME_DIRECTORY", "/run/regauth")
                .env("CREDENTIALS_DIRECTORY", folder.join("credentials"))
                .env("REGAUTH_BUNDLE", folder.join("cache/ca-bundle.pem"));
        }
    }
    daemon.env("REGAUTH_LOG", "trace").arg(folder.join("regauthd"));
    daemon.args(["--store", "vault", "--listen", listen]);
    if mode == Mode::Guarded {
        daemon.args(["--guarded-for", &ME.to_string()]);
    }
    Process::spawn("regauthd", &mut daemon, &folder.join("daemon.log"))
}

/// Folder of files that only root can change.
const ETC: &str = "/run/etc-regauth";
