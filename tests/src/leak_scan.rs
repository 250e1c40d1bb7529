//! Search for a secret in texts, files, processes and memory. It finds the secret in plain text, percent-encoded, in hex,
//! and in base64 at any alignment, such as behind a user name.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use memchr::memmem;

/// Search for one secret: scan many locations, then call [`LeakScan::assert_clean`].
#[derive(Debug)]
pub struct LeakScan {
    needles: Vec<(&'static str, Vec<u8>)>,
    scanned: usize,
    found: Vec<Leak>,
}

/// Occurrence of the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Text, file or process that contains the secret.
    pub location: String,
    /// Encoding of the secret, such as `base64`.
    pub encoding: &'static str,
}

impl LeakScan {
    /// Starts a search for `secret`.
    ///
    /// # Panics
    /// When the secret has fewer than 8 bytes: it could be found by chance.
    pub fn new(secret: &str) -> Self {
        assert!(secret.len() >= MIN_SECRET_LENGTH, "the secret is too short to scan for");
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut needles = vec![("plain", secret.as_bytes().to_vec()), ("hex", hex.into_bytes())];
        needles.extend(
            in_base64(secret.as_bytes())
                .into_iter()
                .map(|needle| ("base64", needle)),
        );
        let percent = percent_encoded(secret);
        if percent != secret {
            needles.push(("percent-encoded", percent.into_bytes()));
        }
        Self {
            needles,
            scanned: 0,
            found: Vec::new(),
        }
    }

    /// Scans bytes; `location` names them in messages.
    pub fn scan(&mut self, location: &str, bytes: impl AsRef<[u8]>) -> &mut Self {
        let haystack = bytes.as_ref();
        self.scanned += 1;
        for (encoding, needle) in &self.needles {
            if memmem::find(haystack, needle).is_some() {
                self.found.push(Leak {
                    location: location.to_owned(),
                    encoding,
                });
            }
        }
        self
    }

    /// Scans the names and contents of all files below a folder, except those below `except`.
    ///
    /// # Panics
    /// When a file cannot be read.
    pub fn scan_folder(&mut self, folder: &Path, except: &[PathBuf]) -> &mut Self {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if except.contains(&path) {
                continue;
            }
            self.scan("a file name", path.as_os_str().as_encoded_bytes());
            if kind.is_dir() {
                self.scan_folder(&path, except);
            } else if kind.is_file() {
                self.scan(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
        self
    }

    /// Scans a process's arguments and environment.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn scan_process(&mut self, pid: u32) -> &mut Self {
        for what in ["cmdline", "environ"] {
            let location = format!("/proc/{pid}/{what}");
            self.scan(&location, fs::read(&location).unwrap());
        }
        self
    }

    /// Scans a process's writable memory; needs root.
    ///
    /// # Panics
    /// When the memory cannot be read.
    pub fn scan_memory(&mut self, pid: u32) -> &mut Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        for map in maps.lines().filter(|map| map.contains(" rw")) {
            let (from, to) = map.split(' ').next().unwrap().split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // A mapping that cannot be read, such as a guard page, holds nothing.
            if memory.read_exact_at(&mut bytes, from).is_ok() {
                self.scan(&format!("memory: {map}"), &bytes);
            }
        }
        self
    }

    /// Occurrences so far.
    pub fn found(&self) -> &[Leak] {
        &self.found
    }

    /// Asserts that the secret was not found.
    ///
    /// # Panics
    /// When it was found, or nothing was scanned.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.scanned > 0, "nothing was scanned");
        assert!(self.found.is_empty(), "the secret leaked: {:#?}", self.found);
    }
}

/// Base64 of the secret at each of the three alignments, without characters that depend on the bytes around it.
fn in_base64(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut needles = Vec::new();
    for engine in [&STANDARD, &URL_SAFE] {
        for before in 0..3 {
            let text = engine.encode([&b"\0\0"[..before], secret].concat());
            // A character encodes 6 bits: drop those that mix in bits of the bytes before or after.
            let (start, end) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
            needles.push(text.as_bytes()[start..end].to_vec());
        }
    }
    needles.sort();
    needles.dedup();
    needles
}

fn percent_encoded(secret: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    secret.bytes().map(one).collect()
}

/// Minimum length of a secret, in bytes. Shorter ones are found by chance.
pub(crate) const MIN_SECRET_LENGTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3ntinel/+secret=1";

    #[test]
    fn finds_a_secret_in_every_encoding() {
        let basic = STANDARD.encode(format!("me@corp.example:{SECRET}"));
        for (text, encoding) in [
            (format!("Authorization: {SECRET}"), "plain"),
            (format!("Authorization: Basic {basic}"), "base64"),
            (STANDARD.encode(format!("u:{SECRET}")), "base64"),
            (URL_SAFE.encode(format!("us:{SECRET}\n")), "base64"),
            ("?token=s3ntinel%2F%2Bsecret%3D1".to_owned(), "percent-encoded"),
        ] {
            let mut scan = LeakScan::new(SECRET);
            scan.scan("here", &text);
            assert!(
                scan.found().contains(&Leak {
                    location: "here".to_owned(),
                    encoding
                }),
                "{text}: {:?}",
                scan.found()
            );
        }
    }

    #[test]
    fn reports_nothing_for_a_different_text() {
        LeakScan::new(SECRET)
            .scan("here", "s3ntinel/ +secret=1")
            .scan_process(std::process::id())
            .assert_clean();
    }

    #[test]
    fn scans_file_names_and_contents_below_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (deep, state) = (folder.path().join("a/b"), folder.path().join("state"));
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir(&state).unwrap();
        fs::write(state.join("vault"), "s3ntinel-secret").unwrap();
        fs::write(deep.join("s3ntinel-secret"), "x s3ntinel-secret y").unwrap();
        let mut scan = LeakScan::new("s3ntinel-secret");
        scan.scan_folder(folder.path(), &[state]);
        assert_eq!(scan.found().len(), 2, "{:?}", scan.found());
    }
}
