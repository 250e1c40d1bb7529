//! The way back from a text to the one before it, as the lines that differ; and how a change is shown to a person.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use similar::{Algorithm, DiffTag, TextDiff, capture_diff_slices};

/// Replaces some lines by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hunk {
    /// How many lines stay in front.
    at: usize,
    /// How many lines go.
    remove: usize,
    /// The lines that come, with their endings.
    insert: Vec<String>,
}

/// What turns `from` into `to`.
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

/// Applies hunks to the very text that they were made for.
pub(crate) fn apply(text: &str, hunks: &[Hunk]) -> String {
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

/// What tells one text from every other.
pub(crate) fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The change as `diff -u` shows it.
pub(super) fn unified(path: &Path, before: Option<&str>, after: Option<&str>) -> String {
    let name = path.display().to_string();
    let side = |text: Option<&str>| {
        if text.is_some() {
            name.clone()
        } else {
            "/dev/null".to_owned()
        }
    };
    TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default())
        .unified_diff()
        .header(&side(before), &side(after))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_leads_back() {
        let texts = ["", "a\n", "a", "a\nb\nc\n", "b\r\nc", "\n\na\nx\nb\n", "c\nb\na\n"];
        for from in texts {
            for to in texts {
                assert_eq!(apply(from, &hunks(from, to)), to, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn the_way_back_holds_no_line_that_stays() {
        let way = hunks("password = x\nproxy = ours\n", "password = x\nproxy = theirs\n");
        assert!(!format!("{way:?}").contains("password"), "{way:?}");
    }
}
