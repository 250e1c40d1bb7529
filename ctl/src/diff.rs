//! Line diffs: hunks that turn one text into another, and the unified form for people.
//!
//! Own hunks instead of `diffy`'s patches: a patch has context lines, and these hunks go to disk without the lines that
//! did not change, which may hold a password.

use std::ops::Range;
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
    /// Text that is inserted, in lines with their endings.
    insert: Vec<String>,
    /// Number of bytes at the start of the removed lines that stay.
    #[serde(default, skip_serializing_if = "is_zero")]
    keep_start: usize,
    /// Number of bytes at the end of the removed lines that stay.
    #[serde(default, skip_serializing_if = "is_zero")]
    keep_end: usize,
}

/// Computes the hunks that turn `from` into `to`.
#[cfg(test)]
pub(crate) fn hunks(from: &str, to: &str) -> Vec<Hunk> {
    positioned_hunks(from, to).into_iter().map(|(hunk, _)| hunk).collect()
}

/// Computes the hunks that turn `from` into `to`, each with the byte range in `to` of the text that it inserts.
pub(crate) fn positioned_hunks(from: &str, to: &str) -> Vec<(Hunk, Range<usize>)> {
    let [old, new] = [from, to].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let operations = capture_diff_slices(Algorithm::Myers, &old, &new);
    let changes = operations.iter().filter(|operation| operation.tag() != DiffTag::Equal);
    let length = |lines: &[&str]| lines.iter().map(|line| line.len()).sum::<usize>();
    changes
        .map(|operation| {
            let removed = old.get(operation.old_range()).unwrap_or_default().concat();
            let inserted = new.get(operation.new_range()).unwrap_or_default().concat();
            let keep_start = common_start(&removed, &inserted);
            let [removed, inserted] = [&removed, &inserted].map(|text| text.get(keep_start..).unwrap_or_default());
            let keep_end = common_end(removed, inserted);
            let insert = inserted.get(..inserted.len() - keep_end).unwrap_or_default();
            let start = length(new.get(..operation.new_range().start).unwrap_or_default()) + keep_start;
            let hunk = Hunk {
                at: operation.old_range().start,
                remove: operation.old_range().len(),
                insert: insert.split_inclusive('\n').map(str::to_owned).collect(),
                keep_start,
                keep_end,
            };
            (hunk, start..start + insert.len())
        })
        .collect()
}

fn common_start(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars()).take_while(|(one, other)| one == other);
    pairs.map(|(character, _)| character.len_utf8()).sum()
}

fn common_end(one: &str, other: &str) -> usize {
    let pairs = one.chars().rev().zip(other.chars().rev()).take_while(|(one, other)| one == other);
    pairs.map(|(character, _)| character.len_utf8()).sum()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Gives the lines of `edited` the endings of the file that it was edited from: a line that is the same keeps its ending,
/// and a new one gets the ending of most lines. TOML and git editors write LF.
pub(crate) fn with_line_endings_of(original: &str, edited: &str) -> String {
    let number_of_crlf = original.matches("\r\n").count();
    if number_of_crlf == 0 {
        return edited.to_owned();
    }
    let [original_lf, edited_lf] = [original, edited].map(|text| text.replace("\r\n", "\n"));
    let is_mostly_crlf = 2 * number_of_crlf >= original.matches('\n').count();
    let [old, new] = [&original_lf, &edited_lf].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let original: Vec<&str> = original.split_inclusive('\n').collect();
    let mut result = String::with_capacity(edited.len() + new.len());
    for operation in capture_diff_slices(Algorithm::Myers, &old, &new) {
        if operation.tag() == DiffTag::Equal {
            result.extend(original.get(operation.old_range()).unwrap_or_default().iter().copied());
            continue;
        }
        for line in new.get(operation.new_range()).unwrap_or_default() {
            match line.strip_suffix('\n').filter(|_| is_mostly_crlf) {
                Some(line) => result.extend([line, "\r\n"]),
                None => result.push_str(line),
            }
        }
    }
    result
}

/// Applies hunks to the exact text that they were computed from.
pub(crate) fn apply_hunks(text: &str, hunks: &[Hunk]) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for hunk in hunks {
        result.extend(lines.get(done..hunk.at).unwrap_or_default().iter().copied());
        done = hunk.at + hunk.remove;
        let removed = lines.get(hunk.at..done).unwrap_or_default().concat();
        result.push_str(removed.get(..hunk.keep_start).unwrap_or_default());
        result.extend(hunk.insert.iter().map(String::as_str));
        let end = removed.len().saturating_sub(hunk.keep_end);
        result.push_str(removed.get(end..).unwrap_or_default());
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

/// Unified diff of the changed lines alone, as `diff -U0` prints it: the lines around them are nobody's business. `None`
/// stands for a missing file.
pub(crate) fn unified(path: &Path, before: Option<&str>, after: Option<&str>) -> String {
    // A last line that only gets its ending has not changed.
    let with_ending = |text: &str| match text.is_empty() || text.ends_with('\n') {
        true => text.to_owned(),
        false => format!("{text}\n"),
    };
    let name = path.display().to_string();
    let header = |text: Option<&str>| match text {
        Some(_) => name.clone(),
        None => "/dev/null".to_owned(),
    };
    let [old, new] = [before, after].map(|text| with_ending(text.unwrap_or_default()));
    TextDiff::from_lines(&old, &new)
        .unified_diff()
        .context_radius(0)
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
    fn hunks_hold_no_unchanged_text() {
        for (from, to) in [
            ("password = x\nproxy = new\n", "password = x\nproxy = old\n"),
            ("password = x\nproxy = new\n", "password = x"),
            ("a = { password = 1, b = 2 }\n", "a = { password = 1 }\n"),
        ] {
            let hunks = hunks(from, to);
            assert!(!format!("{hunks:?}").contains("password"), "{hunks:?}");
            assert_eq!(apply_hunks(from, &hunks), to);
        }
        let positioned = positioned_hunks("a\nxby\n", "a\nxcdy\n");
        assert_eq!(positioned[0].1, 3..5);
    }

    #[test]
    fn edited_lines_get_the_endings_of_their_file() {
        for (original, edited, result) in [
            ("a\r\nb\r\n", "a\nc\nb\n", "a\r\nc\r\nb\r\n"),
            ("a\r\nb", "a\nb\nc\n", "a\r\nb\r\nc\r\n"),
            ("a\nb\n", "a\nc\n", "a\nc\n"),
            ("a\nb\nc\nd\r\n", "a\nb\nx\nc\nd\n", "a\nb\nx\nc\nd\r\n"),
        ] {
            assert_eq!(with_line_endings_of(original, edited), result);
        }
    }
}
