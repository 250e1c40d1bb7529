//! `regauthctl setup` without a client: which clients were found, which are set up, and what is next.

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use serde::Serialize;

use crate::client::Client;
use crate::daemon_info::DaemonInfo;
use crate::output::{self, Report};
use crate::setup::{self, Tool};

/// The list, for `--json`.
#[derive(Serialize)]
struct ClientList {
    clients: Vec<ClientView>,
    next: String,
}

/// One client.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ClientView {
    name: &'static str,
    found: bool,
    state: State,
    /// Registries that the client uses.
    registries: Vec<String>,
}

/// State of a client's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Set up, with the daemon's present settings.
    SetUp,
    /// Set up, with other settings than the daemon's present ones.
    Outdated,
    /// Not set up.
    NotSetUp,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            Self::SetUp => "set up",
            Self::Outdated => "outdated",
            Self::NotSetUp => "not set up",
        }
    }
}

/// Lists the clients. Without a daemon it says so, and exits with 3.
pub(super) fn run(client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let info = DaemonInfo::fetch(client, folders);
    let clients = views(info.as_ref().ok(), folders);
    let next = match &info {
        Ok(info) => next_step(info, &clients),
        Err(error) => error.hint.clone().unwrap_or_else(|| "regauthctl doctor".to_owned()),
    };
    let text = format!("{}\nnext: {next}\n", table(&clients));
    let report = Report::from_value(&ClientList { clients, next }, text)?;
    Ok(match info {
        Ok(_) => report,
        Err(error) => report.with_exit_code(error.kind.exit_code()),
    })
}

fn views(info: Option<&DaemonInfo>, folders: &Folders) -> Vec<ClientView> {
    let outdated = info.map_or_else(Vec::new, |info| setup::outdated(folders, info));
    let view = |tool: Tool| {
        let state = match setup::is_set_up(tool.name(), folders) {
            true if outdated.contains(&tool.name()) => State::Outdated,
            true => State::SetUp,
            false => State::NotSetUp,
        };
        let registries = info.into_iter().flat_map(|info| &info.registries);
        let used = registries
            .filter(|view| tool.uses(view))
            .map(|view| view.name.to_string());
        ClientView {
            name: tool.name(),
            found: tool.is_found(),
            state,
            registries: used.collect(),
        }
    };
    Tool::all().map(view).collect()
}

fn table(clients: &[ClientView]) -> String {
    let heading = ["CLIENT", "FOUND", "STATE", "REGISTRIES"].map(str::to_owned).to_vec();
    let row = |client: &ClientView| {
        let found = if client.found { "yes" } else { "no" };
        let registries = match client.registries.as_slice() {
            [] => "-".to_owned(),
            [first, _, _, ..] => format!("{first} and {} more", client.registries.len() - 1),
            few => few.join(", "),
        };
        let words = [client.name, found, client.state.text(), &registries];
        words.map(str::to_owned).to_vec()
    };
    let rows: Vec<_> = std::iter::once(heading).chain(clients.iter().map(row)).collect();
    output::table(&rows)
}

/// The first of these that applies: no registry, an outdated setup, clients of a registry that are not set up.
fn next_step(info: &DaemonInfo, clients: &[ClientView]) -> String {
    if info.registries.is_empty() {
        return "regauthctl add-registry".to_owned();
    }
    if let Some(outdated) = clients.iter().find(|client| client.state == State::Outdated) {
        return format!("regauthctl setup {}", outdated.name);
    }
    let is_open =
        |client: &&ClientView| client.found && client.state == State::NotSetUp && !client.registries.is_empty();
    let open: Vec<_> = clients
        .iter()
        .filter(is_open)
        .filter(|client| client.name != Tool::Shell.name())
        .collect();
    match open.as_slice() {
        [] => "regauthctl doctor (checks that each client gets through)".to_owned(),
        [one] => format!("regauthctl setup {}", one.name),
        several => {
            let names: Vec<_> = several.iter().map(|client| client.name).collect();
            format!(
                "regauthctl setup --all (or one of {}; --dry-run shows the changes)",
                names.join(", ")
            )
        }
    }
}
