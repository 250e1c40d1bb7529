//! `cargo bench-all`: measures regauthd beside no proxy and beside other intercepting proxies, on this machine.
//!
//! In reading order: [`arguments`] parses the command line and [`tools`] builds the programs. [`testbed`] starts the
//! [`registry`] and the candidates. A [`candidate`] is one way to the registry: directly, through regauthd, or through one of
//! the [`other_proxies`], with [`haproxy`] in place of the registry. The [`groups`] measure the candidates in turns, some over a [`link_emulator`]. They measure with
//! [`load`], [`transfer`], [`cpu_time`] and [`memory`]. A [`deadline`] ends a step that hangs. [`results`] keeps the values, [`table`] and [`plot`] format them, and
//! [`doc_page`] writes them into the documentation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may panic and prints to the terminal"
)]

use anyhow::ensure;
use clap::Parser;

use crate::arguments::Arguments;
use crate::results::Results;
use crate::testbed::Testbed;

mod arguments;
mod candidate;
mod control_client;
mod cpu_time;
mod crate_index;
mod deadline;
mod doc_page;
mod groups;
mod haproxy;
mod idle_connections;
mod link_emulator;
mod load;
mod machine;
mod memory;
mod other_proxies;
mod plot;
mod registry;
mod results;
mod table;
mod testbed;
mod tools;
mod transfer;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let testbed = Testbed::prepare(&arguments)?;
    let mut results = Results::default();
    for group in arguments.groups() {
        eprintln!("{group}: {}", group.description());
        testbed.begin_step(&group.to_string());
        group.measure(&testbed, &mut results);
        ensure!(
            !testbed.is_interrupted(),
            "interrupted: stopped every process, wrote no results"
        );
        eprintln!();
    }
    if let Some(page) = &arguments.write {
        doc_page::write(page, &results)?;
    }
    if arguments.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&results.as_json(&machine::description()))?
        );
    } else {
        println!("{}", table::markdown(&results));
    }
    Ok(())
}
