//! Git's configuration, edited by git on a private copy: git knows its own syntax, quoting and includes.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use regauth_shared::ErrorBody;
use tempfile::TempDir;

use super::setting::{Applied, AppliedSetting, Reverted, Setting, SettingValue};
use crate::error;

/// Applies settings. A key is section, subsection and name.
///
/// # Errors
/// Git is missing, or does not accept the text.
pub(super) fn apply(text: &str, settings: &[Setting]) -> Result<Applied, ErrorBody> {
    let mut applied = Vec::new();
    if settings.is_empty() {
        let text = text.to_owned();
        return Ok(Applied {
            text,
            settings: applied,
        });
    }
    let copy = ConfigCopy::new(text)?;
    for setting in settings {
        let (key, written) = (setting.key.join("."), setting.value.text());
        let before = copy.get(&key)?;
        let wanted = !matches!(setting.value, SettingValue::ReplaceOnly(_)) || before.is_some();
        if wanted && before.as_ref() != Some(&written) {
            copy.set(&key, &written)?;
            applied.push(AppliedSetting {
                key: setting.key.clone(),
                written,
                before,
                element: None,
            });
        }
    }
    Ok(Applied {
        text: copy.text()?,
        settings: applied,
    })
}

/// Reverts settings.
///
/// # Errors
/// As [`apply`].
pub(super) fn revert(text: &str, applied: &[AppliedSetting]) -> Result<Reverted, ErrorBody> {
    let copy = ConfigCopy::new(text)?;
    let mut kept = Vec::new();
    for setting in applied {
        let key = setting.key.join(".");
        match (copy.get(&key)?, &setting.before) {
            (Some(value), Some(before)) if value == setting.written => copy.set(&key, before)?,
            (Some(value), None) if value == setting.written => copy.unset(&key)?,
            (Some(_), _) => kept.push(key),
            (None, _) => {}
        }
    }
    Ok(Reverted {
        text: copy.text()?,
        kept,
    })
}

/// Copy of a configuration in a folder of mode 0700, removed on drop.
struct ConfigCopy {
    _folder: TempDir,
    file: PathBuf,
}

impl ConfigCopy {
    fn new(text: &str) -> Result<Self, ErrorBody> {
        let folder = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir()
            .map_err(error::io("cannot create a temporary folder"))?;
        let file = folder.path().join("config");
        fs::write(&file, text).map_err(error::io("cannot write a temporary file"))?;
        Ok(Self { _folder: folder, file })
    }

    fn text(&self) -> Result<String, ErrorBody> {
        fs::read_to_string(&self.file).map_err(error::io("cannot read the configuration that git wrote"))
    }

    fn get(&self, key: &str) -> Result<Option<String>, ErrorBody> {
        let output = self.run_git(&["--get", key])?;
        match output.status.code() {
            Some(0) => {
                let value = String::from_utf8_lossy(&output.stdout);
                Ok(Some(value.strip_suffix('\n').unwrap_or(&value).to_owned()))
            }
            // The section or key does not exist (git-config(1)).
            Some(1) => Ok(None),
            _ => Err(edit_error(&output)),
        }
    }

    fn set(&self, key: &str, value: &str) -> Result<(), ErrorBody> {
        self.edit(&["--replace-all", key, value])
    }

    fn unset(&self, key: &str) -> Result<(), ErrorBody> {
        self.edit(&["--unset-all", key])
    }

    fn edit(&self, arguments: &[&str]) -> Result<(), ErrorBody> {
        let output = self.run_git(arguments)?;
        if output.status.success() {
            Ok(())
        } else {
            Err(edit_error(&output))
        }
    }

    fn run_git(&self, arguments: &[&str]) -> Result<Output, ErrorBody> {
        let mut git = Command::new("git");
        git.args([OsStr::new("config"), OsStr::new("--file"), self.file.as_os_str()]);
        // Outside of any repository, so that no project's configuration counts.
        git.args(arguments).current_dir("/");
        git.output().map_err(error::io("cannot run git"))
    }
}

fn edit_error(output: &Output) -> ErrorBody {
    let stderr = String::from_utf8_lossy(&output.stderr);
    error::failed(format!("git cannot edit its configuration: {}", stderr.trim()))
        .hint("fix the configuration, or move it away, and try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str =
        "# mine\n[user]\n\tname = Me # really\n[http \"https://git.example/\"]\n\tproxy = http://corp:3128\n";

    #[test]
    fn keeps_comments_and_restores_previous_values() {
        let text = |key: &str, value: &str| Setting {
            key: vec!["http".to_owned(), "https://git.example/".to_owned(), key.to_owned()],
            value: SettingValue::Text(value.to_owned()),
        };
        let applied = apply(
            CONFIG,
            &[text("proxy", "http://127.0.0.1:9001"), text("sslCAInfo", "/b.pem")],
        )
        .unwrap();
        assert!(
            applied.text.starts_with("# mine\n[user]\n\tname = Me # really\n"),
            "{}",
            applied.text
        );
        assert!(applied.text.contains("sslCAInfo = /b.pem"), "{}", applied.text);
        let edited = applied.text.replace("Me", "You");
        let reverted = revert(&edited, &applied.settings).unwrap();
        assert_eq!(reverted.text, CONFIG.replace("Me", "You"));
    }
}
