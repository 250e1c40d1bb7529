//! The person's editor: `$VISUAL`, `$EDITOR`, or one that is installed.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::Command;

use regauth_shared::ErrorBody;

use crate::error;
use crate::program::on_path;

/// Command line of an editor, as in `$EDITOR`.
pub(super) struct Editor(String);

impl Editor {
    /// Finds the editor. Without a terminal it must be named: a script may name a program that needs none, such as `ed`.
    ///
    /// # Errors
    /// No variable names one, and there is no terminal or none is installed.
    pub(super) fn find() -> Result<Self, ErrorBody> {
        let named = ["VISUAL", "EDITOR"].into_iter().find_map(|name| {
            let value = std::env::var(name).ok()?;
            (!value.trim().is_empty()).then_some(value)
        });
        let is_at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if named.is_none() && !is_at_terminal {
            return Err(error::usage("an editor needs a terminal, and there is none").hint(
                "`regauthctl set NAME KEY VALUE` changes a setting from a script; EDITOR=PROGRAM names an editor that needs no \
                 terminal",
            ));
        }
        let installed = || {
            USUAL
                .into_iter()
                .find(|name| on_path(name).is_some())
                .map(str::to_owned)
        };
        let missing = || error::failed("there is no editor: neither $VISUAL nor $EDITOR is set, and none is installed");
        named
            .or_else(installed)
            .map(Self)
            .ok_or_else(|| missing().hint("name one: EDITOR=nano regauthctl edit"))
    }

    /// Opens a file and waits until the editor ends.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub(super) fn open(&self, file: &Path, line: Option<usize>) -> Result<(), ErrorBody> {
        let mut command = Command::new("sh");
        // As git does it: the variable may have arguments, and the shell splits them.
        command.args(["-c", &format!("exec {} \"$@\"", self.0), "sh"]);
        if let Some(line) = line.filter(|_| self.takes_line()) {
            command.arg(format!("+{line}"));
        }
        let status = command.arg(file).status().map_err(error::io("cannot start a shell"))?;
        if status.success() {
            return Ok(());
        }
        Err(
            error::failed(format!("the editor failed: {}; nothing was changed", self.0))
                .hint("set $EDITOR to your editor, such as EDITOR=nano"),
        )
    }

    /// True for editors that open a file at a line with `+LINE`.
    fn takes_line(&self) -> bool {
        let program = self.0.split_whitespace().next().unwrap_or_default();
        let name = Path::new(program).file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| TAKES_LINE.contains(&name))
    }
}

const USUAL: [&str; 4] = ["sensible-editor", "editor", "nano", "vi"];
const TAKES_LINE: [&str; 11] = [
    "vi",
    "vim",
    "nvim",
    "view",
    "nano",
    "pico",
    "emacs",
    "emacsclient",
    "micro",
    "joe",
    "kak",
];
