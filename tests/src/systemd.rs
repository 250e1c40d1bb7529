//! A real systemd with a real journal, process 1 of namespaces of its own: it knows the units that a test gives it, shares
//! the network and the file system, has a `/run` of its own, and ends with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::exec::{self, Output};
use crate::poll;
use crate::privilege::{require, require_root};
use crate::process::Process;

/// A running systemd.
#[derive(Debug)]
pub struct Systemd {
    outer: Process,
    inner: u32,
    group: Group,
    folder: TempDir,
}

impl Systemd {
    /// Starts systemd; `None` without root, or on a machine that allows no namespaces and control groups.
    ///
    /// # Panics
    /// Instead of `None` when the environment variable `CI` is set.
    pub fn start() -> Option<Self> {
        if !require_root("a systemd in namespaces of its own") {
            return None;
        }
        let folder = TempDir::new().unwrap();
        let mut namespaces = exec::command("unshare", folder.path());
        namespaces.args(["--mount", "--pid", "--fork", "--cgroup", "true"]);
        let can_unshare = exec::run(&mut namespaces).status.success();
        if !require(can_unshare, "mount, process and control group namespaces") {
            return None;
        }
        let group = Group::make(folder.path().file_name()?.to_str()?);
        if !require(group.is_some(), "a writable control group hierarchy of version 2") {
            return None;
        }
        let group = group?;
        fs::create_dir(folder.path().join("units")).unwrap();
        fs::write(folder.path().join("begin"), BEGIN).unwrap();
        fs::write(folder.path().join("units/test.target"), TARGET).unwrap();
        let mut unshare = exec::command("sh", folder.path());
        let enter = format!(
            "echo $$ > {} && exec \"$0\" \"$@\"",
            group.0.join("cgroup.procs").display()
        );
        unshare
            .args(["-c", &enter])
            .args([
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--cgroup",
            ])
            .args(["sh", "-e"])
            .arg(folder.path().join("begin"))
            .arg(folder.path().join("units"));
        let mut outer = Process::spawn("systemd", &mut unshare, &folder.path().join("log"));
        let children = format!("/proc/{0}/task/{0}/children", outer.pid());
        let inner = outer.wait_until("a child", || fs::read_to_string(&children).ok()?.trim().parse().ok());
        let mut systemd = Self {
            outer,
            inner,
            group,
            folder,
        };
        systemd.wait_until_running();
        Some(systemd)
    }

    /// Gives it a unit, or another text for one.
    pub fn unit(&self, name: &str, text: &str) -> &Self {
        fs::write(self.folder.path().join("units").join(name), text).unwrap();
        self.systemctl(&["daemon-reload"]).succeeds();
        self
    }

    /// `systemctl`.
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        exec::run(self.inside("systemctl").args(arguments))
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        let shown = self.systemctl(&["show", "--value", "--property", name, unit]);
        shown.succeeds().stdout.trim().to_owned()
    }

    /// What a unit has written to the journal, one JSON object a line.
    pub fn journal(&self, unit: &str) -> String {
        let mut journalctl = self.inside("journalctl");
        exec::run(journalctl.args(["--output=json", "--unit", unit])).stdout
    }

    /// A process id inside, as it is out here.
    pub fn host_pid(&self, inside: &str) -> u32 {
        let is_it = |status: &str| {
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            let ids: Vec<&str> = ids.split_whitespace().collect();
            (ids.len() > 1 && ids.last() == Some(&inside)).then(|| ids[0].parse().ok())?
        };
        let mut processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
        let ours = namespace(Path::new(&format!("/proc/{}", self.inner)));
        let found = processes.find_map(|process| {
            let status = fs::read_to_string(process.join("status")).ok()?;
            (namespace(&process) == ours).then(|| is_it(&status))?
        });
        found.unwrap_or_else(|| panic!("no process {inside} inside"))
    }

    fn inside(&self, program: &str) -> Command {
        let mut nsenter = exec::command("nsenter", self.folder.path());
        nsenter
            .args(["--mount", "--pid", "--target", &self.inner.to_string(), program])
            .args(["--no-pager"]);
        nsenter
    }

    fn wait_until_running(&mut self) {
        let mut asked = self.inside("systemctl");
        asked.args(["is-active", "test.target"]);
        self.outer
            .wait_until("its target", || exec::run(&mut asked).status.success().then_some(()));
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // Its namespace's processes end with it, and its groups are empty then.
        self.outer.kill();
        self.group.remove();
    }
}

/// A control group, so that several of them do not know of each other.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    fn make(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let version_2 = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let hierarchy = version_2.split(' ').nth(4)?;
        let group = Path::new(hierarchy).join(format!("regauth-test-{}", name.trim_start_matches('.')));
        fs::create_dir(&group).ok()?;
        Some(Self(group))
    }

    fn remove(&self) {
        let removed = poll::within(poll::TIMEOUT, || {
            remove_below(&self.0);
            (!self.0.exists()).then_some(())
        });
        if removed.is_none() {
            eprintln!("{} is still there", self.0.display());
        }
    }
}

/// Groups are removed from the innermost out; their files go with them.
fn remove_below(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

const BEGIN: &str = r#"units=$1
mount --make-rprivate /
mount -t tmpfs tmpfs /run
umount --lazy /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/systemd/system /run/log/journal
mount --bind "$units" /run/systemd/system
export container=test
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
"#;

const TARGET: &str = "\
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
";
