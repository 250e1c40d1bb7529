//! `regauthctl` without a verb, at a terminal or with `--json`: the state in five lines, and the one next step that helps.

use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::{CredentialState, RegistryList, RegistryView, Status};
use regauth_shared::{ErrorBody, Request};
use serde::Serialize;

use super::registry_text;
use crate::client::Client;
use crate::output::{self, Report};
use crate::relative_time::relative;
use crate::{setup, team_file};

/// The state and the next step, for `--json`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Overview {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    registries: Vec<RegistryView>,
    clients: Vec<&'static str>,
    next: NextStep,
}

/// Next step for the person, with its reason.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct NextStep {
    why: String,
    step: String,
}

impl NextStep {
    fn new(why: impl Into<String>, step: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            step: step.into(),
        }
    }
}

/// Shows the overview. Without a daemon it says how to start one, and exits with 3.
pub(crate) fn run(client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let status: Status = match client.call(&Request::Status(Nothing {})) {
        Ok(reply) => reply.answer,
        Err(error) => return without_daemon(error, folders),
    };
    let list: RegistryList = client.call(&Request::List(Nothing {}))?.answer;
    let clients = clients(folders);
    let next = next_step(&status, &list.registries, &clients);
    let text = format!(
        "{}{}",
        describe(&status, &list.registries, &clients),
        describe_step(&next)
    );
    let overview = Overview {
        status: Some(status),
        registries: list.registries,
        clients,
        next,
    };
    Report::from_value(&overview, text)
}

fn without_daemon(error: ErrorBody, folders: &Folders) -> Result<Report, ErrorBody> {
    let exit_code = error.kind.exit_code();
    let hint = error.hint.unwrap_or_else(|| "regauthctl doctor".to_owned());
    let clients = clients(folders);
    let next = NextStep::new(error.message, hint);
    let text = format!(
        "{}{}",
        output::key_values([
            ("regauthd", "does not answer".to_owned()),
            ("clients", client_names(&clients))
        ]),
        describe_step(&next)
    );
    let overview = Overview {
        status: None,
        registries: Vec::new(),
        clients,
        next,
    };
    Ok(Report::from_value(&overview, text)?.with_exit_code(exit_code))
}

/// Five lines.
fn describe(status: &Status, registries: &[RegistryView], clients: &[&str]) -> String {
    let store = &status.store;
    output::key_values([
        (
            "regauthd",
            format!(
                "{} on {}, started {}",
                status.version,
                status.listen,
                relative(&status.started)
            ),
        ),
        (
            "store",
            format!("{}, {} ({})", store.kind, store.state, store.protection),
        ),
        ("registries", registry_names(registries)),
        ("clients", client_names(clients)),
        (
            "traffic",
            format!(
                "{} since it started, {} open",
                output::count(status.requests, "request", "requests"),
                output::count(status.connections, "connection", "connections"),
            ),
        ),
    ])
}

fn describe_step(next: &NextStep) -> String {
    format!("\n{}.\nnext: {}\n", next.why, next.step)
}

/// Registries that need attention first, since the line may be cut by a reader's eye.
fn registry_names(registries: &[RegistryView]) -> String {
    let describe = |view: &RegistryView| {
        let writes = view.writes_open_until.as_deref();
        let writes = writes.map_or_else(String::new, |until| format!(", writes close {}", relative(until)));
        format!(
            "{} ({}{writes})",
            view.name,
            registry_text::state(view.credential.state)
        )
    };
    let (ready, others): (Vec<_>, Vec<_>) = registries
        .iter()
        .partition(|view| view.credential.state == CredentialState::Ready);
    let all = others.into_iter().chain(ready).map(describe).collect::<Vec<_>>();
    match all.as_slice() {
        [] => "none".to_owned(),
        [shown @ .., _, _] if all.len() > MAX_NAMES => {
            let shown: Vec<_> = shown.iter().take(MAX_NAMES).cloned().collect();
            format!("{}, and {} more", shown.join(", "), all.len() - shown.len())
        }
        all => all.join(", "),
    }
}

fn clients(folders: &Folders) -> Vec<&'static str> {
    let names = setup::Tool::all().map(setup::Tool::name);
    names.filter(|tool| setup::is_set_up(tool, folders)).collect()
}

fn client_names(clients: &[&str]) -> String {
    match clients {
        [] => "none is set up".to_owned(),
        [one] => format!("{one} is set up"),
        several => format!("{} are set up", several.join(", ")),
    }
}

/// The first of these that applies: a problem, no registry, no client.
fn next_step(status: &Status, registries: &[RegistryView], clients: &[&str]) -> NextStep {
    if let Some(problem) = status.problems.first() {
        return NextStep::new(capitalized(&problem.message), &problem.hint);
    }
    if registries.is_empty() && team_file::is_in_repository() {
        return NextStep::new(
            "There is no registry yet, and this repository has a regauth.toml",
            "regauthctl add-registry --from .",
        );
    }
    if registries.is_empty() {
        return NextStep::new(
            "There is no registry yet",
            "regauthctl add-registry (asks for everything)",
        );
    }
    // Clients may also get the proxy from `regauthctl env` or `run`: then requests arrive.
    if clients.is_empty() && status.requests == 0 {
        let kind = registries.first().map_or("", |view| view.kind.as_str());
        return NextStep::new(
            "No client uses regauth yet",
            format!("regauthctl setup {}", tool_for(kind)),
        );
    }
    NextStep::new(
        "Nothing needs to be done",
        "regauthctl top (shows requests as they pass)",
    )
}

fn tool_for(kind: &str) -> &'static str {
    match kind {
        "git" => "git",
        "pypi" => "pip",
        "npm" => "npm",
        "maven" => "maven",
        "rubygems" => "gem",
        "cargo" => "cargo",
        _ => "shell",
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Names in the line of registries.
const MAX_NAMES: usize = 6;
