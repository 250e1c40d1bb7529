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
        ctl.arg("--home").arg(home).arg("--json").args(arguments);
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
