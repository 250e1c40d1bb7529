//! Groups of measurements, one file a group.

use std::fmt;

use clap::ValueEnum;

use crate::results::Results;
use crate::testbed::Testbed;

mod allocations;
mod body;
mod fetch;
mod memory;
mod observed;
mod registries;
mod rotation;
mod small;
mod start;
mod workers;

/// Group of table rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Requests for 1 KiB, sixteen at a time
    Small,
    /// Requests for 1 KiB with audit record and a viewer, and without
    Observed,
    /// Bodies of 1 GiB, local and over a link of 60 ms
    Body,
    /// `cargo fetch`, local and over a link of 60 ms
    Fetch,
    /// A new token every 100 ms under load
    Rotation,
    /// CPU per request with one to eight workers
    Workers,
    /// Resident memory
    Memory,
    /// Time to start, and size of the binary
    Start,
    /// Start, memory, `list` and idle CPU with 1, 100 and 1,000 registries
    Registries,
    /// Allocations per request
    Allocations,
}

impl Group {
    /// One line about the measurements.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Small => "requests for 1 KiB, sixteen at a time",
            Self::Observed => "requests for 1 KiB with audit record and a viewer, and without",
            Self::Body => "bodies of 1 GiB, local and over a link of 60 ms",
            Self::Fetch => "cargo fetch with an empty CARGO_HOME, local and over a link of 60 ms",
            Self::Rotation => "a new token every 100 ms under load",
            Self::Workers => "CPU per request with one to eight workers",
            Self::Memory => "resident memory",
            Self::Start => "time to start, and size of the binary",
            Self::Registries => "start, memory, `list` and idle CPU with 1, 100 and 1,000 registries",
            Self::Allocations => "allocations per request",
        }
    }

    /// Returns whether the group measures other proxies too.
    pub(crate) fn includes_other_proxies(self) -> bool {
        !matches!(
            self,
            Self::Observed | Self::Rotation | Self::Workers | Self::Start | Self::Registries | Self::Allocations
        )
    }

    /// Measures all candidates of the group.
    pub(crate) fn measure(self, testbed: &Testbed, results: &mut Results) {
        match self {
            Self::Small => small::measure(testbed, results),
            Self::Observed => observed::measure(testbed, results),
            Self::Body => body::measure(testbed, results),
            Self::Fetch => fetch::measure(testbed, results),
            Self::Rotation => rotation::measure(testbed, results),
            Self::Workers => workers::measure(testbed, results),
            Self::Memory => memory::measure(testbed, results),
            Self::Start => start::measure(testbed, results),
            Self::Registries => registries::measure(testbed, results),
            Self::Allocations => allocations::measure(testbed, results),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().unwrap();
        f.write_str(value.get_name())
    }
}
