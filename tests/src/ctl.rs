//! The real `regauthctl --json`: its exit code and what it said.

use std::path::Path;

use serde_json::Value;

use crate::exec::{self, Output};
use crate::programs;

/// What `regauthctl --json` answered.
#[derive(Clone, Debug)]
pub struct Ctl {
    /// Its output, as text.
    pub output: Output,
    /// Its exit code.
    pub exit: i32,
    /// Its stdout as JSON; null when it is none.
    pub json: Value,
}

impl Ctl {
    /// Runs `regauthctl` for the daemon of this home, which need not run.
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

    /// Whether the exit code is 0.
    pub fn succeeded(&self) -> bool {
        self.exit == 0
    }

    /// Passes a success through.
    ///
    /// # Panics
    /// With everything it said, when it failed.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// Passes an exit code through.
    ///
    /// # Panics
    /// With everything it said, when it is another one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.exit, code, "{}", self.output.report());
        self
    }
}
