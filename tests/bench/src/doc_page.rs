//! Writes the results into a page of the documentation: the table between two markers, and the plots beside the page.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::machine;
use crate::plot;
use crate::results::Results;
use crate::table;

/// Replaces the text between the markers of a page and writes the plots into its folder.
///
/// # Errors
/// The page cannot be read or written, or has no markers, or the results are empty.
pub(crate) fn write(page: &Path, results: &Results) -> anyhow::Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = text.split_once(BEGIN).context(MISSING)?;
    let (_, after) = rest.split_once(END).context(MISSING)?;
    ensure!(!results.rows().is_empty(), "no results to write");
    let table = table::markdown(results);
    let machine = machine::description();
    fs::write(page, format!("{before}{BEGIN}\n{machine}\n\n{table}\n{END}{after}"))?;
    for (name, titles) in PLOTS {
        fs::write(page.with_file_name(name), plot::bars(results, titles))?;
    }
    Ok(())
}

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";
const MISSING: &str = "the page has no markers `<!-- measured: begin -->` and `<!-- measured: end -->`";

/// File names of the plots, with the titles of their rows.
const PLOTS: &[(&str, &[&str])] = &[
    (
        "performance-requests.svg",
        &[
            "small GET, h1",
            "small GET, h2",
            "proxy CPU per request, h1",
            "proxy CPU per request, h2",
        ],
    ),
    (
        "performance-fetch.svg",
        &[
            "cargo fetch, 507 crates",
            "cargo fetch, 507 crates, 60 ms",
            "cargo fetch, serde + regex, 60 ms",
        ],
    ),
];
