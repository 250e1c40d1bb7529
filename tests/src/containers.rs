//! Images and containers without a container service: buildah and podman with a storage of their own; needs root.
//!
//! Nothing is pulled. The root file system has folders only, and this machine's programs and toolchain are mounted into each
//! step, so steps run real cargo.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{cargo, exec};

/// Storage of images, and a build context with the project that depends on `ship` of the registry `corp`.
#[derive(Debug)]
pub struct Containers {
    folder: TempDir,
}

impl Containers {
    /// Creates an empty storage and the context.
    pub fn new() -> Self {
        let containers = Self {
            folder: TempDir::new().unwrap(),
        };
        write_project(&containers.context().join("project"));
        containers.pack_root();
        containers
    }

    /// Build context.
    pub fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    /// Storage: layers as folders, and the configuration and history of the images.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    /// Writes the Containerfile: the project in /src, then these lines.
    pub fn containerfile(&self, lines: &str) {
        let text = format!(
            "FROM scratch\nADD root.tar /\nENV PATH=/toolchain/bin:/usr/bin CARGO_HOME=/src/cargo\nWORKDIR /src\n\
             COPY project /src\n{lines}\n"
        );
        fs::write(self.context().join("Containerfile"), text).unwrap();
    }

    /// `buildah build` with the flags of a recipe, whose first two words are the program and its verb, and the last one the
    /// context. Chroot isolation needs no privileges of a container service.
    pub fn build(&self, words: &[String], more: &[&str]) -> Command {
        let [program, verb, flags @ .., context] = words else {
            panic!("too short: {words:?}")
        };
        let mut command = self.command(program);
        command
            .arg(verb)
            .args(["--isolation", "chroot", "--tag", "built"])
            .args(mounts())
            .args(more)
            .args(flags)
            .arg(context)
            .current_dir(self.context());
        command
    }

    /// `podman run` with the flags of a recipe, whose last word stands for the image, and a script.
    pub fn run(&self, words: &[String], more: &[&str], script: &str) -> Command {
        let [program, verb, flags @ .., _image] = words else {
            panic!("too short: {words:?}")
        };
        // crun wants the unified hierarchy, which nothing uses here.
        let own_cgroups = "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
        let mut command = exec::command("unshare", self.folder.path());
        command
            .args(["--mount", "sh", "-c", own_cgroups, "sh", program])
            .args(self.storage_flags())
            .args(["--cgroup-manager", "cgroupfs", verb, "--cgroups", "disabled", "--rm"])
            // The usual limits are higher than those of a test machine.
            .args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"])
            .args(mounts())
            .args(more)
            .args(flags)
            .args(["built", "sh", "-c", script]);
        command
    }

    /// buildah or podman with this storage.
    pub fn command(&self, program: &str) -> Command {
        let mut command = exec::command(program, self.folder.path());
        command.args(self.storage_flags());
        command
    }

    fn storage_flags(&self) -> [String; 6] {
        let folder = |name: &str| self.folder.path().join(name).display().to_string();
        let [root, run] = [folder("storage"), folder("run")];
        ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"].map(str::to_owned)
    }

    fn pack_root(&self) {
        let root = self.folder.path().join("root");
        for folder in ["etc", "tmp", "proc", "sys", "dev", "usr", "toolchain"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for link in USR_LINKS {
            symlink(format!("usr/{link}"), root.join(link)).unwrap();
        }
        let mut tar = exec::command("tar", self.folder.path());
        tar.arg("-cf").arg(self.context().join("root.tar"));
        exec::run(tar.arg("-C").arg(&root).arg(".")).succeeds();
    }
}

impl Default for Containers {
    fn default() -> Self {
        Self::new()
    }
}

/// bubblewrap sandbox with this machine's programs and toolchain, and nothing else of it: no home, no control socket.
pub fn sandbox(home: &Path) -> Command {
    let mut command = exec::command("bwrap", home);
    command
        .args(["--die-with-parent", "--ro-bind", "/usr", "/usr", "--ro-bind"])
        .arg(toolchain())
        .args(["/toolchain", "--ro-bind", "/etc/alternatives", "/etc/alternatives"])
        .args(
            USR_LINKS
                .iter()
                .flat_map(|link| ["--symlink".to_owned(), format!("usr/{link}"), format!("/{link}")]),
        )
        .args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"])
        .args(["--setenv", "PATH", "/toolchain/bin:/usr/bin"]);
    command
}

/// Project that depends on `ship` of the registry `corp`.
pub fn write_project(folder: &Path) {
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/lib.rs"), "").unwrap();
    let manifest = "[package]\nname = \"project\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                    [dependencies]\nship = { version = \"1\", registry = \"corp\" }\n";
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
}

fn mounts() -> Vec<String> {
    let toolchain = format!("{}:/toolchain:ro", toolchain().display());
    let mounts = ["/usr:/usr:ro", &toolchain, "/etc/alternatives:/etc/alternatives:ro"];
    mounts
        .iter()
        .flat_map(|mount| ["--volume".to_owned(), (*mount).to_owned()])
        .collect()
}

fn toolchain() -> PathBuf {
    let cargo = cargo::command(Path::new("/"));
    Path::new(cargo.get_program()).ancestors().nth(2).unwrap().to_owned()
}

/// Folders of the root that are links into /usr.
const USR_LINKS: [&str; 3] = ["bin", "lib", "lib64"];
