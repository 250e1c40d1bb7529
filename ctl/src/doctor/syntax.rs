//! Check that each client can read its own configuration: one bad line often stops the client altogether.
//!
//! Clients that read their files at every start are asked themselves. The files of the others are parsed as `setup` parses
//! them. A finding names file and line, and never quotes the line, which may hold a password.

use std::process::Command;

use regauth_shared::paths::Folders;

use super::context::DoctorContext;
use super::finding::Finding;
use crate::daemon_info::DaemonInfo;
use crate::program::on_path;
use crate::setup::{self, Tool};

/// Configuration that its client cannot read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnreadableConfiguration {
    /// Client of the configuration.
    pub(super) tool: Tool,
    /// Fault, with file and line.
    message: String,
    /// Next step for the person.
    remedy: String,
}

/// One finding for each configuration that its client cannot read.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let finding = |unreadable: &UnreadableConfiguration| {
        let code = match unreadable.tool {
            Tool::Git => "git-broken",
            _ => "client-broken",
        };
        let consequence = "a client that cannot read its configuration fails, or ignores all of it";
        Finding::new(code, unreadable.message.clone(), consequence, unreadable.remedy.clone())
    };
    context.unreadable.iter().map(finding).collect()
}

/// Finds the configurations of git, of clients of the registries and of clients that are set up, which cannot be read.
pub(super) fn find(info: &DaemonInfo, folders: &Folders) -> Vec<UnreadableConfiguration> {
    let is_asked = |tool: Tool| {
        tool == Tool::Git
            || setup::is_set_up(tool.name(), folders)
            || info.registries.iter().any(|view| tool.uses(view))
    };
    let by_client = CLIENTS.iter().filter(|(tool, ..)| is_asked(*tool));
    let mut found: Vec<_> = by_client
        .filter_map(|(tool, program, arguments)| ask(*tool, program, arguments))
        .collect();
    for (tool, error) in setup::unusable(folders, info) {
        if found.iter().all(|known| known.tool != tool) {
            found.push(UnreadableConfiguration {
                tool,
                message: format!("{}: {}", tool.name(), error.message),
                remedy: error.hint.unwrap_or_else(|| "correct the file".to_owned()),
            });
        }
    }
    found
}

/// Asks a client for something that makes it read its configuration.
fn ask(tool: Tool, program: &str, arguments: &[&str]) -> Option<UnreadableConfiguration> {
    let mut command = Command::new(on_path(program)?);
    let output = command
        .args(arguments)
        .env("LC_ALL", "C")
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .ok()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // gem goes on without the file that it could not read, so without the proxy.
    if output.status.success() && !stderr.contains("Failed to load ") {
        return None;
    }
    // A failure without a line has another cause, such as a cargo without this command.
    let line = line_in(&stderr)?;
    let file = file_in(&stderr)?;
    Some(UnreadableConfiguration {
        tool,
        message: format!("{} cannot read {file}: line {line} is no setting", tool.name()),
        remedy: format!("correct line {line} of {file}, then regauthctl doctor"),
    })
}

/// The line number that a client's message names: `line 8`, `[line  3]`, `line: 1` or `FILE:3:`.
fn line_in(message: &str) -> Option<u32> {
    let number = |text: &str| {
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    let after_word = message.match_indices("line").find_map(|(at, word)| {
        let rest = message.get(at + word.len()..)?;
        number(rest.trim_start_matches([' ', ':', '#']))
    });
    let after_file = || {
        let (_, rest) = message.split_once(&format!("{}:", file_in(message)?))?;
        number(rest)
    };
    after_word.or_else(after_file)
}

/// The file that a client's message names: after `in file`, or the first absolute path.
fn file_in(message: &str) -> Option<String> {
    if let Some((_, rest)) = message.split_once(" in file ") {
        return rest.lines().next().map(|file| file.trim().to_owned());
    }
    let mut before = ' ';
    for (at, character) in message.char_indices() {
        if character == '/' && matches!(before, ' ' | '\'' | '`' | '"') {
            let rest = message.get(at..)?;
            let end = rest.find(|c: char| match before {
                ' ' => c.is_whitespace() || matches!(c, ':' | ','),
                quote => c == quote,
            });
            return rest.get(..end.unwrap_or(rest.len())).map(str::to_owned);
        }
        before = character;
    }
    None
}

/// Clients that fail at a bad line, and a command that reads the configuration and changes nothing.
const CLIENTS: [(Tool, &str, &[&str]); 6] = [
    (Tool::Git, "git", &["config", "--list", "--name-only"]),
    (Tool::Cargo, "cargo", &["-Zunstable-options", "config", "get", "http"]),
    (Tool::Pip, "pip", &["config", "list"]),
    (Tool::Gem, "gem", &["environment", "remotesources"]),
    (Tool::Mercurial, "hg", &["--version"]),
    (Tool::Wget, "wget", &["--version"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_file_and_line_in_the_messages_of_clients() {
        let cargo = "error: could not load Cargo configuration\n\nCaused by:\n  could not parse TOML configuration in \
                     `/h/.cargo/config.toml`\n\nCaused by:\n  TOML parse error at line 3, column 6\n    |\n  3 | token = \
                     \"sentinel\n";
        let pip = "Configuration file could not be loaded.\nSource contains parsing errors: '/h/my conf/pip.conf'\n\t[line \
                   \u{20}3]: '[brok'\n";
        for (message, file, line) in [
            ("fatal: bad config line 8 in file /h/.gitconfig\n", "/h/.gitconfig", 8),
            ("fatal: bad config line 2 in file .git/config\n", ".git/config", 2),
            (cargo, "/h/.cargo/config.toml", 3),
            (pip, "/h/my conf/pip.conf", 3),
            (
                "Configuration file could not be loaded.\nFile contains no section headers.\nfile: '/h/pip.conf', line: 1\n'x'\n",
                "/h/pip.conf",
                1,
            ),
            (
                "Failed to load /h/.gemrc, (<unknown>): did not find expected node content while parsing a flow node at line 2 \
                 column 5\n",
                "/h/.gemrc",
                2,
            ),
            ("config error at /h/.hgrc:7: [brok\n", "/h/.hgrc", 7),
            ("wget: Syntax error in /h/.wgetrc at line 12.\n", "/h/.wgetrc", 12),
        ] {
            assert_eq!(
                (file_in(message).as_deref(), line_in(message)),
                (Some(file), Some(line)),
                "{message}"
            );
        }
        for other in ["error: no such command: `config`\n", "", "pip: command not found\n"] {
            assert_eq!((file_in(other), line_in(other)), (None, None), "{other}");
        }
    }
}
