//! Build of `regauthd` and `regauthctl` with cargo.
//!
//! The build runs in the user's own environment, since cargo may need the user's proxy to download dependencies.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::terminal::Terminal;

/// Paths of the two programs.
pub(crate) struct Programs {
    /// Daemon.
    pub(crate) regauthd: PathBuf,
    /// Command-line client.
    pub(crate) regauthctl: PathBuf,
}

impl Programs {
    /// Builds both and shows cargo's progress. `CARGO_TARGET_DIR` and similar variables apply.
    pub(crate) async fn build(terminal: Terminal) -> anyhow::Result<Self> {
        terminal.command("cargo build --package regauthd --package regauthctl")?;
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
        let output = build.spawn().context("cannot run cargo")?.wait_with_output().await?;
        ensure!(
            output.status.success(),
            "cargo cannot build regauthd and regauthctl: see its errors above"
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
        .with_context(|| format!("cargo reported no path for the program {name}"))
}

/// Root folder of the repository that contains this package.
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
