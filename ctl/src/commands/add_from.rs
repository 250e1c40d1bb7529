//! `regauthctl add-registry --from`: adds the registries of a team's file that are missing here.
//!
//! A stranger may have written the file. So everything is shown before a token is asked for, and a registry that is there
//! already is changed only if the person agrees.

mod plan;

use std::path::Path;

use regauth_shared::paths::Folders;
use regauth_shared::request::{Nothing, SetRegistry};
use regauth_shared::response::{ConfigurationChanged, RegistryAdded, RegistryList, Status};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};
use serde::Serialize;

use super::offered_locations::Decision;
use super::{add_registry, agreement};
use crate::client::Client;
use crate::output::{self, Report};
use crate::team_file::{self, Definition, Location, Source};
use crate::token::TokenFlags;
use crate::{error, prompt};
use plan::{Action, Entry};

/// Flags of `add-registry` for a team's file.
pub(super) struct Options<'a> {
    /// Location of the file.
    pub(super) from: &'a Location,
    /// The one registry to add; without it, all.
    pub(super) only: Option<&'a RegistryName>,
    /// User name, for a registry that needs one.
    pub(super) username: Option<&'a str>,
    /// Flags that give a token.
    pub(super) token: &'a TokenFlags,
    /// Agree to what is shown.
    pub(super) yes: bool,
    /// Decision about URLs that an index names.
    pub(super) locations: Decision,
    /// Ask the registries about tokens and changes.
    pub(super) verify: bool,
}

/// Result, for `--json`.
#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct FromReport {
    /// Path or URL of the file.
    file: String,
    /// Registries that were added.
    added: Vec<RegistryAdded>,
    /// Registries that were changed as the file says.
    changed: Vec<RegistryName>,
    /// Registries that are as the file says.
    unchanged: Vec<RegistryName>,
    /// Registries that differ from the file and were left as they are.
    kept: Vec<RegistryName>,
}

/// Adds what is missing.
///
/// # Errors
/// The file has problems; nobody agrees; those of `add-registry` and `set`. Registries that were added before an error
/// stay, and the next run goes on after them.
pub(super) fn run(options: &Options<'_>, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let settings = || {
        let status: Status = client.call(&Request::Status(Nothing {}))?.answer;
        Ok((status.proxy, status.bundle))
    };
    client.ping()?;
    let source = Source::open(options.from, settings)?;
    let definitions = chosen(&source, options.only)?;
    let list: RegistryList = client.call(&Request::List(Nothing {}))?.answer;
    let mut entries = Vec::new();
    for definition in definitions {
        let ca_file = definition.ca_file.as_deref();
        let ca_file = ca_file.map(|name| source.ca_file(name, settings)).transpose()?;
        let view = list.registries.iter().find(|view| view.name == definition.name);
        entries.push(Entry::plan(
            definition,
            ca_file,
            source.folder(),
            view,
            folders,
            client,
        )?);
    }
    let mut report = FromReport {
        file: source.title.clone(),
        ..FromReport::default()
    };
    output::print_to_stderr(&format!("{}:\n{}", source.title, plan::describe(&entries)));
    require_consent(&entries, options)?;
    let mut text = String::new();
    for entry in entries {
        text += &carry_out(entry, options, client, folders, &mut report)?;
    }
    if !report.added.is_empty() {
        text += "Next: `regauthctl setup`, unless your clients are set up already.\n";
    }
    Report::from_value(&report, text)
}

/// Definitions of the file, or the one that was named.
fn chosen(source: &Source, only: Option<&RegistryName>) -> Result<Vec<Definition>, ErrorBody> {
    let definitions = team_file::read(&source.text, &source.title)?;
    let Some(only) = only else {
        return Ok(definitions);
    };
    let names: Vec<_> = definitions
        .iter()
        .map(|definition| definition.name.to_string())
        .collect();
    let chosen: Vec<_> = definitions
        .into_iter()
        .filter(|definition| definition.name == *only)
        .collect();
    if chosen.is_empty() {
        let message = format!("{} has no registry `{only}`", source.title);
        return Err(ErrorBody::new(ErrorKind::NotFound, message).hint(format!("it has: {}", names.join(", "))));
    }
    Ok(chosen)
}

