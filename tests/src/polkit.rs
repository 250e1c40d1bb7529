//! Real polkitd on a system bus of a [`Machine`]'s own, with regauth's actions, rules of the test, and users with passwords.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::exec;
use crate::machine::{ME, Machine, ROOT};
use crate::privilege::require;
use crate::process::Process;

/// Running polkitd and bus.
#[derive(Debug)]
pub struct Polkit {
    // Drop order: polkitd before its bus.
    _polkitd: Process,
    _bus: Process,
}

/// Password of [`ME`].
pub const PASSWORD: &str = "the password of me";

impl Polkit {
    /// Starts the bus and polkitd with these rules (JavaScript); `None` on a machine without polkitd.
    ///
    /// # Panics
    /// Instead of `None` when the environment variable `CI` is set.
    pub fn start(machine: &Machine, rules: &str) -> Option<Self> {
        if !require(Path::new(POLKITD).exists(), "polkitd") {
            return None;
        }
        let folder = machine.folder().join("polkit");
        for name in ["", "etc", "actions", "rules"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/polkit/org.regauth.policy");
        fs::copy(policy, folder.join("actions/org.regauth.policy")).unwrap();
        fs::write(folder.join("rules/10-test.rules"), rules).unwrap();
        let mut mounts = machine.command(ROOT, "sh");
        let hash = exec::run(exec::command("openssl", &folder).args(["passwd", "-6", PASSWORD]));
        mounts.args(["-e", "-c", MOUNTS, "sh"]).arg(&folder);
        exec::run(mounts.arg(hash.succeeds().stdout.trim())).succeeds();
        let mut bus = spawn(
            "dbus-daemon",
            machine
                .command(ROOT, "dbus-daemon")
                .args(["--system", "--nofork", "--nopidfile"]),
            &folder,
        );
        let mut ask = machine.command(ROOT, "dbus-send");
        ask.args(["--system", "--print-reply", "--dest=org.freedesktop.DBus", "/"]);
        ask.arg("org.freedesktop.DBus.GetId");
        bus.wait_until("an answer", || exec::run(&mut ask).status.success().then_some(()));
        let mut polkitd = spawn("polkitd", machine.command(ROOT, POLKITD).arg("--no-debug"), &folder);
        let mut ask = machine.command(ROOT, "dbus-send");
        ask.args(["--system", "--print-reply", "--dest=org.freedesktop.DBus", "/"]);
        ask.args(["org.freedesktop.DBus.GetNameOwner", "string:org.freedesktop.PolicyKit1"]);
        polkitd.wait_until("its name on the bus", || {
            exec::run(&mut ask).status.success().then_some(())
        });
        Some(Self {
            _polkitd: polkitd,
            _bus: bus,
        })
    }
}

fn spawn(name: &str, command: &mut Command, folder: &Path) -> Process {
    Process::spawn(name, command, &folder.join(format!("{name}.log")))
}

const POLKITD: &str = "/usr/lib/polkit-1/polkitd";

/// Accounts with the password, and the folders of polkit.
const MOUNTS: &str = r#"folder=$1 hash=$2
mkdir -p /run/dbus
cp --preserve=mode,ownership /etc/passwd /etc/group /etc/shadow "$folder/etc"
for user in me:61001 other:61002 regauth:61000; do
  echo "${user%:*}:x:${user#*:}:${user#*:}::/:/bin/sh" >>"$folder/etc/passwd"
  echo "${user%:*}:x:${user#*:}:" >>"$folder/etc/group"
  echo "${user%:*}:$hash:19000:0:99999:7:::" >>"$folder/etc/shadow"
done
for file in passwd group shadow; do mount --bind "$folder/etc/$file" "/etc/$file"; done
mount --bind "$folder/actions" /usr/share/polkit-1/actions
mount --bind "$folder/rules" /etc/polkit-1/rules.d
"#;

const _: () = assert!(ME == 61001, "MOUNTS has the ids of the machine's users");
