//! Result of scanning clients' files, before tokens are deduplicated and named.

use std::ops::Range;
use std::path::Path;

use super::auth_scheme::AuthScheme;
use super::found::{TokenLocation, TokenTarget};

/// Tokens and notes that the scanners collect.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Tokens, in order of discovery.
    pub(super) tokens: Vec<ScannedToken>,
    /// Advice for the user, such as a file that cannot be read.
    pub(super) notes: Vec<String>,
}

/// Token as a file has it.
#[derive(Debug)]
pub(super) struct ScannedToken {
    /// Name of the registry in the file, if it has one.
    pub(super) name: Option<String>,
    pub(super) kind: &'static str,
    pub(super) target: TokenTarget,
    pub(super) scheme: AuthScheme,
    /// Not yet validated.
    pub(super) secret: String,
    pub(super) location: TokenLocation,
}

impl Scan {
    /// Reads a file; `None` if there is no file. A file that cannot be read becomes a note.
    pub(super) fn read(&mut self, file: &Path) -> Option<String> {
        match std::fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.notes.push(format!("cannot read {}: {error}", file.display()));
                None
            }
        }
    }
}

/// True if the text takes its value from an environment variable, as in `${TOKEN}`, and so is no secret itself.
pub(super) fn has_variable(text: &str) -> bool {
    text.split_once("${").is_some_and(|(_, rest)| rest.contains('}'))
}

/// Byte range of `part` in `whole`. `part` must be a slice of `whole`.
pub(super) fn byte_range(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}
