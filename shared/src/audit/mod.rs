//! Format of the audit record: JSON Lines in which each line holds the SHA-256 of the line before.
//!
//! A line is `{"line":12,"previous":"<64 hex digits>","event":{…}}`, or has a [`Note`] of the record about itself in place
//! of the event. Lines count from 1, also across rotated files. The hash covers a line's bytes without the line feed, so
//! no reader needs a canonical form of JSON. [`Verifier`] finds changed, missing and misplaced lines.
//!
//! The chain reveals a change in the middle of the record. It cannot reveal that the whole record was replaced: for that,
//! keep the last line's number and hash elsewhere, or export the record.
//!
//! No I/O: the daemon writes the files, `regauthctl` reads them.

mod verify;

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

pub use verify::{Finding, FindingKind, Verifier};

/// Name of the file that the daemon appends to.
pub const CURRENT_FILE: &str = "audit.jsonl";

/// Name of a rotated file, by the number of its first line. The names sort in the order of the lines.
///
/// ```
/// use regauth_shared::audit::{is_rotated_file, rotated_file};
///
/// assert_eq!(rotated_file(42), "audit-000000000042.jsonl");
/// assert!(is_rotated_file("audit-000000000042.jsonl") && !is_rotated_file("audit.jsonl"));
/// ```
pub fn rotated_file(first_line: u64) -> String {
    format!("audit-{first_line:012}.jsonl")
}

/// True for the name of a rotated file.
pub fn is_rotated_file(name: &str) -> bool {
    let number = name.strip_prefix("audit-").and_then(|rest| rest.strip_suffix(".jsonl"));
    number.is_some_and(|digits| digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// SHA-256 of one line, in hex as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// Hash that the first line holds.
    pub const NONE: Self = Self([0; 32]);

    /// Hash of a line without its line feed.
    pub fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }
}

