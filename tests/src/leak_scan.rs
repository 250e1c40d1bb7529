//! Hunts a secret where none may be: as it is, in base64 at any alignment and behind any user name, percent-encoded
//! and in hex; in files, processes and captured texts.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use memchr::memmem;

/// A hunt for one secret: look in many places, then [`LeakScan::assert_clean`].
#[derive(Debug)]
pub struct LeakScan {
    forms: Vec<(&'static str, Vec<u8>)>,
    looked: usize,
    found: Vec<Leak>,
}

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Where.
    pub place: String,
    /// In which form.
    pub form: &'static str,
}

impl LeakScan {
    /// Hunts for `secret`.
    ///
    /// # Panics
    /// When it is too short to be told from chance.
    pub fn new(secret: &str) -> Self {
        assert!(secret.len() >= SHORTEST, "a sentinel must be longer");
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![("plain", secret.as_bytes().to_vec()), ("hex", hex.into_bytes())];
        forms.extend(in_base64(secret.as_bytes()).into_iter().map(|form| ("base64", form)));
        let percent = percent_encoded(secret);
        if percent != secret {
            forms.push(("percent-encoded", percent.into_bytes()));
        }
        Self {
            forms,
            looked: 0,
            found: Vec::new(),
        }
    }

    /// Looks in bytes that came from `place`.
    pub fn scan(&mut self, place: &str, bytes: impl AsRef<[u8]>) -> &mut Self {
        let haystack = bytes.as_ref();
        self.looked += 1;
        for (form, needle) in &self.forms {
            if memmem::find(haystack, needle).is_some() {
                self.found.push(Leak {
                    place: place.to_owned(),
                    form,
                });
            }
        }
        self
    }

    /// Looks in the names and contents of all files below a folder, apart from those below `except`.
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
            self.scan("the name of a file", path.as_os_str().as_encoded_bytes());
            if kind.is_dir() {
                self.scan_folder(&path, except);
            } else if kind.is_file() {
                self.scan(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
        self
    }

    /// Looks in a process's arguments and environment.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn scan_process(&mut self, pid: u32) -> &mut Self {
        for what in ["cmdline", "environ"] {
            let place = format!("/proc/{pid}/{what}");
            self.scan(&place, fs::read(&place).unwrap());
        }
        self
    }

    /// Looks in a process's memory, which takes root.
    ///
    /// # Panics
    /// When there is no such process, or it may not be looked at.
    pub fn scan_memory(&mut self, pid: u32) -> &mut Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        for map in maps.lines().filter(|map| map.contains(" rw")) {
            let (from, to) = map.split(' ').next().unwrap().split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // Memory that is mapped and cannot be read, such as a guard, holds nothing.
            if memory.read_exact_at(&mut bytes, from).is_ok() {
                self.scan(&format!("memory: {map}"), &bytes);
            }
        }
        self
    }

    /// Everything that was found so far.
    pub fn found(&self) -> &[Leak] {
        &self.found
    }

    /// Ends the hunt.
    ///
    /// # Panics
    /// When the secret was found, or nothing was looked at.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.looked > 0, "nothing was looked at");
        assert!(self.found.is_empty(), "the secret leaked: {:#?}", self.found);
    }
}

/// The part of the encoding that does not depend on what stands before and after, at each of the three alignments.
fn in_base64(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for engine in [&STANDARD, &URL_SAFE] {
        for before in 0..3 {
            let text = engine.encode([&b"\0\0"[..before], secret].concat());
            // 6 bits a character: those with bits of the bytes before, and of what would come after, fall away.
            let (start, end) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
            forms.push(text.as_bytes()[start..end].to_vec());
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

fn percent_encoded(secret: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    secret.bytes().map(one).collect()
}

/// Anything shorter is found by chance.
pub(crate) const SHORTEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3ntinel/+secret=1";

    #[test]
    fn finds_every_form() {
        let basic = STANDARD.encode(format!("me@corp.example:{SECRET}"));
        for (text, form) in [
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
                    place: "here".to_owned(),
                    form
                }),
                "{text}: {:?}",
                scan.found()
            );
        }
    }

    #[test]
    fn finds_nothing_where_nothing_is() {
        LeakScan::new(SECRET)
            .scan("here", "s3ntinel/ +secret=1")
            .scan_process(std::process::id())
            .assert_clean();
    }

    #[test]
    fn looks_into_folders_and_at_their_names() {
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
