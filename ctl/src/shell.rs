//! Formats environment variables in the syntax of each shell and of files such as dotenv.

use std::path::Path;

use clap::ValueEnum;
use serde_json::Value as Json;

use crate::environment::Variable;
use crate::output::one_line;

/// Shell, or other format of environment variables. The variants' docs are help texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// sh and dash; for bash and zsh too
    Sh,
    /// bash, and direnv's .envrc
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
    /// nushell: load-env
    Nu,
    /// PowerShell
    Powershell,
    /// NAME=value lines, for $GITHUB_ENV, docker --env-file and the like
    Dotenv,
    /// One JSON object
    Json,
}

impl Shell {
    /// Shell of the caller, by the variable `SHELL`.
    pub(crate) fn of_caller() -> Self {
        let shell = std::env::var("SHELL").unwrap_or_default();
        match Path::new(&shell).file_name().and_then(|name| name.to_str()) {
            Some("bash") => Self::Bash,
            Some("zsh") => Self::Zsh,
            Some("fish") => Self::Fish,
            Some("nu") => Self::Nu,
            Some("pwsh") => Self::Powershell,
            _ => Self::Sh,
        }
    }

    /// Shell that reads this profile file.
    pub(crate) fn of_profile(profile: &Path) -> Self {
        if profile.extension().is_some_and(|extension| extension == "fish") {
            Self::Fish
        } else {
            Self::Sh
        }
    }

    /// Name of the file with the environment.
    pub(crate) fn environment_file(self) -> &'static str {
        if self == Self::Fish { "env.fish" } else { "env.sh" }
    }

    /// Line of a profile that sources the file if it exists.
    pub(crate) fn source(self, file: &Path) -> String {
        let file = file.display().to_string();
        match self {
            Self::Fish => format!("test -r {0}; and source {0} # regauth", quote_fish(&file)),
            _ => format!("[ -r {0} ] && . {0} # regauth", quote_sh(&file)),
        }
    }

    /// Command that sources the file now.
    pub(crate) fn source_now(self, file: &Path) -> String {
        let file = file.display().to_string();
        match self {
            Self::Fish => format!("`source {}`", quote_fish(&file)),
            _ => format!("`. {}`", quote_sh(&file)),
        }
    }

    /// Script that sets the variables, and unsets those without a value.
    pub(crate) fn script(self, variables: &[Variable]) -> String {
        match self {
            Self::Json => {
                let object = variables
                    .iter()
                    .map(|(name, value)| (name.clone(), Json::from(value.clone())));
                format!("{}\n", Json::Object(object.collect()))
            }
            Self::Nu => {
                let pairs = variables.iter().filter_map(|(name, value)| {
                    let value = Json::from(value.as_deref()?);
                    Some(format!("{name}: {value}"))
                });
                format!("load-env {{ {} }}\n", pairs.collect::<Vec<_>>().join(", "))
            }
            _ => variables
                .iter()
                .map(|(name, value)| self.assignment(name, value.as_deref()))
                .collect(),
        }
    }

    /// Lines that a POSIX shell and most readers of environment files understand: `NAME=value`.
    pub(crate) fn assignments(variables: &[Variable]) -> String {
        let set = variables
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        set.map(|(name, value)| format!("{name}={}\n", quote_sh(value)))
            .collect()
    }

    fn assignment(self, name: &str, value: Option<&str>) -> String {
        match (self, value) {
            (Self::Fish, Some(value)) => format!("set -gx {name} {};\n", quote_fish(value)),
            (Self::Fish, None) => format!("set -e {name};\n"),
            (Self::Powershell, Some(value)) => format!("$env:{name} = '{}'\n", value.replace('\'', "''")),
            (Self::Powershell, None) => format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue\n"),
            (Self::Dotenv, value) => format!("{name}={}\n", value.unwrap_or_default()),
            (_, Some(value)) => format!("export {name}={}\n", quote_sh(value)),
            (_, None) => format!("unset {name}\n"),
        }
    }
}

