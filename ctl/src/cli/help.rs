//! The help of the whole program: its verbs in groups.

use clap::{Command, CommandFactory};

use super::Cli;
use crate::output;

/// Command line with its verbs in groups: clap has one heading for all of them.
pub(super) fn command() -> Command {
    let command = Cli::command();
    let heading = *command.get_styles().get_header();
    let width = output::width().map_or(WIDTH_WITHOUT_TERMINAL, usize::from);
    let mut verbs = String::new();
    for (group, names) in GROUPS {
        verbs += &format!("{heading}{group}:{heading:#}\n");
        for verb in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let about = output::fill(&about, width, VERB_COLUMN, VERB_COLUMN);
            verbs += &format!("  {:<15}  {about}\n", verb.get_name());
        }
        verbs += "\n";
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{verbs}{heading}Options:{heading:#}\n{{options}}{{after-help}}"
    ))
}

/// Column in which the descriptions of verbs begin.
const VERB_COLUMN: usize = 19;
/// As clap has it.
const WIDTH_WITHOUT_TERMINAL: usize = 100;

/// Groups of verbs in the order of the help.
pub(super) const GROUPS: [(&str, &[&str]); 8] = [
    (
        "Registries",
        &[
            "add-registry",
            "add-scope",
            "confirm",
            "import",
            "export",
            "set",
            "edit",
            "remove-registry",
            "list",
            "show",
        ],
    ),
    ("Tokens", &["login", "logout", "rotate", "verify"]),
    ("Writes", &["allow", "deny"]),
    ("Clients", &["setup", "env", "run", "doctor", "explain"]),
    ("Other clients", &["grant", "grants", "revoke", "forward"]),
    ("What happens", &["watch", "audit", "metrics"]),
    (
        "The daemon",
        &[
            "status",
            "top",
            "store",
            "upstream",
            "logs",
            "log",
            "unlock",
            "reload",
            "stop",
            "service",
            "uninstall",
        ],
    ),
    ("For packagers", &["completions", "man"]),
];
