//! Files of ours that outlive a release: each says which form it has and which release wrote it.
//!
//! An older form is moved on, and the file as it was is kept beside it. A newer form is refused and left alone: what we do
//! not understand we would lose. [`crate::journal`] and [`crate::grant`] have such files. `config.toml` is a person's and
//! has no form: its keys are known or they are errors.

use std::io;
use std::path::{Path, PathBuf};

use regauth_shared::version::PROGRAM;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::atomic;

/// What is known of one file's forms.
#[derive(Clone, Copy, Debug)]
pub struct SchemaVersion {
    /// How each form became the next; the first one leads from 1 to 2.
    pub steps: &'static [Migration],
    /// What it costs to do without the file.
    pub without: &'static str,
}

/// Moves a file's content on to the next form.
pub type Migration = fn(&mut Map<String, Value>);

/// A file of an older form, as it was.
#[derive(Debug)]
pub struct Old {
    file: PathBuf,
    version: u64,
    text: String,
}

impl SchemaVersion {
    /// Reads a file, moved on to the present form. Nothing is written.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be read, is damaged, or newer than we are.
    pub fn read<T: DeserializeOwned>(&self, file: &Path) -> Result<(Option<T>, Option<Old>), StateError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            Err(error) => return Err(StateError::Unreadable(file.to_path_buf(), error)),
        };
        let damaged = |why: String| StateError::Damaged {
            file: file.to_path_buf(),
            why,
            without: self.without,
        };
        let mut content: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let version = content.remove(VERSION).as_ref().and_then(Value::as_u64);
        let version = version.ok_or_else(|| damaged("it has no version".to_owned()))?;
        let release = content.remove(RELEASE);
        if version > self.present() {
            return Err(self.newer(file, version, release.as_ref().and_then(Value::as_str)));
        }
        let done = usize::try_from(version.saturating_sub(1)).unwrap_or(usize::MAX);
        for step in self.steps.iter().skip(done) {
            step(&mut content);
        }
        let value = serde_json::from_value(Value::Object(content)).map_err(|error| damaged(error.to_string()))?;
        let old = (version < self.present()).then(|| Old {
            file: file.to_path_buf(),
            version,
            text,
        });
        Ok((Some(value), old))
    }

    /// Writes a file; a kill leaves the old one or the new one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write<T: Serialize>(&self, file: &Path, content: &T) -> io::Result<()> {
        let written = Written {
            version: self.present(),
            release: PROGRAM,
            content,
        };
        let mut text = serde_json::to_vec_pretty(&written)?;
        text.push(b'\n');
        atomic::write(file, &text, 0o600)
    }

    fn present(&self) -> u64 {
        self.steps.len() as u64 + 1
    }

    fn newer(&self, file: &Path, version: u64, release: Option<&str>) -> StateError {
        let release = release.map_or_else(
            || "a newer regauthd".to_owned(),
            |release| format!("regauthd {release}"),
        );
        let backup = backup(file, self.present());
        let or_else = if backup.exists() {
            format!(
                ", or move {} back in its place to go on as before the upgrade",
                backup.display()
            )
        } else {
            String::new()
        };
        StateError::Newer(format!(
            "{} was written by {release} in form {version}, and this is regauthd {PROGRAM}, which knows forms up to {}; \
             nothing was changed. Install that release again{or_else}",
            file.display(),
            self.present()
        ))
    }
}

impl Old {
    /// Keeps the file as it was beside what takes its place.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep(&self) -> io::Result<()> {
        let kept = backup(&self.file, self.version);
        atomic::write(&kept, self.text.as_bytes(), 0o600)?;
        tracing::info!(file = %self.file.display(), kept = %kept.display(), "moved on to the present form");
        Ok(())
    }
}

fn backup(file: &Path, version: u64) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".v{version}"));
    name.into()
}

#[derive(Serialize)]
struct Written<'a, T> {
    version: u64,
    release: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

/// Why a file of ours cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system does not let us.
    #[error("cannot use {}: {}; make room, or mend its permissions", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    /// It is not what we wrote.
    #[error("{} is damaged ({why}); restore it from a backup, or move it away: then {without}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What it costs to do without it.
        without: &'static str,
    },
    /// A newer release wrote it.
    #[error("{0}")]
    Newer(String),
}

const VERSION: &str = "version";
const RELEASE: &str = "release";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const FORM: SchemaVersion = SchemaVersion {
        steps: &[
            |_| {},
            |content| {
                let renamed = content.remove("colour").unwrap_or_default();
                content.insert("color".to_owned(), renamed);
            },
        ],
        without: "all is grey",
    };

    type Content = BTreeMap<String, String>;

    fn content(color: &str) -> Content {
        [("color".to_owned(), color.to_owned())].into()
    }

    #[test]
    fn an_older_form_is_moved_on_step_by_step_and_kept_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        for (text, version) in [
            (r#"{"version":1,"colour":"red"}"#, 1),
            (r#"{"version":2,"release":"0.0.2","colour":"red"}"#, 2),
        ] {
            std::fs::write(&file, text).unwrap();
            let (read, old) = FORM.read::<Content>(&file).unwrap();
            assert_eq!(read.unwrap(), content("red"));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "reading changes nothing");
            old.unwrap().keep().unwrap();
            let kept = folder.path().join(format!("state.json.v{version}"));
            assert_eq!(std::fs::read_to_string(kept).unwrap(), text);
        }
        FORM.write(&file, &content("blue")).unwrap();
        let (read, old) = FORM.read::<Content>(&file).unwrap();
        assert_eq!((read.unwrap(), old.is_none()), (content("blue"), true));
    }

    #[test]
    fn a_newer_form_is_refused_with_the_release_that_wrote_it_and_the_way_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let text = r#"{"version":4,"release":"9.8.7","hue":1}"#;
        std::fs::write(&file, text).unwrap();
        let told = || FORM.read::<Content>(&file).unwrap_err().to_string();
        for part in [
            "regauthd 9.8.7",
            "form 4",
            PROGRAM,
            "nothing was changed",
            "Install that release",
        ] {
            assert!(told().contains(part), "{}", told());
        }
        assert!(!told().contains("state.json.v3"), "{}", told());
        std::fs::write(folder.path().join("state.json.v3"), "{}").unwrap();
        assert!(told().contains("state.json.v3 back in its place"), "{}", told());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }

    #[test]
    fn what_we_did_not_write_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        assert!(FORM.read::<Content>(&file).unwrap().0.is_none());
        for text in ["", "{", "[]", "{}", r#"{"version":"3"}"#, r#"{"version":3,"color":7}"#] {
            std::fs::write(&file, text).unwrap();
            let error = FORM.read::<Content>(&file).unwrap_err().to_string();
            assert!(error.contains("damaged") && error.contains("all is grey"), "{error}");
        }
    }
}
