//! What is measured, a file a group of rows.

use std::fmt;

use clap::ValueEnum;

use crate::results::Results;
use crate::stage::Stage;

mod allocations;
mod body;
mod fetch;
mod memory;
mod rotation;
mod small;
mod start;
mod workers;

/// A group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Requests for 1 KiB, sixteen at a time
    Small,
    /// Bodies of 1 GiB, near and over a long wire
    Body,
    /// `cargo fetch`, near and over a long wire
    Fetch,
    /// A new token every 100 ms under load
    Rotation,
    /// What more threads cost
    Workers,
    /// What stays resident
    Memory,
    /// How soon it is there
    Start,
    /// What a request allocates
    Allocations,
}

impl Group {
    /// What it measures, in a line.
    pub(crate) fn story(self) -> &'static str {
        match self {
            Self::Small => "requests for 1 KiB, sixteen at a time",
            Self::Body => "bodies of 1 GiB, near and over a wire of 60 ms",
            Self::Fetch => "cargo fetch with an empty CARGO_HOME, near and over a wire of 60 ms",
            Self::Rotation => "a new token every 100 ms under load",
            Self::Workers => "what a request costs with one to eight workers",
            Self::Memory => "what stays resident",
            Self::Start => "how soon it is there",
            Self::Allocations => "what a request allocates",
        }
    }

    /// Whether peers take part.
    pub(crate) fn has_peers(self) -> bool {
        !matches!(self, Self::Rotation | Self::Workers | Self::Start | Self::Allocations)
    }

    /// Measures everybody.
    pub(crate) fn measure(self, stage: &Stage, results: &mut Results) {
        match self {
            Self::Small => small::measure(stage, results),
            Self::Body => body::measure(stage, results),
            Self::Fetch => fetch::measure(stage, results),
            Self::Rotation => rotation::measure(stage, results),
            Self::Workers => workers::measure(stage, results),
            Self::Memory => memory::measure(stage, results),
            Self::Start => start::measure(stage, results),
            Self::Allocations => allocations::measure(stage, results),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().unwrap();
        f.write_str(value.get_name())
    }
}
