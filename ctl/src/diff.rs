//! Line diffs: hunks that turn one text into another, and the unified form for people.
//!
//! Own hunks instead of `diffy`'s patches: a patch has context lines, and these hunks go to disk without the lines that
//! did not change, which may hold a password.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use similar::{Algorithm, DiffTag, TextDiff, capture_diff_slices};

/// Replacement of consecutive lines by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hunk {
    /// Number of lines before the replaced ones, in the old text.
    at: usize,
    /// Number of lines that are removed.
    remove: usize,
    /// Lines that are inserted, with their line endings.
    insert: Vec<String>,
}

/// Computes the hunks that turn `from` into `to`.
pub(crate) fn hunks(from: &str, to: &str) -> Vec<Hunk> {
    let [old, new] = [from, to].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let operations = capture_diff_slices(Algorithm::Myers, &old, &new);
    let changes = operations.iter().filter(|operation| operation.tag() != DiffTag::Equal);
    changes
        .map(|operation| Hunk {
            at: operation.old_range().start,
            remove: operation.old_range().len(),
            insert: new
                .get(operation.new_range())
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect(),
        })
        .collect()
}

/// Applies hunks to the exact text that they were computed from.
pub(crate) fn apply_hunks(text: &str, hunks: &[Hunk]) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for hunk in hunks {
        result.extend(lines.get(done..hunk.at).unwrap_or_default().iter().copied());
        result.extend(hunk.insert.iter().map(String::as_str));
        done = hunk.at + hunk.remove;
    }
    result.extend(lines.get(done..).unwrap_or_default().iter().copied());
    result
}

/// SHA-256 of a text, in hexadecimal.
pub(crate) fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Unified diff, as `diff -u` prints it. `None` stands for a missing file.
pub(crate) fn unified(path: &Path, before: Option<&str>, after: Option<&str>) -> String {
    let name = path.display().to_string();
    let header = |text: Option<&str>| match text {
        Some(_) => name.clone(),
        None => "/dev/null".to_owned(),
    };
    TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default())
        .unified_diff()
        .header(&header(before), &header(after))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_turn_any_text_into_any_other() {
        let texts = ["", "a\n", "a", "a\nb\nc\n", "b\r\nc", "\n\na\nx\nb\n", "c\nb\na\n"];
        for from in texts {
            for to in texts {
                assert_eq!(apply_hunks(from, &hunks(from, to)), to, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn hunks_hold_no_unchanged_line() {
        let hunks = hunks("password = x\nproxy = new\n", "password = x\nproxy = old\n");
        assert!(!format!("{hunks:?}").contains("password"), "{hunks:?}");
    }
}
