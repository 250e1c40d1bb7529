//! What is measured, how often and for how long.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::groups::Group;

/// Measures regauthd beside its peers and beside no proxy at all.
///
/// Starts nginx as the registry, the load, regauthd and the peers at hand, all on loopback, and measures them in turns within
/// one run. Numbers of different runs or machines do not compare; the ratios within a run do. The machine should have
/// nothing else to do.
#[derive(Debug, Parser)]
#[command(name = "bench-all", after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// How often each is measured
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// Only these groups; can be given several times
    #[arg(long, value_enum, value_name = "GROUP")]
    only: Vec<Group>,
    /// One short round: whether it works, not how fast
    #[arg(long)]
    pub quick: bool,
    /// How long each load lasts
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS")]
    seconds: f64,
    /// HTTP/2 connections that the 16 concurrent requests are spread over
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub h2_connections: u16,
    /// Measure this regauthd instead of the one of these sources; can be given several times
    #[arg(long = "binary", value_name = "LABEL=PATH")]
    pub binaries: Vec<Binary>,
    /// Leave out a contender; can be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    without: Vec<Other>,
    /// Write the table between the markers of this page, and the plots beside it
    #[arg(long, value_name = "PAGE")]
    pub write: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// What is measured beside regauthd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Other {
    /// No proxy
    Direct,
    /// The hudsucker program
    Hudsucker,
    /// mitmproxy, when it is installed
    Mitmproxy,
    /// Squid, when it is installed
    Squid,
}

/// A regauthd and what it is called in the table.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    /// Its column's head.
    pub label: String,
    /// The program.
    pub path: PathBuf,
}

impl FromStr for Binary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (label, path) = text.split_once('=').ok_or("it is not LABEL=PATH")?;
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        if !path.is_file() {
            return Err(format!("there is no program at {}", path.display()));
        }
        Ok(Self {
            label: label.to_owned(),
            path,
        })
    }
}

impl Arguments {
    /// The groups that are wanted, in the table's order.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let all = Group::value_variants().iter().copied();
        all.filter(|group| self.only.is_empty() || self.only.contains(group))
            .collect()
    }

    /// Whether somebody takes part.
    pub(crate) fn has(&self, other: Other) -> bool {
        !self.without.contains(&other)
    }

    /// How often each is measured.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds }
    }

    /// How long each load lasts.
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
  cargo bench-all                              everything; takes some minutes
  cargo bench-all --quick                      does it work?
  cargo bench-all --write docs/performance.md  and keep the table
  cargo bench-all --only small --rounds 5      small requests, five times each
  cargo bench-all --only small --without hudsucker \\
      --binary before=/tmp/regauthd --binary after=target/release/regauthd";
