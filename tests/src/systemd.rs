//! Real systemd with a journal, as process 1 of a PID namespace. It runs the units that a test gives it and ends with the
//! test. It shares the network and the file system with the machine; `/run` is its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::exec::{self, Output};
use crate::poll;
use crate::privilege::{require, require_root};
use crate::process::Process;

/// Running systemd.
#[derive(Debug)]
pub struct Systemd {
    unshare_process: Process,
    systemd_pid: u32,
    group: ControlGroup,
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
        let group = ControlGroup::create(folder.path().file_name()?.to_str()?);
        if !require(group.is_some(), "a writable control group hierarchy of version 2") {
            return None;
        }
        let group = group?;
        fs::create_dir(folder.path().join("units")).unwrap();
        fs::write(folder.path().join("begin"), SETUP_SCRIPT).unwrap();
        fs::write(folder.path().join("units/test.target"), TEST_TARGET).unwrap();
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
        let mut unshare_process = Process::spawn("systemd", &mut unshare, &folder.path().join("log"));
        let children = format!("/proc/{0}/task/{0}/children", unshare_process.pid());
        let systemd_pid =
            unshare_process.wait_until("a child", || fs::read_to_string(&children).ok()?.trim().parse().ok());
        let mut systemd = Self {
            unshare_process,
            systemd_pid,
            group,
            folder,
        };
        systemd.wait_until_running();
        Some(systemd)
    }

    /// Writes a unit file, new or changed, and reloads.
    pub fn unit(&self, name: &str, text: &str) -> &Self {
        fs::write(self.folder.path().join("units").join(name), text).unwrap();
        self.systemctl(&["daemon-reload"]).succeeds();
        self
    }

    /// Runs `systemctl`.
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        exec::run(self.namespace_command("systemctl").args(arguments))
    }

    /// Value of a unit's property.
    pub fn property(&self, unit: &str, name: &str) -> String {
        let shown = self.systemctl(&["show", "--value", "--property", name, unit]);
        shown.succeeds().stdout.trim().to_owned()
    }

    /// Journal of a unit, one JSON object a line.
    pub fn journal(&self, unit: &str) -> String {
        let mut journalctl = self.namespace_command("journalctl");
        exec::run(journalctl.args(["--output=json", "--unit", unit])).stdout
    }

    /// Runs a program of this machine in systemd's namespaces.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut nsenter = exec::command("nsenter", self.folder.path());
        let target = self.systemd_pid.to_string();
        nsenter.args(["--mount", "--pid", "--target", &target]).arg(program);
        exec::run(nsenter.args(arguments))
    }

    /// Process id on the host of the process that has this id in the namespace.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn host_pid(&self, inner_pid: &str) -> u32 {
        let is_it = |status: &str| {
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            let ids: Vec<&str> = ids.split_whitespace().collect();
            (ids.len() > 1 && ids.last() == Some(&inner_pid)).then(|| ids[0].parse().ok())?
        };
        let mut processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
        let ours = namespace(Path::new(&format!("/proc/{}", self.systemd_pid)));
        let found = processes.find_map(|process| {
            let status = fs::read_to_string(process.join("status")).ok()?;
            (namespace(&process) == ours).then(|| is_it(&status))?
        });
        found.unwrap_or_else(|| panic!("the namespace has no process {inner_pid}"))
    }

    fn namespace_command(&self, program: &str) -> Command {
        let mut nsenter = exec::command("nsenter", self.folder.path());
        nsenter
            .args(["--mount", "--pid", "--target", &self.systemd_pid.to_string(), program])
            .args(["--no-pager"]);
        nsenter
    }

    fn wait_until_running(&mut self) {
        let mut is_active = self.namespace_command("systemctl");
        is_active.args(["is-active", "test.target"]);
        self.unshare_process.wait_until("its target", || {
            exec::run(&mut is_active).status.success().then_some(())
        });
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The kernel kills every process of the namespace with it; only then are the control groups empty.
        self.unshare_process.kill();
        self.group.remove();
    }
}

/// Control group of one systemd, which keeps several of them apart.
#[derive(Debug)]
struct ControlGroup(PathBuf);

impl ControlGroup {
    fn create(name: &str) -> Option<Self> {
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
            eprintln!("control group {} could not be removed", self.0.display());
        }
    }
}

/// Removes control groups, innermost first. The kernel removes their files.
fn remove_below(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

const SETUP_SCRIPT: &str = r#"units=$1
mount --make-rprivate /
mount -t tmpfs tmpfs /run
umount --lazy /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/systemd/system /run/log/journal
mount --bind "$units" /run/systemd/system
export container=test
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
"#;

const TEST_TARGET: &str = "\
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
";
