//! Lines that clap does not accept: its errors without the typed values, and hints for verbs of other programs.

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use regauth_shared::{ErrorBody, exit_code};

use super::registry_hints::{self, PartialLine};
use crate::error;
use crate::output;

/// Prints the help, the version or a usage error, and returns the exit code.
pub(super) fn finish_unparsed(mut clap: clap::Error, line: &PartialLine, json: bool) -> u8 {
    line.set_flags();
    match clap.kind() {
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion => {
            output::print(&output::help(&clap.render()), exit_code::DONE)
        }
        ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::print_styled_to_stderr(&output::help(&clap.render()));
            exit_code::USAGE
        }
        _ => {
            let with_hint = || registry_hints::usage_error(&clap, line);
            if let Some(error) = known_by_another_name(&clap).or_else(with_hint) {
                return output::finish(Err(error), json);
            }
            remove_values(&mut clap);
            output::finish(Err(usage_error(&clap.render().to_string())), json)
        }
    }
}

/// Error for a verb that people know from other programs, with what stands for it here.
fn known_by_another_name(error: &clap::Error) -> Option<ErrorBody> {
    if error.kind() != ClapErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let (name, hint) = OTHER_NAMES.iter().find(|(name, _)| name == verb)?;
    Some(error::usage(format!("there is no verb `{name}`")).hint(*hint))
}

/// Verbs of other programs, and what to do instead.
const OTHER_NAMES: [(&str, &str); 17] = [
    (
        "test",
        "`regauthctl verify` asks the registries about their tokens; `regauthctl doctor` checks the clients",
    ),
    ("ping", "`regauthctl status` shows whether the daemon runs"),
    (
        "whoami",
        "`regauthctl list` shows the registries; `regauthctl verify` asks them about their tokens",
    ),
    ("registries", "`regauthctl list`"),
    (
        "tokens",
        "no command shows a token; `regauthctl list` shows the state of each",
    ),
    (
        "undo",
        "`regauthctl setup CLIENT --undo`, or `regauthctl uninstall` for all",
    ),
    ("enable", "`regauthctl service install`, then `regauthctl setup`"),
    (
        "start",
        "`regauthctl service install` has it started when it is needed; by hand: `regauthd`",
    ),
    (
        "restart",
        "under systemd: systemctl --user restart regauthd; by hand: `regauthctl stop --wait`, then `regauthd`",
    ),
    ("install", "`regauthctl service install`, then `regauthctl setup`"),
    (
        "init",
        "`regauthctl add-registry` asks for all it needs; then `regauthctl setup`",
    ),
    (
        "update",
        "your package manager updates regauth; a new token for a registry: `regauthctl login NAME`",
    ),
    (
        "upgrade",
        "your package manager updates regauth; `regauthctl service install` then starts the new release",
    ),
    ("version", "regauthctl --version"),
    (
        "token",
        "no command shows a token; `regauthctl show NAME` shows its state, `regauthctl login NAME` replaces it",
    ),
    ("unset", "`regauthctl set NAME KEY --unset`"),
    (
        "publish",
        "open writes with `regauthctl allow NAME --for 5m`, then run cargo publish",
    ),
];

/// Removes typed values from clap's error, other than flags and choices from a list.
fn remove_values(error: &mut clap::Error) {
    let hidden = || ContextValue::String("…".to_owned());
    match error.kind() {
        ClapErrorKind::ValueValidation | ClapErrorKind::TooManyValues => {
            error.insert(ContextKind::InvalidValue, hidden());
        }
        ClapErrorKind::UnknownArgument => {
            // "to pass … as a value, use '-- …'": no verb takes such a value.
            error.remove(ContextKind::Suggested);
            let typed = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            if !typed.is_some_and(|typed| typed.starts_with('-')) {
                error.insert(ContextKind::InvalidArg, hidden());
            }
        }
        _ => {}
    }
}

/// Converts clap's error, whose paragraphs are the message, tips and the usage.
fn usage_error(rendered: &str) -> ErrorBody {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = rendered.split("\n\n").map(one_line);
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    let rest: Vec<_> = paragraphs.collect();
    let after = |label: &str| rest.iter().find_map(|text| text.strip_prefix(label).map(str::to_owned));
    let hint = after("tip: ").or_else(|| after("Usage: ").map(|usage| format!("usage: {usage}")));
    error::usage(message).hint(hint.unwrap_or_else(|| "`regauthctl help VERB` lists a verb's arguments".to_owned()))
}
