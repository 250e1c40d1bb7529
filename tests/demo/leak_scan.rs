//! Search for tokens in bytes and folders: in plain text and in base64 at any alignment.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Searcher for a set of tokens.
pub(crate) struct LeakScan {
    patterns: BTreeSet<String>,
}

impl LeakScan {
    /// Computes the patterns of these tokens.
    ///
    /// Base64 encodes three bytes as four characters. So a token inside a longer text (`user:token`, for example) has one
    /// of three encodings, apart from its first and last characters.
    pub(crate) fn for_tokens(tokens: &[&str]) -> Self {
        let mut patterns = BTreeSet::new();
        for token in tokens {
            patterns.insert((*token).to_owned());
            for before in 0..3 {
                patterns.insert(stable_part(
                    &STANDARD_NO_PAD.encode(shifted(token, before)),
                    token,
                    before,
                ));
                patterns.insert(stable_part(
                    &URL_SAFE_NO_PAD.encode(shifted(token, before)),
                    token,
                    before,
                ));
            }
        }
        Self { patterns }
    }

    /// Returns whether bytes contain a token. The patterns are ASCII, which a lossy conversion does not change.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        self.patterns.iter().any(|pattern| text.contains(pattern.as_str()))
    }

    /// Searches the paths and contents of all files below a folder.
    pub(crate) fn search(&self, folder: &Path) -> io::Result<ScanResult> {
        let mut result = ScanResult::default();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                }
                self.search_entry(&entry.path(), kind.is_file(), &mut result)?;
            }
        }
        Ok(result)
    }

    /// Searches one path, and its content if it is a file.
    fn search_entry(&self, path: &Path, is_file: bool, result: &mut ScanResult) -> io::Result<()> {
        let content = match is_file.then(|| fs::read(path)) {
            None => Vec::new(),
            // The daemon replaces files by renaming, so a listed file may be gone.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Some(content) => content?,
        };
        result.files += usize::from(is_file);
        result.bytes += content.len();
        if self.matches(&content) || self.matches(path.as_os_str().as_encoded_bytes()) {
            result.found.push(path.to_path_buf());
        }
        Ok(())
    }
}

/// Totals and matches of a search.
#[derive(Debug, Default)]
pub(crate) struct ScanResult {
    /// Number of files read.
    pub(crate) files: usize,
    /// Size of these files in bytes.
    pub(crate) bytes: usize,
    /// Paths that contain a token in the name or the content.
    pub(crate) found: Vec<PathBuf>,
}

fn shifted(token: &str, before: usize) -> Vec<u8> {
    [&vec![0; before], token.as_bytes()].concat()
}

/// Characters of an encoding that depend only on the token, not on the bytes before and after it.
fn stable_part(encoded: &str, token: &str, before: usize) -> String {
    let first = (before * 8).div_ceil(6);
    let end = (before + token.len()) * 8 / 6;
    encoded.get(first..end).unwrap_or(encoded).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_token_in_plain_text_and_any_base64_and_nothing_else() {
        let scan = LeakScan::for_tokens(&["corp_0123456789abcdef", "other_fedcba9876543210"]);
        for user in ["", "m", "me", "me@", "me@corp.example:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{user}corp_0123456789abcdef{after}");
                assert!(scan.matches(text.as_bytes()));
                assert!(scan.matches(STANDARD_NO_PAD.encode(&text).as_bytes()), "{text}");
                assert!(scan.matches(URL_SAFE_NO_PAD.encode(&text).as_bytes()), "{text}");
            }
        }
        assert!(scan.matches(b"\xff\xc3other_fedcba9876543210\xc3\x28"));
        assert!(!scan.matches(b"me@corp.example corp_0123456789abcde"));
    }

    #[test]
    fn searches_file_contents_and_file_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/clean"), "nothing").unwrap();
        let scan = LeakScan::for_tokens(&["corp_0123456789abcdef"]);
        assert!(scan.search(folder.path()).unwrap().found.is_empty());
        fs::write(folder.path().join("a/b/dirty"), "x corp_0123456789abcdef").unwrap();
        fs::write(folder.path().join("a/corp_0123456789abcdef"), "").unwrap();
        let result = scan.search(folder.path()).unwrap();
        assert_eq!((result.files, result.found.len()), (3, 2));
    }
}
