//! `regauthctl remove-registry`.

use std::path::Path;

use regauth_shared::paths::Folders;
use regauth_shared::request::ByName;
use regauth_shared::response::{CredentialState, RegistryRemoved, RegistryView};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};

use super::add_from::forget_ca_file;
use crate::client::Client;
use crate::output::{self, Report};
use crate::{error, prompt};

/// Remove a registry and delete its secret
///
/// From then on clients reach its hosts through a tunnel, without a credential. At a terminal you are asked first: a token
/// that is deleted can only be replaced by a new one. `regauthctl logout` deletes the token alone.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// Remove it without a question
    #[arg(long, short)]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl remove-registry corp
  regauthctl remove-registry corp --yes";

/// Removes the registry.
pub(crate) fn run(arguments: Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let name = arguments.name;
    let view = view(&name, client)?;
    if let Some(view) = &view
        && !arguments.yes
        && prompt::is_interactive()
        && !prompt::confirm(&question(view))?
    {
        return Err(error::refused("nothing was removed"));
    }
    let reply = client.call(&Request::RemoveRegistry(ByName { name }))?;
    let ca_file = view.and_then(|view| view.ca_file);
    let leftover = ca_file.and_then(|file| forget_ca_file(client, folders, Path::new(&file)).err());
    let leftover: Vec<String> = leftover.into_iter().map(|error| error.message).collect();
    let report = Report::from_reply(reply, |removed: &RegistryRemoved| {
        format!("Removed {}.\n{}", removed.name, output::notes(&removed.notes))
    });
    Ok(report.with_lines(&output::notes(&leftover)))
}

/// The registry; `None` if it is gone from the configuration, while its token may still be in the store.
fn view(name: &RegistryName, client: &Client) -> Result<Option<RegistryView>, ErrorBody> {
    match client.call(&Request::Show(ByName { name: name.clone() })) {
        Ok(reply) => Ok(Some(reply.answer)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn question(view: &RegistryView) -> String {
    let is_stored = view.source == "store" && view.credential.state != CredentialState::Missing;
    let token = if is_stored { " and delete its token" } else { "" };
    format!("Remove {}{token}?", view.name)
}
