//! gnome-keyring on a D-Bus session bus of its own. The bus activates no services: a killed keyring stays dead, and no
//! prompt appears, as on a server.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::exec::{self, Output};
use crate::process::Process;

/// Running keyring with an unlocked default collection.
#[derive(Debug)]
pub struct Keyring {
    // Drop order: the keyring before its bus.
    keyring: Process,
    bus: Process,
    folder: TempDir,
}

impl Keyring {
    /// Starts the bus and the keyring.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let bus = start_bus(&folder);
        let keyring = start_keyring(&folder);
        let mut keyring = Self { keyring, bus, folder };
        keyring.wait_until_ready();
        keyring
    }

    /// Address of the session bus, for `DBUS_SESSION_BUS_ADDRESS`.
    pub fn address(&self) -> String {
        address(&self.folder)
    }

    /// Locks the default collection.
    pub fn lock(&self) {
        let call = self.call(
            "org.freedesktop.Secret.Service.Lock",
            &[&format!("array:objpath:{COLLECTION}")],
        );
        call.succeeds();
        assert!(self.is_locked(), "the collection is still unlocked");
    }

    /// Unlocks the default collection through the control socket, as PAM does at login.
    ///
    /// The message is a byte that carries the peer's credentials, then length, operation and password; numbers are
    /// big-endian.
    pub fn unlock(&self) {
        let mut socket = UnixStream::connect(self.folder.path().join("control/control")).unwrap();
        let password = PASSWORD.as_bytes();
        let length = u32::try_from(password.len()).unwrap();
        let [total, operation, size] = [length + 12, 1, length].map(u32::to_be_bytes);
        socket
            .write_all(&[&[0][..], &total, &operation, &size, password].concat())
            .unwrap();
        let mut answer = [0; 8];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(
            answer,
            [0, 0, 0, 8, 0, 0, 0, 0],
            "the keyring did not accept the password"
        );
        assert!(!self.is_locked(), "the collection is still locked");
    }

    /// True if the default collection is locked.
    pub fn is_locked(&self) -> bool {
        let mut get = self.dbus_send(COLLECTION, "org.freedesktop.DBus.Properties.Get");
        get.args(["string:org.freedesktop.Secret.Collection", "string:Locked"]);
        exec::run(&mut get).succeeds().stdout.contains("boolean true")
    }

    /// Stops the process: calls get no answer until [`Keyring::resume`].
    pub fn suspend(&self) {
        self.keyring.signal(Signal::STOP);
    }

    /// True if a call is answered within 500 ms.
    pub fn is_responsive(&self) -> bool {
        let mut ping = command(&self.folder, "dbus-send");
        ping.args([
            "--session",
            "--print-reply",
            "--reply-timeout=500",
            "--dest=org.freedesktop.secrets",
        ]);
        ping.args(["/org/freedesktop/secrets", "org.freedesktop.DBus.Peer.Ping"]);
        exec::run(&mut ping).status.success()
    }

    /// Continues the process; waiting calls are answered.
    pub fn resume(&self) {
        self.keyring.signal(Signal::CONT);
    }

    /// Kills the keyring and leaves the bus running.
    pub fn kill(&mut self) {
        self.keyring.kill();
    }

    /// Kills the keyring and the bus, and starts both at the same address with the same secrets.
    pub fn restart_with_bus(&mut self) {
        self.keyring.kill();
        self.bus.kill();
        fs::remove_file(self.folder.path().join("bus")).unwrap();
        self.bus = start_bus(&self.folder);
        self.restart();
    }

    /// Starts the keyring after [`Keyring::kill`] with the same secrets, unlocked.
    pub fn restart(&mut self) {
        self.keyring = start_keyring(&self.folder);
        self.wait_until_ready();
    }

    /// Runs `secret-tool` on this bus with `input` on stdin.
    pub fn secret_tool(&self, arguments: &[&str], input: &str) -> Output {
        exec::run_with_input(command(&self.folder, "secret-tool").args(arguments), input)
    }

    fn wait_until_ready(&mut self) {
        let mut ask = self.dbus_send("/org/freedesktop/secrets", "org.freedesktop.Secret.Service.ReadAlias");
        ask.arg("string:default");
        self.keyring.wait_until("its default collection", || {
            let answer = exec::run(&mut ask);
            answer.stdout.contains(COLLECTION).then_some(())
        });
    }

    fn call(&self, method: &str, arguments: &[&str]) -> Output {
        exec::run(self.dbus_send("/org/freedesktop/secrets", method).args(arguments))
    }

    fn dbus_send(&self, object: &str, method: &str) -> Command {
        let mut send = command(&self.folder, "dbus-send");
        send.args([
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.secrets",
            object,
            method,
        ]);
        send
    }
}

fn start_bus(folder: &TempDir) -> Process {
    let (config, socket) = (folder.path().join("bus.conf"), folder.path().join("bus"));
    fs::write(&config, BUS_CONFIGURATION.replace("ADDRESS", &address(folder))).unwrap();
    let mut bus = command(folder, "dbus-daemon");
    bus.args(["--nofork", "--nopidfile", "--nosyslog", "--config-file"])
        .arg(&config);
    let mut bus = Process::spawn("dbus-daemon", &mut bus, &folder.path().join("bus.log"));
    bus.wait_until("its socket", || socket.exists().then_some(()));
    bus
}

fn start_keyring(folder: &TempDir) -> Process {
    let control = folder.path().join("control");
    let mut keyring = command(folder, "gnome-keyring-daemon");
    keyring
        .args([
            "--foreground",
            "--unlock",
            "--components=secrets",
            "--control-directory",
        ])
        .arg(&control);
    Process::spawn_with_input(
        "gnome-keyring-daemon",
        &mut keyring,
        &folder.path().join("keyring.log"),
        PASSWORD,
    )
}

fn command(folder: &TempDir, program: &str) -> Command {
    let mut command = exec::command(program, folder.path());
    command
        .env("XDG_RUNTIME_DIR", folder.path())
        .env("DBUS_SESSION_BUS_ADDRESS", address(folder));
    command
}

fn address(folder: &TempDir) -> String {
    format!("unix:path={}", folder.path().join("bus").display())
}

const PASSWORD: &str = "the login password";

const COLLECTION: &str = "/org/freedesktop/secrets/collection/login";

const BUS_CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>ADDRESS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;
