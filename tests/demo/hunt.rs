//! Looks for the tokens where a person who wants to steal them would: plain, and in base64 however it is aligned.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Knows what to look for.
pub(crate) struct Hunt {
    needles: BTreeSet<String>,
}

impl Hunt {
    /// For these tokens. Within base64 of anything (`user:token`, say) a token's middle part has one of three forms.
    pub(crate) fn for_tokens(tokens: &[&str]) -> Self {
        let mut needles = BTreeSet::new();
        for token in tokens {
            needles.insert((*token).to_owned());
            for before in 0..3 {
                needles.insert(middle_of(
                    &STANDARD_NO_PAD.encode(shifted(token, before)),
                    token,
                    before,
                ));
                needles.insert(middle_of(
                    &URL_SAFE_NO_PAD.encode(shifted(token, before)),
                    token,
                    before,
                ));
            }
        }
        Self { needles }
    }

    /// Looks through bytes of any kind. The needles are ASCII, which a lossy conversion leaves as it is.
    pub(crate) fn finds_in(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        self.needles.iter().any(|needle| text.contains(needle.as_str()))
    }

    /// Looks through all files below a folder, and at their names.
    pub(crate) fn search(&self, folder: &Path) -> io::Result<Searched> {
        let mut searched = Searched::default();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                }
                self.look_at(&entry.path(), kind.is_file(), &mut searched)?;
            }
        }
        Ok(searched)
    }

    /// A socket or a link has a name and nothing more to read.
    fn look_at(&self, path: &Path, is_file: bool, searched: &mut Searched) -> io::Result<()> {
        let content = match is_file.then(|| fs::read(path)) {
            None => Vec::new(),
            // The daemon replaces its files by renaming: one may go between the listing and the reading.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Some(content) => content?,
        };
        searched.files += usize::from(is_file);
        searched.bytes += content.len();
        if self.finds_in(&content) || self.finds_in(path.as_os_str().as_encoded_bytes()) {
            searched.found.push(path.to_path_buf());
        }
        Ok(())
    }
}

/// What a search looked at and what it found.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    /// How many files were read.
    pub(crate) files: usize,
    /// How much they hold.
    pub(crate) bytes: usize,
    /// Those that hold a token.
    pub(crate) found: Vec<PathBuf>,
}

fn shifted(token: &str, before: usize) -> Vec<u8> {
    [&vec![0; before], token.as_bytes()].concat()
}

/// The characters that depend on the token alone, not on what stands before and after it.
fn middle_of(encoded: &str, token: &str, before: usize) -> String {
    let first = (before * 8).div_ceil(6);
    let end = (before + token.len()) * 8 / 6;
    encoded.get(first..end).unwrap_or(encoded).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_token_in_every_guise_and_nothing_else() {
        let hunt = Hunt::for_tokens(&["corp_0123456789abcdef", "other_fedcba9876543210"]);
        for user in ["", "m", "me", "me@", "me@corp.example:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{user}corp_0123456789abcdef{after}");
                assert!(hunt.finds_in(text.as_bytes()));
                assert!(hunt.finds_in(STANDARD_NO_PAD.encode(&text).as_bytes()), "{text}");
                assert!(hunt.finds_in(URL_SAFE_NO_PAD.encode(&text).as_bytes()), "{text}");
            }
        }
        assert!(hunt.finds_in(b"\xff\xc3other_fedcba9876543210\xc3\x28"));
        assert!(!hunt.finds_in(b"me@corp.example corp_0123456789abcde"));
    }

    #[test]
    fn searches_files_below_and_their_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/clean"), "nothing").unwrap();
        let hunt = Hunt::for_tokens(&["corp_0123456789abcdef"]);
        assert!(hunt.search(folder.path()).unwrap().found.is_empty());
        fs::write(folder.path().join("a/b/dirty"), "x corp_0123456789abcdef").unwrap();
        fs::write(folder.path().join("a/corp_0123456789abcdef"), "").unwrap();
        let searched = hunt.search(folder.path()).unwrap();
        assert_eq!((searched.files, searched.found.len()), (3, 2));
    }
}
