//! Two versions of Maven: 3.8 of Debian 12, whose transport is Wagon, and 3.9 with the resolver's own transport, which is what
//! upstream ships.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::exec::{self, Output};
use crate::programs::tool;

/// Version of Maven.
#[derive(Clone, Copy, Debug)]
pub enum Maven {
    /// Debian's 3.8, with Wagon.
    Wagon,
    /// 3.9, with the resolver's own HTTP transport.
    Native,
}

impl Maven {
    /// Runs a scenario with each version, at the same time.
    ///
    /// # Panics
    /// When the scenario fails with one of them.
    pub fn each(scenario: impl Fn(Self) + Sync) {
        thread::scope(|scope| {
            for maven in [Self::Wagon, Self::Native] {
                let scenario = &scenario;
                scope.spawn(move || scenario(maven));
            }
        });
    }

    /// Path or name of `mvn`.
    pub fn program(self) -> PathBuf {
        match self {
            Self::Wagon => PathBuf::from("mvn"),
            Self::Native => tool("maven/bin/mvn"),
        }
    }

    /// As [`Maven::program`], for another user, who cannot read the folder of the tools: copied into this folder.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn program_in(self, folder: &Path) -> PathBuf {
        match self {
            Self::Wagon => self.program(),
            Self::Native => {
                let copy = folder.join("maven");
                exec::run(Command::new("cp").arg("-r").arg(tool("maven")).arg(&copy)).succeeds();
                copy.join("bin/mvn")
            }
        }
    }

    /// Asserts that Maven, with `-X`, has transferred by the transport of its version, and by no other.
    ///
    /// # Panics
    /// When it has not; the message has the output.
    pub fn assert_transport(self, debug: &Output) {
        let [expected, other] = match self {
            Self::Wagon => ["WagonTransporter", "HttpTransporter"],
            Self::Native => ["HttpTransporter", "WagonTransporter"],
        };
        let used = |transport: &str| {
            let line = format!("Using transporter {transport} with priority ");
            debug
                .stdout
                .lines()
                .any(|text| text.contains(&line) && text.contains(" for https://"))
        };
        assert!(used(expected) && !used(other), "{self:?}: {}", debug.report());
    }
}
