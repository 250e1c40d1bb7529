//! The audit record, read without the daemon: shown, verified, exported.
//!
//! `record` reads the files, `filter` chooses events, `describe` writes one line of text for each, `ocsf` converts them. The
//! verification itself is [`regauth_shared::audit::Verifier`].

mod describe;
mod filter;
mod ocsf;
mod record;

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use regauth_shared::ErrorBody;
use regauth_shared::audit::{Finding, Line, Link, Note, Verifier};
use regauth_shared::event::Event;
use serde::Serialize;
use serde_json::value::RawValue;

pub(crate) use filter::Filter;

use self::filter::EventFilter;
pub(crate) use self::record::Record;
use self::record::RecordLine;
use crate::error;

/// Lines of the record that a filter has chosen.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Selection {
    /// The newest of them, in their order, as they are in the record.
    pub(crate) lines: Vec<Box<RawValue>>,
    /// Number of earlier ones.
    pub(crate) earlier: u64,
    /// Number of lines that cannot be read.
    pub(crate) unreadable: u64,
    #[serde(skip)]
    pub(crate) rows: Vec<Vec<String>>,
}

/// Chooses lines, at most the newest `limit`.
///
/// # Errors
/// A record that cannot be read.
pub(crate) fn select(record: Record, filter: &Filter, limit: usize) -> Result<Selection, ErrorBody> {
    let mut newest: VecDeque<Box<RawValue>> = VecDeque::new();
    let mut earlier = 0;
    let unreadable = each(record, filter, |line, _| {
        newest.extend(serde_json::from_slice::<Box<RawValue>>(line.text).ok());
        if newest.len() > limit {
            newest.pop_front();
            earlier += 1;
        }
        ControlFlow::Continue(())
    })?;
    let lines: Vec<Box<RawValue>> = newest.into();
    let rows = lines
        .iter()
        .filter_map(|line| row(&serde_json::from_str(line.get()).ok()?));
    Ok(Selection {
        rows: rows.collect(),
        lines,
        earlier,
        unreadable,
    })
}

fn row(line: &Line<Event>) -> Option<Vec<String>> {
    let event = line.event.as_ref().map(describe::event);
    event.or_else(|| line.note.as_ref().map(describe::note))
}

/// Format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The lines as they are in the record.
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework 1.5.0.
    Ocsf,
}

/// Writes the lines that a filter chooses, one JSON object each. Returns the number of lines that cannot be read.
///
/// # Errors
/// A record that cannot be read, or an output that cannot be written. A closed pipe ends the export.
pub(crate) fn export(record: Record, filter: &Filter, format: Format, out: impl Write) -> Result<u64, ErrorBody> {
    let mut out = BufWriter::new(out);
    let mut write = |line: &RecordLine<'_>, parsed: &Line<Event>| -> io::Result<()> {
        match format {
            Format::Jsonl => out.write_all(line.text)?,
            Format::Ocsf => match ocsf_event(parsed) {
                Some(event) => serde_json::to_writer(&mut out, &event)?,
                None => return Ok(()),
            },
        }
        out.write_all(b"\n")
    };
    let mut result = Ok(());
    let unreadable = each(record, filter, |line, parsed| {
        result = write(line, parsed);
        if result.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    match result.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error::io("cannot write the export")(error)),
        _ => Ok(unreadable),
    }
}

fn ocsf_event(line: &Line<Event>) -> Option<serde_json::Value> {
    let event = line.event.as_ref().map(|event| ocsf::event(line.line, event));
    event.or_else(|| ocsf::note(line.line, line.note.as_ref()?))
}

/// Passes the lines that a filter chooses to `take`, until it breaks. Returns the number of lines that cannot be read.
fn each(
    record: Record,
    filter: &Filter,
    mut take: impl FnMut(&RecordLine<'_>, &Line<Event>) -> ControlFlow<()>,
) -> Result<u64, ErrorBody> {
    let filter = filter.to_event_filter();
    let mut unreadable = 0;
    record.for_each_line(|line| {
        if !line.is_whole {
            return ControlFlow::Continue(());
        }
        match serde_json::from_slice::<Line<Event>>(line.text) {
            Ok(parsed) if passes(&filter, &parsed) => return take(line, &parsed),
            Ok(_) => {}
            Err(_) => unreadable += 1,
        }
        ControlFlow::Continue(())
    })?;
    Ok(unreadable)
}

fn passes(filter: &EventFilter, line: &Line<Event>) -> bool {
    match (&line.event, &line.note) {
        (Some(event), _) => filter.passes(event),
        (None, Some(Note::Repaired { time, .. } | Note::Damaged { time } | Note::Pruned { time, .. })) => {
            filter.passes_note(*time)
        }
        (None, _) => false,
    }
}

/// Result of a verification.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Verification {
    /// Number of lines.
    pub(crate) lines: u64,
    /// Number of files.
    pub(crate) files: usize,
    /// Last line. A note of it elsewhere reveals later that the whole record was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Link>,
    /// Length of the incomplete line that a kill has left at the end, 0 without one.
    pub(crate) incomplete_bytes: usize,
    /// True if the running daemon has confirmed the last line.
    pub(crate) compared_with_daemon: bool,
    /// Faults.
    pub(crate) faults: Vec<Fault>,
}

/// Fault of the record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Fault {
    /// File in which it shows.
    pub(crate) file: String,
    /// Number of the line in that file, from 1.
    pub(crate) row: u64,
    /// Description.
    pub(crate) message: String,
}

/// Verifies the record. `known` is a line that somebody else knows, such as the daemon's last one.
///
/// # Errors
/// A record that cannot be read. Faults are no error.
pub(crate) fn verify(record: Record, known: Option<Link>) -> Result<Verification, ErrorBody> {
    let files = record.number_of_files();
    let mut verifier = known.map_or_else(Verifier::default, Verifier::expecting);
    let mut incomplete_bytes = 0;
    // Position of each file's first line.
    let mut starts: Vec<(u64, String)> = Vec::new();
    record.for_each_line(|line| {
        if line.row == 1 {
            starts.push((verifier.lines(), line.file.to_owned()));
        }
        if line.is_whole {
            verifier.line(line.text);
        } else {
            incomplete_bytes = line.text.len();
        }
        ControlFlow::Continue(())
    })?;
    let (lines, last) = (verifier.lines(), verifier.last());
    let faults = verifier
        .finish()
        .iter()
        .map(|finding| fault(finding, &starts))
        .collect();
    Ok(Verification {
        lines,
        files,
        last,
        incomplete_bytes,
        compared_with_daemon: known.is_some(),
        faults,
    })
}

fn fault(finding: &Finding, starts: &[(u64, String)]) -> Fault {
    let before = starts.iter().rev().find(|(start, _)| *start <= finding.position);
    let (start, file) = before.cloned().unwrap_or_default();
    Fault {
        file,
        row: finding.position - start + 1,
        message: finding.to_string(),
    }
}
