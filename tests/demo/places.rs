//! The places where a token could lie, looked at one after the other, with a line of the story for each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::daemon::Daemon;
use crate::hunt::Hunt;
use crate::stage::Stage;

/// Looks everywhere.
///
/// # Errors
/// That a token was found, and where; that a place which must be there is missing.
pub(crate) fn look_everywhere(stage: &Stage, hunt: &Hunt, daemon: &Daemon, answers: &str) -> anyhow::Result<()> {
    let mut places = Places {
        stage,
        hunt,
        found: Vec::new(),
    };
    places.folder("the project, with target/", &stage.project())?;
    places.bytes(
        "... what a dependency's build script saw",
        &seen_by_the_build_script(stage)?,
    )?;
    places.folder("cargo's home", &stage.cargo_home())?;
    places.folder("regauthd's home, with the vault", &stage.regauth_home())?;
    places.folder("the user's home", &stage.folder().join("home"))?;
    places.bytes("regauthd's command line", &daemon.command_line()?)?;
    places.environment(daemon)?;
    places.bytes("regauthd's log", &fs::read(stage.log())?)?;
    places.bytes("regauthctl's answers: status, list, show", answers.as_bytes())?;
    places.bytes("all that cargo and regauthctl printed", stage.transcript().as_bytes())?;
    ensure!(
        places.found.is_empty(),
        "a token was found: {}",
        places.found.join(", ")
    );
    Ok(())
}

struct Places<'a> {
    stage: &'a Stage,
    hunt: &'a Hunt,
    found: Vec<String>,
}

impl Places<'_> {
    fn folder(&mut self, what: &str, folder: &Path) -> anyhow::Result<()> {
        let searched = self
            .hunt
            .search(folder)
            .with_context(|| format!("{} could not be searched", folder.display()))?;
        let detail = format!("{} files, {}", searched.files, size(searched.bytes));
        let clean = searched.found.is_empty();
        self.found
            .extend(searched.found.iter().map(|path| path.display().to_string()));
        self.tell(what, &detail, clean)
    }

    fn bytes(&mut self, what: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let clean = !self.hunt.finds_in(bytes);
        if !clean {
            self.found.push(what.to_owned());
        }
        self.tell(what, &size(bytes.len()), clean)
    }

    /// A process that may not be dumped shows its environment to root alone.
    fn environment(&mut self, daemon: &Daemon) -> anyhow::Result<()> {
        let what = "regauthd's environment";
        match daemon.environment() {
            Some(Ok(bytes)) => self.bytes(what, &bytes),
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(self
                    .stage
                    .telling
                    .verdict(what, "not readable", "closed, even to you", true)?)
            }
            Some(Err(error)) => Err(error).context("regauthd's environment could not be read"),
            None => Ok(self
                .stage
                .telling
                .verdict(what, "no /proc here", "not looked at", false)?),
        }
    }

    fn tell(&self, what: &str, detail: &str, clean: bool) -> anyhow::Result<()> {
        let verdict = if clean { "not found" } else { "FOUND" };
        Ok(self.stage.telling.verdict(what, detail, verdict, clean)?)
    }
}

/// What the crate's build script wrote into its `OUT_DIR`.
fn seen_by_the_build_script(stage: &Stage) -> anyhow::Result<Vec<u8>> {
    let builds = stage.project().join("target/debug/build");
    let outputs: Vec<PathBuf> = fs::read_dir(&builds)?
        .filter_map(|entry| Some(entry.ok()?.path().join("out/seen.txt")))
        .filter(|path| path.is_file())
        .collect();
    let first = outputs.first().context("the crate's build script did not run")?;
    Ok(fs::read(first)?)
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}
