//! Builds `regauthd` and `regauthctl`, as a person who cloned the repository would, and finds out where they are.
//!
//! This happens before the story, in the person's own environment: cargo may need their proxy for the dependencies.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::telling::Telling;

/// The two programs of the story.
pub(crate) struct Programs {
    /// The daemon.
    pub(crate) regauthd: PathBuf,
    /// The command line.
    pub(crate) regauthctl: PathBuf,
}

impl Programs {
    /// Builds both with cargo's progress shown. `CARGO_TARGET_DIR` and the like hold as in any build.
    pub(crate) async fn build(telling: Telling) -> anyhow::Result<Self> {
        telling.command("cargo build --package regauthd --package regauthctl")?;
        let mut build = Command::new(crate::command::cargo());
        build
            .args(["build", "--package", "regauthd", "--package", "regauthctl"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(workspace())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let output = build
            .spawn()
            .context("cargo could not be run")?
            .wait_with_output()
            .await?;
        ensure!(
            output.status.success(),
            "regauthd and regauthctl could not be built; cargo said why above"
        );
        let messages = String::from_utf8_lossy(&output.stdout);
        Ok(Self {
            regauthd: executable(&messages, "regauthd")?,
            regauthctl: executable(&messages, "regauthctl")?,
        })
    }
}

fn executable(messages: &str, name: &str) -> anyhow::Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(name))
        .find_map(|message| message.get("executable").and_then(Value::as_str).map(PathBuf::from))
        .with_context(|| format!("cargo did not say where it put {name}"))
}

/// The root of the repository that this program was built from.
fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_program_and_not_the_library_of_the_same_name() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"regauthd","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"regauthd","kind":["bin"]},"executable":"/t/debug/regauthd"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            executable(messages, "regauthd").unwrap(),
            Path::new("/t/debug/regauthd")
        );
        assert!(executable(messages, "regauthctl").is_err());
    }
}
