//! A private session bus with a real gnome-keyring, and the tools that look into it from outside.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::SERVICE;

/// Runs a test's body on a private session bus, by running the test again under `dbus-run-session`.
pub(crate) fn in_session(name: &str, body: fn(&Session)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return body(&Session { folder: folder.into() });
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bus.conf");
    fs::write(&config, BUS).unwrap();
    let mut session = Command::new("dbus-run-session");
    session
        .arg("--config-file")
        .arg(config)
        .arg("--")
        .arg(std::env::current_exe().unwrap());
    assert_passed(&again(name, session, folder.path()).output().unwrap());
}

pub(crate) fn again(name: &str, mut command: Command, folder: &Path) -> Command {
    for variable in [
        "HOME",
        "XDG_DATA_HOME",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
    ] {
        command.env(variable, folder);
    }
    command
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, folder)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY");
    command
}

pub(crate) fn assert_passed(output: &Output) {
    let passed = output.status.success() && text(output).contains("1 passed");
    assert!(passed, "{}\n{}", text(output), String::from_utf8_lossy(&output.stderr));
}

pub(crate) struct Session {
    folder: PathBuf,
}

impl Session {
    /// Starts gnome-keyring. A password creates or unlocks its login collection.
    pub(crate) fn start_keyring(&self, password: Option<&str>) -> Keyring {
        let mut child = Command::new("gnome-keyring-daemon")
            .args(["--foreground", "--components=secrets"])
            .args(password.map(|_| "--unlock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(password.unwrap_or_default().as_bytes()).unwrap();
        drop(stdin);
        eventually("gnome-keyring has its name", || {
            let arguments = ["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"];
            dbus_call("org.freedesktop.DBus", "/org/freedesktop/DBus", &arguments).contains("true")
        });
        Keyring(child)
    }

    /// Creates a keyring with an empty password, as the prompt for a new keyring can.
    pub(crate) fn make_keyring_without_password(&self) {
        let keyrings = self.folder.join("keyrings");
        fs::create_dir(&keyrings).unwrap();
        fs::write(keyrings.join("plain.keyring"), "[keyring]\ndisplay-name=Plain\n").unwrap();
        fs::write(keyrings.join("default"), "plain").unwrap();
    }

    /// Monitors the bus for requests to show a prompt.
    pub(crate) fn watch_prompts(&self) -> Prompts {
        let log = self.folder.join("prompts");
        let monitor = Command::new("dbus-monitor")
            .arg("interface='org.freedesktop.Secret.Prompt',member='Prompt'")
            .arg("interface='org.regauth.Fingerprint'")
            .stdout(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let prompts = Prompts { monitor, log };
        prompts.catch_up();
        prompts
    }
}

pub(crate) struct Keyring(Child);

impl Keyring {
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.0.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(crate) struct Prompts {
    monitor: Child,
    log: PathBuf,
}

impl Prompts {
    pub(crate) fn shown(&self) -> usize {
        self.catch_up();
        self.count("member=Prompt")
    }

    /// Waits until the monitor has logged everything so far: the bus keeps the order of messages.
    fn catch_up(&self) {
        let before = self.count("org.regauth.Fingerprint");
        eventually("the monitor has caught up", || {
            let signal = ["--session", "--type=signal", "/", "org.regauth.Fingerprint.Now"];
            assert!(Command::new("dbus-send").args(signal).status().unwrap().success());
            self.count("org.regauth.Fingerprint") > before
        });
    }

    fn count(&self, what: &str) -> usize {
        fs::read_to_string(&self.log).unwrap().matches(what).count()
    }
}

impl Drop for Prompts {
    fn drop(&mut self) {
        self.monitor.kill().unwrap();
        self.monitor.wait().unwrap();
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// True if the default collection is locked.
pub(crate) fn is_locked() -> bool {
    let arguments = [
        "org.freedesktop.DBus.Properties.Get",
        "string:org.freedesktop.Secret.Collection",
        "string:Locked",
    ];
    let path = "/org/freedesktop/secrets/aliases/default";
    dbus_call("org.freedesktop.secrets", path, &arguments).contains("boolean true")
}

pub(crate) fn lock_login() {
    let arguments = [
        "org.freedesktop.Secret.Service.Lock",
        "array:objpath:/org/freedesktop/secrets/collection/login",
    ];
    dbus_call("org.freedesktop.secrets", "/org/freedesktop/secrets", &arguments);
}

fn dbus_call(destination: &str, path: &str, arguments: &[&str]) -> String {
    let output = Command::new("dbus-send")
        .args(["--session", "--print-reply"])
        .arg(format!("--dest={destination}"))
        .arg(path)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output)
}

pub(crate) fn secret_tool(arguments: &[&str]) -> Output {
    Command::new("secret-tool")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn lookup(username: &str) -> String {
    text(&secret_tool(&["lookup", "service", SERVICE, "username", username]))
}

/// Stores an item for `corp` by `secret-tool`, as a user can.
pub(crate) fn store_by_hand(collection: &str, value: &str) {
    let mut tool = Command::new("secret-tool")
        .args(["store", "--label=by hand", "--collection", collection])
        .args(["service", SERVICE, "username", "corp"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    assert!(tool.wait().unwrap().success());
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Environment variable of the inner run, with the session's folder.
pub(crate) const INSIDE: &str = "REGAUTH_TEST_SESSION";

/// Configuration of a bus without service activation: a killed keyring stays dead.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>"#;
