//! Versioned JSON files: each names its schema version and the release that wrote it.
//!
//! A file of an older version is migrated, and a backup of it is kept beside it. A file of a newer version is refused
//! and not changed: its unknown content would be lost. [`crate::journal`] and [`crate::grant`] have such files.
//! `config.toml` has no version, because a person writes it: an unknown key is an error.

use std::io;
use std::path::{Path, PathBuf};

use regauth_shared::version::PROGRAM;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::atomic;

/// Schema of one file: its migrations, and with them its current version.
#[derive(Clone, Copy, Debug)]
pub struct SchemaVersion {
    /// Migrations in order; the first one leads from version 1 to 2.
    pub migrations: &'static [Migration],
    /// Consequence of losing the file, for the message about a damaged one.
    pub if_lost: &'static str,
}

/// Change of a file's content from one version to the next.
pub type Migration = fn(&mut Map<String, Value>);

/// Unchanged text of a file that was migrated.
#[derive(Debug)]
pub struct OutdatedFile {
    file: PathBuf,
    version: u64,
    text: String,
}

impl SchemaVersion {
    /// Reads a file and migrates its content. Returns `None` for a missing file. Writes nothing.
    ///
    /// # Errors
    /// [`StateError`] if the file cannot be read, is damaged, or is of a newer version.
    pub fn read<T: DeserializeOwned>(&self, file: &Path) -> Result<(Option<T>, Option<OutdatedFile>), StateError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            Err(error) => return Err(StateError::Unreadable(file.to_path_buf(), error)),
        };
        let damaged = |why: String| StateError::Damaged {
            file: file.to_path_buf(),
            why,
            if_lost: self.if_lost,
        };
        let mut content: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let version = content.remove(VERSION).as_ref().and_then(Value::as_u64);
        let version = version.ok_or_else(|| damaged("it has no version".to_owned()))?;
        let release = content.remove(RELEASE);
        if version > self.current() {
            return Err(self.newer(file, version, release.as_ref().and_then(Value::as_str)));
        }
        let done = usize::try_from(version.saturating_sub(1)).unwrap_or(usize::MAX);
        for migrate in self.migrations.iter().skip(done) {
            migrate(&mut content);
        }
        let value = serde_json::from_value(Value::Object(content)).map_err(|error| damaged(error.to_string()))?;
        let old = (version < self.current()).then(|| OutdatedFile {
            file: file.to_path_buf(),
            version,
            text,
        });
        Ok((Some(value), old))
    }

    /// Writes a file atomically.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write<T: Serialize>(&self, file: &Path, content: &T) -> io::Result<()> {
        let file_content = FileContent {
            version: self.current(),
            release: PROGRAM,
            content,
        };
        let mut text = serde_json::to_vec_pretty(&file_content)?;
        text.push(b'\n');
        atomic::write(file, &text, 0o600)
    }

    fn current(&self) -> u64 {
        self.migrations.len() as u64 + 1
    }

    fn newer(&self, file: &Path, version: u64, release: Option<&str>) -> StateError {
        let release = release.map_or_else(
            || "a newer regauthd".to_owned(),
            |release| format!("regauthd {release}"),
        );
        let backup = backup_path(file, self.current());
        let alternative = if backup.exists() {
            format!(
                ", or move {} back in its place to go on as before the upgrade",
                backup.display()
            )
        } else {
            String::new()
        };
        StateError::Newer(format!(
            "{} was written by {release} with schema version {version}; this is regauthd {PROGRAM}, which knows versions \
             up to {}; nothing was changed. Install that release again{alternative}",
            file.display(),
            self.current()
        ))
    }
}

impl OutdatedFile {
    /// Writes the old text to a backup beside the file.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn back_up(&self) -> io::Result<()> {
        let backup = backup_path(&self.file, self.version);
        atomic::write(&backup, self.text.as_bytes(), 0o600)?;
        let (file, backup) = (self.file.display(), backup.display());
        tracing::info!(%file, %backup, "migrated a file to the current schema version");
        Ok(())
    }
}

fn backup_path(file: &Path, version: u64) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".v{version}"));
    name.into()
}

#[derive(Serialize)]
struct FileContent<'a, T> {
    version: u64,
    release: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

/// Error of reading a versioned file. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// File that cannot be read or written.
    #[error("cannot use {}: {}; free some space, or fix its permissions, and start again", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    /// File with content that no release wrote.
    #[error("{} is damaged ({why}); restore it from a backup, or move it away: then {if_lost}", file.display())]
    Damaged {
        /// Path of the file.
        file: PathBuf,
        /// Parser's message.
        why: String,
        /// Consequence of losing the file.
        if_lost: &'static str,
    },
    /// File of a newer release.
    #[error("{0}")]
    Newer(String),
}

const VERSION: &str = "version";
const RELEASE: &str = "release";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SCHEMA: SchemaVersion = SchemaVersion {
        migrations: &[
            |_| {},
            |content| {
                let renamed = content.remove("colour").unwrap_or_default();
                content.insert("color".to_owned(), renamed);
            },
        ],
        if_lost: "all is grey",
    };

    type Content = BTreeMap<String, String>;

    fn content(color: &str) -> Content {
        [("color".to_owned(), color.to_owned())].into()
    }

    #[test]
    fn migrates_older_files_and_backs_them_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        for (text, version) in [
            (r#"{"version":1,"colour":"red"}"#, 1),
            (r#"{"version":2,"release":"0.0.2","colour":"red"}"#, 2),
        ] {
            std::fs::write(&file, text).unwrap();
            let (read, old) = SCHEMA.read::<Content>(&file).unwrap();
            assert_eq!(read.unwrap(), content("red"));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "reading changes nothing");
            old.unwrap().back_up().unwrap();
            let backup = folder.path().join(format!("state.json.v{version}"));
            assert_eq!(std::fs::read_to_string(backup).unwrap(), text);
        }
        SCHEMA.write(&file, &content("blue")).unwrap();
        let (read, old) = SCHEMA.read::<Content>(&file).unwrap();
        assert_eq!((read.unwrap(), old.is_none()), (content("blue"), true));
    }

    #[test]
    fn refuses_a_newer_file_and_names_its_release_and_the_backup() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let text = r#"{"version":4,"release":"9.8.7","hue":1}"#;
        std::fs::write(&file, text).unwrap();
        let message = || SCHEMA.read::<Content>(&file).unwrap_err().to_string();
        for part in [
            "regauthd 9.8.7",
            "version 4",
            PROGRAM,
            "nothing was changed",
            "Install that release",
        ] {
            assert!(message().contains(part), "{}", message());
        }
        assert!(!message().contains("state.json.v3"), "{}", message());
        std::fs::write(folder.path().join("state.json.v3"), "{}").unwrap();
        assert!(message().contains("state.json.v3 back in its place"), "{}", message());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }

    #[test]
    fn refuses_damaged_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        assert!(SCHEMA.read::<Content>(&file).unwrap().0.is_none());
        for text in ["", "{", "[]", "{}", r#"{"version":"3"}"#, r#"{"version":3,"color":7}"#] {
            std::fs::write(&file, text).unwrap();
            let error = SCHEMA.read::<Content>(&file).unwrap_err().to_string();
            assert!(error.contains("damaged") && error.contains("all is grey"), "{error}");
        }
    }
}
