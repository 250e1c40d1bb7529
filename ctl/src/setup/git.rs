//! Git's configuration, edited by git itself on a copy: it knows its syntax, its quoting and its includes.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use regauth_shared::ErrorBody;
use tempfile::TempDir;

use super::format::{Done, Set, Setting, Unset, Value};
use crate::error;

/// Puts settings in; a key is `section`, `subsection`, `name`.
pub(super) fn set(text: &str, settings: &[Setting]) -> Result<Set, ErrorBody> {
    let mut done = Vec::new();
    if settings.is_empty() {
        let text = text.to_owned();
        return Ok(Set { text, done });
    }
    let copy = Copy::of(text)?;
    for setting in settings {
        let (key, ours) = (setting.key.join("."), setting.value.text());
        let before = copy.get(&key)?;
        let wanted = !matches!(setting.value, Value::Instead(_)) || before.is_some();
        if wanted && before.as_ref() != Some(&ours) {
            copy.put(&key, &ours)?;
            done.push(Done {
                key: setting.key.clone(),
                ours,
                before,
                element: None,
            });
        }
    }
    Ok(Set {
        text: copy.text()?,
        done,
    })
}

/// Takes out what was put in.
pub(super) fn unset(text: &str, done: &[Done]) -> Result<Unset, ErrorBody> {
    let copy = Copy::of(text)?;
    let mut kept = Vec::new();
    for done in done {
        let key = done.key.join(".");
        match (copy.get(&key)?, &done.before) {
            (Some(value), Some(before)) if value == done.ours => copy.put(&key, before)?,
            (Some(value), None) if value == done.ours => copy.remove(&key)?,
            (Some(_), _) => kept.push(key),
            (None, _) => {}
        }
    }
    Ok(Unset {
        text: copy.text()?,
        kept,
    })
}

/// A copy that nobody else can read, gone when dropped.
struct Copy {
    _folder: TempDir,
    file: PathBuf,
}

impl Copy {
    fn of(text: &str) -> Result<Self, ErrorBody> {
        let folder = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir()
            .map_err(error::io("cannot make a temporary folder"))?;
        let file = folder.path().join("config");
        fs::write(&file, text).map_err(error::io("cannot write a temporary file"))?;
        Ok(Self { _folder: folder, file })
    }

    fn text(&self) -> Result<String, ErrorBody> {
        fs::read_to_string(&self.file).map_err(error::io("cannot read what git wrote"))
    }

    fn get(&self, key: &str) -> Result<Option<String>, ErrorBody> {
        let output = self.git(&["--get", key])?;
        match output.status.code() {
            Some(0) => {
                let value = String::from_utf8_lossy(&output.stdout);
                Ok(Some(value.strip_suffix('\n').unwrap_or(&value).to_owned()))
            }
            // git-config(1): the section or key is not there.
            Some(1) => Ok(None),
            _ => Err(refused(&output)),
        }
    }

    fn put(&self, key: &str, value: &str) -> Result<(), ErrorBody> {
        self.edit(&["--replace-all", key, value])
    }

    fn remove(&self, key: &str) -> Result<(), ErrorBody> {
        self.edit(&["--unset-all", key])
    }

    fn edit(&self, arguments: &[&str]) -> Result<(), ErrorBody> {
        let output = self.git(arguments)?;
        if output.status.success() {
            Ok(())
        } else {
            Err(refused(&output))
        }
    }

    fn git(&self, arguments: &[&str]) -> Result<Output, ErrorBody> {
        let mut git = Command::new("git");
        git.args([OsStr::new("config"), OsStr::new("--file"), self.file.as_os_str()]);
        git.args(arguments).current_dir("/");
        git.output().map_err(error::io("cannot run git"))
    }
}

fn refused(output: &Output) -> ErrorBody {
    let said = String::from_utf8_lossy(&output.stderr);
    error::failed(format!("git cannot edit its configuration: {}", said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str =
        "# mine\n[user]\n\tname = Me # really\n[http \"https://git.example/\"]\n\tproxy = http://corp:3128\n";

    #[test]
    fn git_keeps_comments_and_puts_old_values_back() {
        let text = |key: &str, value: &str| Setting {
            key: vec!["http".to_owned(), "https://git.example/".to_owned(), key.to_owned()],
            value: Value::Text(value.to_owned()),
        };
        let set = set(
            CONFIG,
            &[text("proxy", "http://127.0.0.1:9001"), text("sslCAInfo", "/b.pem")],
        )
        .unwrap();
        assert!(
            set.text.starts_with("# mine\n[user]\n\tname = Me # really\n"),
            "{}",
            set.text
        );
        assert!(set.text.contains("sslCAInfo = /b.pem"), "{}", set.text);
        let edited = set.text.replace("Me", "You");
        let unset = unset(&edited, &set.done).unwrap();
        assert_eq!(unset.text, CONFIG.replace("Me", "You"));
    }
}
