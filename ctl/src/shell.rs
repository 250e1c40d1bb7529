//! Variables in the words of each shell, and of what reads them as a shell does.

use std::path::Path;

use clap::ValueEnum;
use serde_json::Value as Json;

use crate::environment::Variable;

/// A shell, or what reads variables as a shell does.
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
    /// The caller's, by `SHELL`.
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

    /// The shell that reads this profile.
    pub(crate) fn of_profile(profile: &Path) -> Self {
        if profile.extension().is_some_and(|extension| extension == "fish") {
            Self::Fish
        } else {
            Self::Sh
        }
    }

    /// What the file with the environment is called.
    pub(crate) fn environment_file(self) -> &'static str {
        if self == Self::Fish { "env.fish" } else { "env.sh" }
    }

    /// The line of a profile that reads that file, if it is there.
    pub(crate) fn source(self, file: &Path) -> String {
        let file = file.display().to_string();
        match self {
            Self::Fish => format!("test -r {0}; and source {0} # regauth", in_fish(&file)),
            _ => format!("[ -r {0} ] && . {0} # regauth", in_sh(&file)),
        }
    }

    /// The variables in its words.
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

    fn assignment(self, name: &str, value: Option<&str>) -> String {
        match (self, value) {
            (Self::Fish, Some(value)) => format!("set -gx {name} {};\n", in_fish(value)),
            (Self::Fish, None) => format!("set -e {name};\n"),
            (Self::Powershell, Some(value)) => format!("$env:{name} = '{}'\n", value.replace('\'', "''")),
            (Self::Powershell, None) => format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue\n"),
            (Self::Dotenv, value) => format!("{name}={}\n", value.unwrap_or_default()),
            (_, Some(value)) => format!("export {name}={}\n", in_sh(value)),
            (_, None) => format!("unset {name}\n"),
        }
    }
}

/// Within single quotes nothing has a meaning but the single quote.
fn in_sh(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+@,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Within single quotes fish knows two escapes.
fn in_fish(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const NASTY: &str = "/a b/$HOME/`x`/it's \"so\"\\/ä";

    #[test]
    fn a_real_shell_reads_back_what_was_meant() {
        let script = Shell::Sh.script(&[("A".to_owned(), Some(NASTY.to_owned())), ("B".to_owned(), None)]);
        let line = format!("{script}printf '%s|%s' \"$A\" \"${{B-none}}\"");
        let output = Command::new("sh").arg("-c").arg(line).env("B", "x").output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{NASTY}|none"));
    }

    #[test]
    fn other_shells_have_other_quotes() {
        let one = |shell: Shell| shell.script(&[("A".to_owned(), Some("it's \\".to_owned()))]);
        assert_eq!(one(Shell::Fish), "set -gx A 'it\\'s \\\\';\n");
        assert_eq!(one(Shell::Powershell), "$env:A = 'it''s \\'\n");
        assert_eq!(one(Shell::Nu), "load-env { A: \"it's \\\\\" }\n");
        assert_eq!(one(Shell::Json), "{\"A\":\"it's \\\\\"}\n");
        assert_eq!(one(Shell::Dotenv), "A=it's \\\n");
    }
}
