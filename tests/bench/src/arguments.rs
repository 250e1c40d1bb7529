//! Command-line arguments: groups, rounds, durations, candidates, output.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::groups::Group;

/// Measures regauthd beside no proxy and beside other intercepting proxies.
///
/// Starts nginx as the registry, a load generator, regauthd and the installed proxies on loopback. Measures the candidates in
/// turns within one run. Compare only numbers and ratios of one run, never numbers of different runs or machines. Stop other
/// programs on the machine first.
#[derive(Debug, Parser)]
#[command(name = "bench-all", after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Number of times each value is measured
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// Measure only this group; repeat the option for more groups
    #[arg(long, value_enum, value_name = "GROUP")]
    only: Vec<Group>,
    /// Run one short round to check that everything works; the numbers mean nothing
    #[arg(long)]
    pub quick: bool,
    /// Duration of each load
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    seconds: f64,
    /// Number of HTTP/2 connections that share the 16 concurrent requests
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub h2_connections: u16,
    /// Measure this regauthd instead of the one built from these sources; repeat the option for more
    #[arg(long = "binary", value_name = "LABEL=PATH")]
    pub binaries: Vec<Binary>,
    /// Leave out a candidate; repeat the option for more
    #[arg(long, value_enum, value_name = "NAME")]
    without: Vec<Comparison>,
    /// Write the table between the markers of this page, and the plots into its folder
    #[arg(long, value_name = "PAGE")]
    pub write: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

/// Candidates for comparison with regauthd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Comparison {
    /// No proxy
    Direct,
    /// The program on top of hudsucker
    Hudsucker,
    /// mitmproxy, if it is installed
    Mitmproxy,
    /// Squid, if it is installed
    Squid,
    /// HAProxy, if it is installed
    Haproxy,
}

/// A regauthd program with its label in the table.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    /// Column header in the table.
    pub label: String,
    /// Path of the program.
    pub path: PathBuf,
}

impl FromStr for Binary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (label, path) = text.split_once('=').ok_or("expected LABEL=PATH")?;
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        if !path.is_file() {
            return Err(format!("no program at {}", path.display()));
        }
        Ok(Self {
            label: label.to_owned(),
            path,
        })
    }
}

impl Arguments {
    /// Selected groups, in the order of the table.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let all = Group::value_variants().iter().copied();
        all.filter(|group| self.only.is_empty() || self.only.contains(group))
            .collect()
    }

    /// Returns whether a candidate takes part.
    pub(crate) fn includes(&self, candidate: Comparison) -> bool {
        !self.without.contains(&candidate)
    }

    /// Number of times each value is measured.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds }
    }

    /// Duration of each load.
    pub(crate) fn duration(&self) -> Duration {
        if self.quick {
            Duration::from_millis(500)
        } else {
            Duration::from_secs_f64(self.seconds)
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  cargo bench-all                              everything; takes several minutes
  cargo bench-all --quick                      check that everything works
  cargo bench-all --write docs/performance.md  write the table into the documentation
  cargo bench-all --only small --rounds 5      small requests, five times each
  cargo bench-all --only small --without hudsucker \\
      --binary before=/tmp/regauthd --binary after=target/release/regauthd";
