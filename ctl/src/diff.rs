//! Diffs: hunks that turn one text into another, and the unified form for people.
//!
//! Own hunks instead of `diffy`'s patches: a patch has context lines, and these hunks go to disk without the lines that
//! did not change, which may hold a password.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use similar::{Algorithm, DiffTag, TextDiff, capture_diff_slices};

/// Replacement of a part of a text by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hunk {
    /// Position of the part: bytes, or lines in hunks of earlier releases.
    at: usize,
    /// Length of the part that is removed, in the same unit.
    remove: usize,
    /// Text that is inserted, in lines with their endings.
    insert: Vec<String>,
    /// True if the unit is bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bytes: bool,
}

/// Computes the hunks that turn `from` into `to`.
#[cfg(test)]
pub(crate) fn hunks(from: &str, to: &str) -> Vec<Hunk> {
    positioned_hunks(from, to).into_iter().map(|(hunk, _)| hunk).collect()
}

/// Computes the hunks that turn `from` into `to`, each with the byte range in `to` of the text that it inserts. A hunk
/// holds no text that stays: a line that only gets or loses its ending is not in it, nor are the equal ends of a line.
pub(crate) fn positioned_hunks(from: &str, to: &str) -> Vec<(Hunk, Range<usize>)> {
    let [old, new] = [from, to].map(contents_and_endings);
    let operations = capture_diff_slices(Algorithm::Myers, &old, &new);
    let changes = operations.iter().filter(|operation| operation.tag() != DiffTag::Equal);
    changes
        .map(|operation| {
            let [removed, inserted] = [
                byte_range(&old, operation.old_range()),
                byte_range(&new, operation.new_range()),
            ];
            let [old, new] = [from.get(removed.clone()), to.get(inserted.clone())].map(Option::unwrap_or_default);
            let start = common_start(old, new);
            let [old, new] = [old, new].map(|text| text.get(start..).unwrap_or_default());
            let end = common_end(old, new);
            let kept = inserted.start + start..inserted.end - end;
            let hunk = Hunk {
                at: removed.start + start,
                remove: removed.len() - start - end,
                insert: to
                    .get(kept.clone())
                    .unwrap_or_default()
                    .split_inclusive('\n')
                    .map(str::to_owned)
                    .collect(),
                bytes: true,
            };
            (hunk, kept)
        })
        .collect()
}

/// Splits a text into the contents of its lines and their endings.
fn contents_and_endings(text: &str) -> Vec<&str> {
    text.split_inclusive('\n')
        .flat_map(|line| {
            let content = line.trim_end_matches(['\r', '\n']);
            [content, line.get(content.len()..).unwrap_or_default()]
        })
        .filter(|part| !part.is_empty())
        .collect()
}

/// Bytes of a range of parts.
fn byte_range(parts: &[&str], range: Range<usize>) -> Range<usize> {
    let length = |parts: Option<&[&str]>| parts.unwrap_or_default().iter().map(|part| part.len()).sum::<usize>();
    let start = length(parts.get(..range.start));
    start..start + length(parts.get(range))
}

fn common_start(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars()).take_while(|(one, other)| one == other);
    pairs.map(|(character, _)| character.len_utf8()).sum()
}

fn common_end(one: &str, other: &str) -> usize {
    let pairs = one
        .chars()
        .rev()
        .zip(other.chars().rev())
        .take_while(|(one, other)| one == other);
    pairs.map(|(character, _)| character.len_utf8()).sum()
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
    let mut line_starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    line_starts.insert(0, 0);
    // A position in lines becomes one in bytes; the line after the last one is the end.
    let position = |hunk: &Hunk, at: usize| match hunk.bytes {
        true => at,
        false => line_starts.get(at).copied().unwrap_or(text.len()),
    };
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for hunk in hunks {
        let [start, end] = [hunk.at, hunk.at + hunk.remove].map(|at| position(hunk, at));
        result.push_str(text.get(done..start).unwrap_or_default());
        result.extend(hunk.insert.iter().map(String::as_str));
        done = end;
    }
    result.push_str(text.get(done..).unwrap_or_default());
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
            ("proxy=new\npassword = x\ncafile=y\n", "proxy=old\npassword = x"),
        ] {
            let hunks = hunks(from, to);
            assert!(!format!("{hunks:?}").contains("password"), "{hunks:?}");
            assert_eq!(apply_hunks(from, &hunks), to);
        }
        let of_lines: Vec<Hunk> = serde_json::from_str(r#"[{"at":1,"remove":1,"insert":["x\n","y"]}]"#).unwrap();
        assert_eq!(apply_hunks("a\nb\n", &of_lines), "a\nx\ny");
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