impl LineHash {
    /// Appends the hash in hex. The formatting machinery would take longer than the hash itself.
    fn write(&self, text: &mut String) {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        let mut digits = [[0; 2]; 32];
        for (pair, byte) in digits.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        // Digits and letters are always UTF-8.
        text.push_str(std::str::from_utf8(digits.as_flattened()).unwrap_or_default());
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(2 * self.0.len());
        self.write(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Error of parsing a [`LineHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hex digits")]
pub struct InvalidHash;

impl FromStr for LineHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let (digits, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if !rest.is_empty() || digits.len() != hash.len() {
            return Err(InvalidHash);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
        for (byte, [high, low]) in hash.iter_mut().zip(digits) {
            let value = digit(*high).zip(digit(*low)).map(|(high, low)| high * 16 + low);
            *byte = value.and_then(|value| u8::try_from(value).ok()).ok_or(InvalidHash)?;
        }
        Ok(Self(hash))
    }
}

impl Serialize for LineHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Position of the last line of a chain: what the next line is linked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Number of the last line; 0 before the first one.
    pub line: u64,
    /// Hash of the last line.
    pub hash: LineHash,
}

impl Link {
    /// Link of a chain without a line.
    pub const START: Self = Self {
        line: 0,
        hash: LineHash::NONE,
    };

    /// Appends the next line to `text`, with its line feed, and moves to it.
    ///
    /// ```
    /// use regauth_shared::audit::{Content, Line, LineHash, Link};
    ///
    /// let mut link = Link::START;
    /// let mut text = String::new();
    /// link.append(&Content::Event("{\"kind\":\"reload\"}"), &mut text);
    /// assert!(text.starts_with("{\"line\":1,\"previous\":\"0000") && text.ends_with(",\"event\":{\"kind\":\"reload\"}}\n"));
    /// assert_eq!(link.line, 1);
    /// assert_eq!(link.hash, LineHash::of(text.trim_end().as_bytes()));
    /// ```
    pub fn append(&mut self, content: &Content<'_>, text: &mut String) {
        let start = text.len();
        self.line += 1;
        text.push_str("{\"line\":");
        text.push_str(&self.line.to_string());
        text.push_str(",\"previous\":\"");
        self.hash.write(text);
        match content {
            Content::Event(json) => {
                text.push_str("\",\"event\":");
                text.push_str(json);
            }
            Content::Note(note) => {
                text.push_str("\",\"note\":");
                // Notes hold numbers and constant texts, so serialization cannot fail.
                text.push_str(&serde_json::to_string(note).unwrap_or_default());
            }
        }
        text.push('}');
        self.hash = LineHash::of(text.get(start..).unwrap_or_default().as_bytes());
        text.push('\n');
    }

    /// The next line, with its line feed.
    pub fn next_line(&mut self, content: &Content<'_>) -> String {
        let mut text = String::new();
        self.append(content, &mut text);
        text
    }
}

/// Content of a line that is to be written.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Event, as one JSON object.
    Event(&'a str),
    /// Note of the record about itself.
    Note(Note),
}

/// Line as read.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "E: DeserializeOwned")]
pub struct Line<E> {
    /// Number, from 1.
    pub line: u64,
    /// Hash of the line before.
    pub previous: LineHash,
    /// Event, unless the line is a note.
    #[serde(default = "none")]
    pub event: Option<E>,
    /// Note of the record about itself.
    #[serde(default)]
    pub note: Option<Note>,
}

fn none<E>() -> Option<E> {
    None
}

/// Line of which only the chain is read.
#[derive(Clone, Debug, Deserialize)]
struct Header<'a> {
    line: u64,
    previous: LineHash,
    #[serde(default, borrow)]
    note: Option<&'a RawValue>,
}

/// Reads number and hash of a line, such as the last one of a file, for the next line's link.
pub fn link_of(line: &[u8]) -> Option<Link> {
    let header: Header<'_> = serde_json::from_slice(line).ok()?;
    Some(Link {
        line: header.line,
        hash: LineHash::of(line),
    })
}

/// Reads a line's link to the line before.
pub fn link_before(line: &[u8]) -> Option<Link> {
    let header: Header<'_> = serde_json::from_slice(line).ok()?;
    Some(Link {
        line: header.line.checked_sub(1)?,
        hash: header.previous,
    })
}

/// Note of the record about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Note {
    /// The daemon was killed while it wrote a line, and removed the incomplete line at the next start.
    Repaired {
        /// Time of the repair, in milliseconds since 1970.
        time: u64,
        /// Length of the incomplete line.
        bytes: u64,
    },
    /// The last line could not be read at a start. The record goes on in a new file.
    Damaged {
        /// Time of the start, in milliseconds since 1970.
        time: u64,
    },
    /// Old lines were deleted, as `audit-keep` and `audit-max-size` say.
    Pruned {
        /// Time of the deletion, in milliseconds since 1970.
        time: u64,
        /// Last line that was deleted.
        through: Link,
    },
    /// A note that only a newer release knows.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_its_text() {
        let hash = LineHash::of(b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for wrong in [
            "",
            "00",
            &"0".repeat(63),
            &"0".repeat(65),
            &"A".repeat(64),
            &"é".repeat(32),
        ] {
            assert_eq!(wrong.parse::<LineHash>(), Err(InvalidHash), "{wrong}");
        }
    }

    #[test]
    fn a_written_line_reads_back() {
        let mut link = Link::START;
        let note = Note::Repaired { time: 1, bytes: 3 };
        let text = link.next_line(&Content::Note(note.clone()));
        let line: Line<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (line.line, line.previous, line.event, line.note),
            (1, LineHash::NONE, None, Some(note))
        );
        assert_eq!(link_of(text.trim_end().as_bytes()), Some(link));
        assert_eq!(link_before(text.trim_end().as_bytes()), Some(Link::START));
    }

    #[test]
    fn notes_of_a_newer_release_still_parse() {
        let line = format!(
            r#"{{"line":1,"previous":"{}","note":{{"kind":"sealed"}},"new":1}}"#,
            LineHash::NONE
        );
        let line: Line<serde_json::Value> = serde_json::from_str(&line).unwrap();
        assert_eq!(line.note, Some(Note::Unknown));
    }
}