/// Formats a command for POSIX shells, indented, with each flag and its value on a line of its own.
pub(crate) fn command(words: &[String]) -> String {
    let mut text = " ".to_owned();
    for word in words {
        text += if word.starts_with("--") { " \\\n      " } else { " " };
        text += &quote_sh(word);
    }
    text + "\n"
}

/// Indents each line.
pub(crate) fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// Quotes for POSIX shells, and so that fish reads the same: within single quotes, a backslash is special for fish alone.
///
/// zsh replaces a word that begins with `=` by the path of a program.
pub(crate) fn quote_sh(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+@,=".contains(c);
    if !text.is_empty() && !text.starts_with('=') && text.chars().all(plain) {
        return text.to_owned();
    }
    let quoted = |c: char| match c {
        '\'' => r"'\''".to_owned(),
        '\\' => r"'\\'".to_owned(),
        c => c.to_string(),
    };
    format!("'{}'", text.chars().map(quoted).collect::<String>())
}

/// A folder as a word of a command that a person may paste into any shell; `DIR` for a name that some shell, or the
/// output, would change.
pub(crate) fn folder_word(folder: &Path) -> String {
    let name = folder.to_str().filter(|name| one_line(name) == *name);
    let name = name.filter(|name| !name.contains(['\'', '"', '\\', '`']));
    name.map_or_else(|| "DIR".to_owned(), quote_sh)
}

/// Quotes for fish, which has two escapes within single quotes.
pub(crate) fn quote_fish(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SPECIAL_CHARACTERS: &str = "/a b/$HOME/`x`/it's \"so\"\\/ä";

    #[test]
    fn a_real_shell_reads_the_value_back() {
        let script = Shell::Sh.script(&[
            ("A".to_owned(), Some(SPECIAL_CHARACTERS.to_owned())),
            ("B".to_owned(), None),
        ]);
        let line = format!("{script}printf '%s|%s' \"$A\" \"${{B-none}}\"");
        let output = Command::new("sh").arg("-c").arg(line).env("B", "x").output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{SPECIAL_CHARACTERS}|none")
        );
    }

    #[test]
    fn every_shell_reads_a_quoted_word_back() {
        for shell in ["sh", "bash", "zsh", "fish"] {
            for word in [
                SPECIAL_CHARACTERS,
                "=ls",
                "~",
                "~root",
                "a\\'; echo b; '",
                "\\",
                "a\\\\'b\\",
            ] {
                let line = format!("printf '%s' {}", quote_sh(word));
                match Command::new(shell).arg("-c").arg(line).output() {
                    Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), word, "{shell}"),
                    // Not every machine has all of them.
                    Err(error) => assert!(shell != "sh", "{error}"),
                }
            }
        }
    }

    #[test]
    fn a_folder_is_named_only_if_every_shell_reads_the_name_alike() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        for (name, shown) in [
            (&b"/srv/regauth"[..], "/srv/regauth"),
            (b"/srv/my regauth", "'/srv/my regauth'"),
            (b"=ls", "'=ls'"),
            (b"~/regauth", "'~/regauth'"),
            (b"/srv/a'b", "DIR"),
            (b"/srv/a\\b", "DIR"),
            (b"/srv/a\nb", "DIR"),
            (b"/srv/a\x1bb", "DIR"),
            ("/srv/a\u{202e}b".as_bytes(), "DIR"),
            (b"/srv/a\xffb", "DIR"),
        ] {
            assert_eq!(folder_word(Path::new(OsStr::from_bytes(name))), shown);
        }
    }

    #[test]
    fn quotes_for_every_other_format() {
        let script = |shell: Shell| shell.script(&[("A".to_owned(), Some("it's \\".to_owned()))]);
        assert_eq!(script(Shell::Fish), "set -gx A 'it\\'s \\\\';\n");
        assert_eq!(script(Shell::Powershell), "$env:A = 'it''s \\'\n");
        assert_eq!(script(Shell::Nu), "load-env { A: \"it's \\\\\" }\n");
        assert_eq!(script(Shell::Json), "{\"A\":\"it's \\\\\"}\n");
        assert_eq!(script(Shell::Dotenv), "A=it's \\\n");
    }
}
