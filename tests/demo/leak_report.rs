//! Search for the tokens in every place that a build script or another process could read, one table row a place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::daemon::Daemon;
use crate::leak_scan::LeakScan;
use crate::sandbox::Sandbox;

/// Searches all places and prints a table row for each.
///
/// # Errors
/// A token was found, or a place that must exist is missing.
pub(crate) fn search_everywhere(
    sandbox: &Sandbox,
    scan: &LeakScan,
    daemon: &Daemon,
    answers: &str,
) -> anyhow::Result<()> {
    let mut report = LeakReport {
        sandbox,
        scan,
        leaks: Vec::new(),
    };
    report.folder("project folder with target/", &sandbox.project())?;
    report.bytes(
        "variables seen by greeting's build script",
        &seen_by_the_build_script(sandbox)?,
    )?;
    report.folder("cargo's home", &sandbox.cargo_home())?;
    report.folder("regauthd's home with the vault", &sandbox.regauth_home())?;
    report.folder("user's home", &sandbox.folder().join("home"))?;
    report.bytes("regauthd's command line", &daemon.command_line()?)?;
    report.environment(daemon)?;
    report.bytes("regauthd's log", &fs::read(sandbox.log())?)?;
    report.bytes("regauthctl status, list and show", answers.as_bytes())?;
    report.bytes("output of cargo and regauthctl", sandbox.transcript().as_bytes())?;
    ensure!(report.leaks.is_empty(), "found a token in {}", report.leaks.join(", "));
    Ok(())
}

struct LeakReport<'a> {
    sandbox: &'a Sandbox,
    scan: &'a LeakScan,
    leaks: Vec<String>,
}

impl LeakReport<'_> {
    fn folder(&mut self, label: &str, folder: &Path) -> anyhow::Result<()> {
        let result = self
            .scan
            .search(folder)
            .with_context(|| format!("cannot search {}", folder.display()))?;
        let detail = format!("{} files, {}", result.files, size(result.bytes));
        let clean = result.found.is_empty();
        self.leaks
            .extend(result.found.iter().map(|path| path.display().to_string()));
        self.row(label, &detail, clean)
    }

    fn bytes(&mut self, label: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let clean = !self.scan.matches(bytes);
        if !clean {
            self.leaks.push(label.to_owned());
        }
        self.row(label, &size(bytes.len()), clean)
    }

    /// Searches regauthd's environment. regauthd disables core dumps of itself, so Linux lets only root read it.
    fn environment(&mut self, daemon: &Daemon) -> anyhow::Result<()> {
        let label = "regauthd's environment";
        match daemon.environment() {
            Some(Ok(bytes)) => self.bytes(label, &bytes),
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(self
                    .sandbox
                    .terminal
                    .verdict(label, "permission denied", "not readable, even for you", true)?)
            }
            Some(Err(error)) => Err(error).context("cannot read regauthd's environment"),
            None => Ok(self
                .sandbox
                .terminal
                .verdict(label, "no /proc here", "not searched", false)?),
        }
    }

    fn row(&self, label: &str, detail: &str, clean: bool) -> anyhow::Result<()> {
        let verdict = if clean { "not found" } else { "FOUND" };
        Ok(self.sandbox.terminal.verdict(label, detail, verdict, clean)?)
    }
}

/// File that the build script of `greeting` wrote into its `OUT_DIR`.
fn seen_by_the_build_script(sandbox: &Sandbox) -> anyhow::Result<Vec<u8>> {
    let builds = sandbox.project().join("target/debug/build");
    let outputs: Vec<PathBuf> = fs::read_dir(&builds)?
        .filter_map(|entry| Some(entry.ok()?.path().join("out/seen.txt")))
        .filter(|path| path.is_file())
        .collect();
    let first = outputs.first().context("the build script of greeting did not run")?;
    Ok(fs::read(first)?)
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}
