//! Agreement of a person to a change of the configuration: shows what changes, asks about what widens, makes the change.

use regauth_shared::response::{ConfigurationChange, ConfigurationChanged};
use regauth_shared::{ErrorBody, Request};

use crate::client::{Client, Reply};
use crate::output::{self, Report};
use crate::{error, prompt};

/// Flag of every verb that may widen where a token goes.
#[derive(clap::Args)]
pub(crate) struct Agreement {
    /// Agree to what is shown, without a question
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// Step of a change: its check, or the change itself after what the person has seen.
#[derive(Default)]
pub(super) struct Step {
    /// Report only.
    pub(super) check: bool,
    /// The person has agreed to what widens.
    pub(super) widen: bool,
    /// Digest of the changes that the person was shown.
    pub(super) reviewed: Option<String>,
}

/// Checks a change, asks the person if it widens anything, and makes it. `request` builds the request of a step.
///
/// # Errors
/// `refused` if nobody agrees; those of the daemon.
pub(super) fn change(
    client: &Client,
    agreement: &Agreement,
    request: impl Fn(Step) -> Request,
) -> Result<Report, ErrorBody> {
    let check = Step {
        check: true,
        ..Step::default()
    };
    let checked: Reply<ConfigurationChanged> = client.call(&request(check))?;
    let widen = checked.answer.changes.iter().any(|change| change.widens.is_some());
    let is_shown = widen || client.will_ask_at_terminal(&request(Step::default()))?;
    if widen {
        agree(agreement, &listed(&checked.answer))?;
    } else if is_shown {
        output::print_to_stderr(&listed(&checked.answer));
    }
    let change = Step {
        check: false,
        widen,
        reviewed: checked.answer.review.filter(|_| is_shown),
    };
    let changed = client.call(&request(change))?;
    Ok(Report::from_reply(changed, describe))
}

/// Asks the person to agree to changes that widen.
///
/// # Errors
/// `refused`, if the person says no, or there is nobody to ask and no `--yes`.
fn agree(agreement: &Agreement, changes: &str) -> Result<(), ErrorBody> {
    if agreement.yes {
        return Ok(());
    }
    if !prompt::is_interactive() {
        let message = format!("the change needs your agreement:\n{changes}");
        return Err(error::refused(message.trim_end()).hint("nothing was changed; repeat with --yes to agree"));
    }
    output::print_to_stderr(changes);
    match prompt::confirm("Make this change?")? {
        true => Ok(()),
        false => Err(error::refused("nothing was changed")),
    }
}

fn describe(changed: &ConfigurationChanged) -> String {
    let title = match (changed.applied, changed.changes.is_empty()) {
        (true, false) => "Changed:\n",
        (true, true) => "Saved; no registry changed.\n",
        (false, _) => "Nothing to change.\n",
    };
    format!("{title}{}{}", listed(changed), output::notes(&changed.notes))
}

/// All changes of an answer as lines.
pub(super) fn listed(changed: &ConfigurationChanged) -> String {
    table(&changed.changes) + &settings(&changed.settings)
}

/// Changed settings outside of the registries, on one line; empty if there are none.
pub(super) fn settings(keys: &[String]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    format!("  settings: {}\n", keys.join(", "))
}

/// Changes as aligned lines, each followed by what it widens.
pub(super) fn table(changes: &[ConfigurationChange]) -> String {
    let rows: Vec<_> = changes.iter().map(row).collect();
    let lines = output::aligned(&rows);
    let lines = lines.lines().zip(changes).map(|(line, change)| {
        let widens = change.widens.as_deref();
        let widens = widens.map_or_else(String::new, |widens| format!("      which means: {widens}\n"));
        format!("  {line}\n{widens}")
    });
    lines.collect()
}

fn row(change: &ConfigurationChange) -> Vec<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(default)".to_owned());
    let (key, change_of_value) = match (&change.key, &change.before, &change.after) {
        (Some(key), before, after) => (key.as_str(), format!("{} -> {}", value(before), value(after))),
        (None, _, Some(scopes)) => ("new", scopes.clone()),
        (None, _, None) => ("removed", value(&change.before)),
    };
    vec![change.registry.to_string(), key.to_owned(), change_of_value]
}
