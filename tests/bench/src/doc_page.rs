//! The page of the documentation that holds the results: all between two markers is replaced, and the drawings beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::machine;
use crate::plot;
use crate::results::Results;
use crate::table;

/// Writes the results into the page.
///
/// # Errors
/// When the page cannot be read or written, or has no markers.
pub(crate) fn write(page: &Path, results: &Results) -> anyhow::Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = text.split_once(BEGIN).context(MISSING)?;
    let (_, after) = rest.split_once(END).context(MISSING)?;
    ensure!(!results.rows().is_empty(), "nothing was measured");
    let table = table::markdown(results);
    let machine = machine::description();
    fs::write(page, format!("{before}{BEGIN}\n{machine}\n\n{table}\n{END}{after}"))?;
    for (name, titles) in DRAWINGS {
        fs::write(page.with_file_name(name), plot::bars(results, titles))?;
    }
    Ok(())
}

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";
const MISSING: &str = "the page has no markers `<!-- measured: begin -->` and `<!-- measured: end -->`";

const DRAWINGS: &[(&str, &[&str])] = &[
    (
        "performance-requests.svg",
        &[
            "small GET, h1",
            "small GET, h2",
            "its CPU per request, h1",
            "its CPU per request, h2",
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