/// Without a terminal nobody has seen the plan, so `--yes` must say that the file is trusted. One token on stdin is for one
/// registry.
fn require_consent(entries: &[Entry], options: &Options<'_>) -> Result<(), ErrorBody> {
    let new: Vec<_> = entries.iter().filter(|entry| entry.needs_token()).collect();
    if options.token.is_given() && new.len() > 1 {
        let names: Vec<_> = new.iter().map(|entry| entry.name().to_string()).collect();
        return Err(error::usage("one token cannot be for several registries").hint(format!(
            "name one of them: regauthctl add-registry {} --from …",
            names.join(" | ")
        )));
    }
    let has_work = entries.iter().any(|entry| !matches!(entry.action, Action::Nothing));
    if !has_work || options.yes || prompt::is_interactive() {
        return Ok(());
    }
    let message = format!("nobody has agreed to what the file does:\n{}", plan::describe(entries));
    Err(error::refused(message.trim_end())
        .hint("nothing was changed; if the file is right, repeat with --yes, and with --token-stdin or --token-env"))
}

fn carry_out(
    entry: Entry,
    options: &Options<'_>,
    client: &Client,
    folders: &Folders,
    report: &mut FromReport,
) -> Result<String, ErrorBody> {
    let name = entry.name().clone();
    match entry.action {
        Action::Nothing => {
            report.unchanged.push(name.clone());
            Ok(format!("{name} is as the file says.\n"))
        }
        Action::Add => {
            let added = add(entry, options, client, folders)?;
            let text = add_registry::describe_briefly(&added);
            report.added.push(added);
            Ok(text)
        }
        Action::Change(ref shown) => {
            let agreed = options.yes || prompt::confirm(&format!("Change {name} as the file says?"))?;
            if !agreed {
                report.kept.push(name.clone());
                return Ok(format!("{name} stays as it is.\n"));
            }
            let ca_file = entry.installed_ca_file(folders)?;
            let check = entry.set_request(ca_file.as_deref(), true, false);
            let request = SetRegistry {
                reviewed: review_of_shown(client, check, shown)?,
                ..entry.set_request(ca_file.as_deref(), false, options.verify)
            };
            let changed: ConfigurationChanged = client.call(&Request::SetRegistry(request))?.answer;
            report.changed.push(name.clone());
            if let Some(file) = entry.ca_file_before() {
                forget_ca_file(client, folders, file)?;
            }
            let notes = output::notes(&changed.notes);
            Ok(format!("Changed {name}:\n{}{notes}", agreement::listed(shown)))
        }
    }
}

/// Digest of the changes of a request, which goes no further than what the plan has shown. The configuration may have been
/// edited meanwhile.
fn review_of_shown(
    client: &Client,
    check: SetRegistry,
    shown: &ConfigurationChanged,
) -> Result<Option<String>, ErrorBody> {
    let now: ConfigurationChanged = client.call(&Request::SetRegistry(check))?.answer;
    let is_shown = now.changes.iter().all(|change| shown.changes.contains(change))
        && now.settings.iter().all(|key| shown.settings.contains(key));
    match is_shown {
        true => Ok(now.review),
        false => Err(
            error::failed("the configuration has changed since the changes were shown")
                .hint("this registry was not changed; repeat the command to see them"),
        ),
    }
}

fn add(entry: Entry, options: &Options<'_>, client: &Client, folders: &Folders) -> Result<RegistryAdded, ErrorBody> {
    let name = entry.name().clone();
    // A person who types the token has read where it goes.
    let is_typed = !entry.is_minted() && !options.token.is_given();
    if !is_typed && !options.yes && !prompt::confirm(&format!("Add {name}?"))? {
        return Err(error::refused(format!("{name} was not added")));
    }
    let ca_file = entry.installed_ca_file(folders)?;
    let username = entry.username(options.username)?;
    let preset = entry.preset();
    let request = |token| entry.add_request(ca_file.as_deref(), username.as_deref(), token, options.verify);
    let added = add_registry::add(request, preset, options.token, options.locations, client);
    if added.is_err()
        && let Some(copy) = &ca_file
    {
        forget_ca_file(client, folders, Path::new(copy))?;
    }
    added
}

/// Deletes regauth's copy of a CA file that no registry uses.
///
/// # Errors
/// The file cannot be deleted; those of the daemon.
pub(super) fn forget_ca_file(client: &Client, folders: &Folders, file: &Path) -> Result<(), ErrorBody> {
    if !team_file::is_copy(folders, file) {
        return Ok(());
    }
    let list: RegistryList = client.call(&Request::List(Nothing {}))?.answer;
    let in_use = |path: &Path| {
        let mut files = list.registries.iter().filter_map(|view| view.ca_file.as_deref());
        files.any(|file| Path::new(file) == path)
    };
    team_file::forget_ca_file(folders, file, in_use)
}

/// Request that compares an existing registry with the file, or changes it.
fn set_request(name: &RegistryName, values: plan::Values, check: bool, verify: bool) -> SetRegistry {
    SetRegistry {
        name: name.clone(),
        values,
        untrusted: true,
        check,
        widen: !check,
        verify,
        reviewed: None,
    }
}
