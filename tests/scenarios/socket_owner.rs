//! Owner of the control socket: `regauthctl` and `cargo-credential-regauth` send nothing to a socket of another user.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use regauth_shared::exit_code;
use regauth_tests::exec::{self, Output, RunningCommand};
use regauth_tests::poll;
use regauth_tests::privilege::require_root;
use regauth_tests::programs;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-for-nobody-else";
const ATTACKER: u32 = 65534;
const VICTIM: u32 = 12345;
const ROOT: u32 = 0;

#[test]
fn regauthctl_sends_nothing_to_a_socket_of_another_user() {
    if !require_root("a socket of another user") {
        return;
    }
    let planted = PlantedSocket::start();
    for user in [VICTIM, ROOT] {
        let rotate = planted.rotate(user);
        let code = rotate.status.code();
        assert_eq!(code, Some(i32::from(exit_code::REFUSED)), "{}", rotate.report());
        let refused = rotate.says("belongs to nobody (user 65534)").says("nothing was sent");
        refused.says(if user == ROOT {
            "sudo -u nobody regauthctl --home"
        } else {
            "regauthd --home"
        });
    }
    planted.rotate(ATTACKER).fails();
    planted.assert_only_its_owner_sent_anything();
}

#[test]
fn the_credential_provider_sends_nothing_to_a_socket_of_another_user() {
    if !require_root("a socket of another user") {
        return;
    }
    let planted = PlantedSocket::start();
    let login = planted.login(VICTIM);
    assert!(login.stdout.contains("\"Err\""), "{}", login.report());
    login.says("belongs to nobody (user 65534)").says("nothing was sent");
    planted.login(ATTACKER);
    planted.assert_only_its_owner_sent_anything();
}

/// Socket of [`ATTACKER`] at the place of a daemon's control socket. It greets as regauthd does and records all that it
/// receives, with the sender's user.
struct PlantedSocket {
    folder: TempDir,
    _program: RunningCommand,
}

impl PlantedSocket {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // As `/tmp`: everybody may create files.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        for name in ["regauthctl", "cargo-credential-regauth"] {
            exec::copy_program(&programs::binary(name), &folder.path().join(name));
        }
        let mut python = exec::as_user(ATTACKER, folder.path());
        // Another user cannot enter the folder of a python3 that root installed for itself.
        python
            .args(["/usr/bin/python3", "-c", RECORDER])
            .current_dir(folder.path());
        let planted = Self {
            _program: RunningCommand::start(&mut python, b""),
            folder,
        };
        poll::wait_for("the planted socket", || planted.record().exists().then_some(()));
        planted
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("try")
    }

    fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    fn rotate(&self, user: u32) -> Output {
        let mut command = self.program("regauthctl", user);
        let command = command.args(["rotate", "corp", "--token-stdin"]);
        exec::run_with_input(command, TOKEN)
    }

    /// Runs the provider as cargo does for `cargo login`.
    fn login(&self, user: u32) -> Output {
        let request = serde_json::json!({
            "v": 1,
            "registry": { "index-url": "sparse+https://corp.example/index/", "name": "corp" },
            "kind": "login",
            "token": TOKEN,
            "args": [],
        });
        let mut command = self.program("cargo-credential-regauth", user);
        exec::run_with_input(command.arg("--cargo-plugin"), format!("{request}\n"))
    }

    fn program(&self, name: &str, user: u32) -> Command {
        let mut command = exec::as_user(user, self.folder.path());
        command.arg(self.folder.path().join(name));
        command.env("REGAUTH_HOME", self.home());
        command
    }

    /// Waits for the record of the first bytes, and asserts that the attacker itself sent them. The attacker must have
    /// connected last: connections are recorded in turn.
    #[track_caller]
    fn assert_only_its_owner_sent_anything(&self) {
        let first = poll::wait_for("the planted socket to receive something", || {
            let text = fs::read_to_string(self.record()).unwrap();
            text.lines().next().map(str::to_owned)
        });
        assert!(first.starts_with(&format!("{ATTACKER} {{")), "{first}");
    }
}

const RECORDER: &str = r#"
import os, socket, struct
os.umask(0)
os.makedirs("try/run")
listener = socket.socket(socket.AF_UNIX)
listener.bind("try/run/control.sock")
listener.listen()
with open("record", "w", buffering=1) as record:
    while True:
        client, _ = listener.accept()
        peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        user = struct.unpack("3i", peer)[1]
        try:
            client.sendall(b'{"hello":{"versions":[1],"daemon":"0.1.0"}}\n')
            received = client.recv(65536)
        except OSError:
            received = b""
        if received:
            record.write(f"{user} {received.decode()}")
        client.close()
"#;
