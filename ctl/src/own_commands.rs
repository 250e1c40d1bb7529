//! Commands of regauthctl in texts for a person: each leads to the daemon that this command was about.
//!
//! Texts name commands without flags, as `regauthctl login corp`; most come from the daemon, which knows no flags. If this
//! command had `--home DIR` or `--system`, they get the same flag when they are printed.

use std::path::Path;
use std::sync::OnceLock;

use regauth_shared::ErrorBody;

use crate::shell::folder_word;

/// Sets the flags of this process. Only the first call counts.
///
/// The value of `--home` is repeated only if it is a folder: anything else may be a misplaced token.
pub(crate) fn set_flags(home: Option<&Path>, system: bool) {
    let flags = match home {
        _ if system => Flags::System,
        Some(home) if home.is_dir() => Flags::Home(folder_word(home)),
        Some(_) => Flags::Home("DIR".to_owned()),
        None => Flags::None,
    };
    let _ = FLAGS.set(flags);
}

/// Adds this process's flags to the commands in a text.
pub(crate) fn with_flags(text: &str) -> String {
    FLAGS.get().unwrap_or(&Flags::None).added_to(text)
}

/// Adds this process's flags to the commands in an error.
pub(crate) fn with_flags_in_error(mut error: ErrorBody) -> ErrorBody {
    error.message = with_flags(&error.message);
    error.hint = error.hint.map(|hint| with_flags(&hint));
    error
}

/// Flags that choose the daemon.
enum Flags {
    None,
    System,
    /// The folder, in quotation marks where a shell needs them.
    Home(String),
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

impl Flags {
    fn added_to(&self, text: &str) -> String {
        let flags = match self {
            Self::None => return text.to_owned(),
            Self::System => "--system",
            Self::Home(folder) => &format!("--home {folder}"),
        };
        let text: String = text.split_inclusive('\n').map(|line| self.add(flags, line)).collect();
        match self {
            Self::Home(_) => text.replace(DAEMON, &format!("`regauthd {flags}`")),
            _ => text,
        }
    }

    fn add(&self, flags: &str, line: &str) -> String {
        let mut added = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once(PROGRAM) {
            added += before;
            added += PROGRAM;
            if self.belong_to(&added, after) {
                added += flags;
                added.push(' ');
            }
            rest = after;
        }
        added + rest
    }

    /// True for a command that is about this daemon. `before` ends with the program's name.
    fn belong_to(&self, before: &str, after: &str) -> bool {
        let before = before.strip_suffix(PROGRAM).unwrap_or(before);
        let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || "-/_.".contains(c));
        let is_elsewhere = before.ends_with("sudo ") || ELSEWHERE.iter().any(|place| before.contains(place));
        let verb = after.split(|c: char| !c.is_ascii_lowercase() && c != '-').next();
        let command = after.split('`').next().unwrap_or_default();
        let has_flags = command.contains(" --home") || command.contains(" --system");
        is_word && !is_elsewhere && !has_flags && verb.is_some_and(|verb| self.are_taken_by(verb))
    }

    fn are_taken_by(&self, verb: &str) -> bool {
        match self {
            Self::None => false,
            Self::System => VERBS.contains(&verb),
            Self::Home(_) => VERBS.contains(&verb) || VERBS_OF_A_USER.contains(&verb),
        }
    }
}

/// Name of the program, before a verb.
const PROGRAM: &str = "regauthctl ";
/// Command that starts a daemon. Without backticks, the name is a word of a sentence.
const DAEMON: &str = "`regauthd`";
/// Verbs for every daemon. `service` is not one of them: it names its daemon itself.
const VERBS: [&str; 31] = [
    "add-registry",
    "add-scope",
    "allow",
    "audit",
    "confirm",
    "deny",
    "edit",
    "export",
    "grant",
    "grants",
    "import",
    "list",
    "log",
    "login",
    "logout",
    "logs",
    "metrics",
    "reload",
    "remove-registry",
    "revoke",
    "rotate",
    "set",
    "show",
    "status",
    "stop",
    "store",
    "top",
    "unlock",
    "upstream",
    "verify",
    "watch",
];
/// Verbs that `--system` excludes.
const VERBS_OF_A_USER: [&str; 5] = ["doctor", "env", "run", "setup", "uninstall"];
/// Beginnings of sentences about a daemon on another machine.
const ELSEWHERE: [&str; 3] = ["on the gateway", "where regauthd runs", "gateway's log"];

#[cfg(test)]
mod tests {
    use super::*;

    fn at_home(text: &str) -> String {
        Flags::Home("'/srv/my regauth'".to_owned()).added_to(text)
    }

    #[test]
    fn every_command_of_a_text_gets_the_flag() {
        assert_eq!(
            at_home("hint: `regauthctl login corp` replaces it;\nor (regauthctl show corp)\n"),
            "hint: `regauthctl --home '/srv/my regauth' login corp` replaces it;\nor (regauthctl --home '/srv/my regauth' show \
             corp)\n"
        );
        assert_eq!(
            Flags::System.added_to("regauthctl reload, then `regauthctl doctor`"),
            "regauthctl --system reload, then `regauthctl doctor`"
        );
        assert_eq!(Flags::None.added_to("regauthctl reload"), "regauthctl reload");
        assert_eq!(
            at_home("by hand: `regauthd`"),
            "by hand: `regauthd --home '/srv/my regauth'`"
        );
        assert_eq!(Flags::System.added_to("by hand: `regauthd`"), "by hand: `regauthd`");
    }

    #[test]
    fn a_text_that_is_no_command_for_this_daemon_stays() {
        for text in [
            "regauthctl would remove a unit of the package",
            "regauthctl: not found",
            "/usr/bin/regauthctl status",
            "my-regauthctl status",
            "regauthctl --version",
            "`regauthctl explain grant-required`",
            "sudo regauthctl service install --system",
            "sudo regauthctl upstream URL",
            "as ada, regauthctl service uninstall",
            "`regauthctl list --home /elsewhere`",
            "`regauthctl --home '/srv/my regauth' list`",
            "on the gateway: regauthctl status",
        ] {
            assert_eq!(at_home(text), text);
        }
    }

    #[test]
    fn every_verb_of_the_daemon_is_known() {
        let of_daemon = crate::cli::verbs_of_the_daemon();
        let known = |verb: &str| VERBS.contains(&verb) || VERBS_OF_A_USER.contains(&verb);
        let unknown: Vec<_> = of_daemon.iter().filter(|verb| !known(verb)).collect();
        assert_eq!(unknown, ["service"]);
    }
}
