//! Name of a program that may use a registry.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// File name of an executable, or its absolute path. [`regauth_shared::program::matches`] compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramName(String);

impl Deref for ProgramName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProgramName {
    type Err = InvalidProgramName;

    fn from_str(text: &str) -> Result<Self, InvalidProgramName> {
        if let Some((name, runtime)) = SCRIPTS.iter().find(|(name, _)| *name == text) {
            return Err(InvalidProgramName::Script(name, runtime));
        }
        let is_name = !text.is_empty() && (!text.contains('/') || text.starts_with('/'));
        if is_name && !text.contains(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidProgramName::Malformed)
        }
    }
}

/// Error of a text that names no program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProgramName {
    /// Neither a file name nor an absolute path.
    #[error("a program is the file name of its executable, or its absolute path")]
    Malformed,
    /// Script, which the kernel knows by its interpreter only.
    #[error("{0} is a script, and the kernel names the program that runs it: write \"{1}\"")]
    Script(&'static str, &'static str),
}

/// Scripts, and the executables that run them.
const SCRIPTS: [(&str, &str); 9] = [
    ("npm", "node"),
    ("npx", "node"),
    ("pnpm", "node"),
    ("yarn", "node"),
    ("pip", "python3"),
    ("pip3", "python3"),
    ("poetry", "python3"),
    ("twine", "python3"),
    ("mvn", "java"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_a_file_name_or_an_absolute_path() {
        for text in ["cargo", "/usr/bin/cargo", "python3.11", "node"] {
            assert_eq!(text.parse::<ProgramName>().unwrap().to_string(), text);
        }
        for text in ["", "bin/cargo", "./cargo", "a\nb"] {
            assert_eq!(
                text.parse::<ProgramName>(),
                Err(InvalidProgramName::Malformed),
                "{text:?}"
            );
        }
        let script = "npm".parse::<ProgramName>().unwrap_err();
        assert!(script.to_string().contains("\"node\""), "{script}");
    }
}
