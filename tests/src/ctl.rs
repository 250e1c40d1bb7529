//! Real `regauthctl --json`: exit code and output.

use std::path::Path;

use serde_json::Value;

use crate::exec::{self, Output};
use crate::programs;

/// Result of `regauthctl --json`.
#[derive(Clone, Debug)]
pub struct Ctl {
    /// Output as text.
    pub output: Output,
    /// Exit code; -1 when a signal ended it.
    pub exit: i32,
    /// Stdout as JSON; null when it is no JSON.
    pub json: Value,
}

impl Ctl {
    /// Runs `regauthctl` with the `REGAUTH_HOME` of a daemon, which need not run.
    pub fn run(home: &Path, arguments: &[&str], input: &str) -> Self {
        let mut ctl = exec::command(programs::binary("regauthctl"), home);
        ctl.env("REGAUTH_HOME", home).arg("--json").args(arguments);
        let output = exec::run_with_input(&mut ctl, input);
        let json = serde_json::from_str(&output.stdout).unwrap_or(Value::Null);
        Self {
            exit: output.status.code().unwrap_or(-1),
            json,
            output,
        }
    }

    /// True if the exit code is 0.
    pub fn succeeded(&self) -> bool {
        self.exit == 0
    }

    /// Asserts that the exit code is 0.
    ///
    /// # Panics
    /// When it is another one; the message has the output.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// Asserts the exit code.
    ///
    /// # Panics
    /// When it is another one; the message has the output.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.exit, code, "{}", self.output.report());
        self
    }
}

/// Arguments of `add-registry` for a scope on a host with a private root. The token is on stdin.
pub fn add_scope<'a>(name: &'a str, scope: &'a str, ca_file: &'a str) -> [&'a str; 7] {
    [
        "add-registry",
        name,
        "--token-stdin",
        "--scope",
        scope,
        "--ca-file",
        ca_file,
    ]
}

/// Arguments of `add-registry` for an index on a host with a private root. More have to follow for its token.
pub fn add_index<'a>(name: &'a str, index: &'a str, ca_file: &'a str) -> [&'a str; 6] {
    ["add-registry", name, "--index", index, "--ca-file", ca_file]
}
