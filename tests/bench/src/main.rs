//! `cargo bench-all`: what regauthd costs, beside its peers and beside no proxy at all, on this machine, now.
//!
//! In reading order: [`arguments`] say what is wanted, [`tools`] builds it, [`origin`] is the registry that everybody asks,
//! and a [`contender`] is one way to it, with a peer from [`peers`]. The [`groups`] measure, in turns, near or over
//! the [`wire`]; [`load`], [`transfer`], [`processor`] and [`memory`] are what they measure with. [`results`] keeps it
//! all, [`table`] and [`plot`] show it, and [`page`] puts it into the documentation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and talks to the terminal"
)]

use anyhow::ensure;
use clap::Parser;

use crate::arguments::Arguments;
use crate::results::Results;
use crate::stage::Stage;

mod arguments;
mod contender;
mod control;
mod groups;
mod idle;
mod load;
mod machine;
mod memory;
mod origin;
mod page;
mod peers;
mod plot;
mod processor;
mod results;
mod shelf;
mod stage;
mod table;
mod tools;
mod transfer;
mod wire;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let stage = Stage::set(&arguments)?;
    let mut results = Results::default();
    for group in arguments.groups() {
        eprintln!("{group}: {}", group.story());
        group.measure(&stage, &mut results);
        ensure!(
            !stage.is_interrupted(),
            "interrupted: everything is cleared up, nothing is written"
        );
        eprintln!();
    }
    if let Some(page) = &arguments.write {
        page::write(page, &results)?;
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
