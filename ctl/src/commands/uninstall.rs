//! `regauthctl uninstall`: undoes what setup and `service install` did, and with `--purge` deletes registries and tokens.

use std::fs;
use std::path::PathBuf;

use regauth_shared::paths::Folders;
use regauth_shared::request::{ByName, Nothing};
use regauth_shared::response::{RegistryList, RegistryRemoved, Status};
use regauth_shared::{ErrorBody, ErrorKind, Request, exit_code};
use serde::Serialize;
use toml_edit::DocumentMut;

use super::{stop, upstream};
use crate::client::Client;
use crate::output::{self, Report};
use crate::service::{Health, Installation};
use crate::setup::{self, SetupPlan};
use crate::shell::quote_sh;
use crate::{error, prompt};

/// Undo every setup and the service
///
/// Restores the files of all clients, of projects too, removes the service, and stops the daemon. Registries and tokens
/// stay, unless --purge is given. The programs stay: remove the package, or run `cargo uninstall regauthd regauthctl`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Also remove every registry with its token, and delete regauth's files. Without a running daemon, tokens in the
    /// keychain stay
    #[arg(long)]
    purge: bool,

    /// Do not ask before --purge
    #[arg(long, requires = "purge")]
    yes: bool,

    /// Show the steps without doing them
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl uninstall --dry-run
  regauthctl uninstall
  regauthctl uninstall --purge";

/// Steps that were done, or would be.
#[derive(Default, Serialize)]
struct Uninstalled {
    steps: Vec<String>,
    /// Steps that failed, each with its reason.
    failures: Vec<String>,
    /// Advice for the user.
    notes: Vec<String>,
}

/// Uninstalls.
pub(crate) fn run(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    if arguments.purge && !arguments.yes && !arguments.dry_run && !confirm_purge()? {
        return Err(error::usage("nothing was changed"));
    }
    let mut done = Uninstalled::default();
    if arguments.purge {
        if client.is_absent() && !client.is_guarded() {
            done.notes.extend(leftover_in_keychain(folders));
        } else {
            remove_registries(arguments, client, &mut done)?;
        }
    }
    undo_setups(arguments, folders, &mut done);
    remove_service(arguments, client, folders, &mut done);
    if done.failures.is_empty() && arguments.purge {
        delete_files(arguments, folders, &mut done);
    }
    if !arguments.purge && folders.config_file().exists() {
        done.notes.push(format!(
            "registries and tokens stay, in {} and the store; to delete them: start `regauthd`, then `regauthctl uninstall --purge`",
            folders.config_file().display()
        ));
    }
    let exit_code = if done.failures.is_empty() {
        exit_code::DONE
    } else {
        exit_code::FAILED
    };
    let text = describe(&done, arguments.dry_run);
    Ok(Report::from_value(&done, text)?.with_exit_code(exit_code))
}

fn confirm_purge() -> Result<bool, ErrorBody> {
    if !prompt::is_interactive() {
        return Err(error::usage("--purge deletes every token, and there is no terminal to ask at").hint("add --yes"));
    }
    prompt::confirm("Delete every registry with its token, and all files of regauth?")
}

/// Removes the registries through the daemon, which deletes their secrets from the store.
fn remove_registries(arguments: &Arguments, client: &Client, done: &mut Uninstalled) -> Result<(), ErrorBody> {
    let list = client.call::<RegistryList>(&Request::List(Nothing {}));
    let list = list.map_err(|error| match error.kind {
        ErrorKind::Unreachable => {
            error.hint("the daemon deletes the tokens: start `regauthd`, then repeat this command")
        }
        _ => error,
    })?;
    for view in list.answer.registries {
        let remove = Request::RemoveRegistry(ByName {
            name: view.name.clone(),
        });
        let removed = if arguments.dry_run {
            Ok(())
        } else {
            client
                .call::<RegistryRemoved>(&remove)
                .map(|reply| done.notes.extend(reply.answer.notes))
        };
        done.record(format!("remove the registry {} and its token", view.name), removed);
    }
    let status: Status = client.call(&Request::Status(Nothing {}))?.answer;
    if status
        .upstream_proxies
        .iter()
        .any(|proxy| proxy.set_by == "config.toml")
    {
        let removed = if arguments.dry_run {
            Ok(())
        } else {
            upstream::removal(client).map(drop)
        };
        done.record("remove the company's proxy and its password".to_owned(), removed);
    }
    Ok(())
}

/// Note about the tokens that only a daemon deletes; `None` if they are in files, or if there are none.
fn leftover_in_keychain(folders: &Folders) -> Option<String> {
    let text = fs::read_to_string(folders.config_file()).ok()?;
    let config = text.parse::<DocumentMut>().ok();
    let store = config.as_ref().and_then(|config| config.get("store")?.as_str());
    if matches!(store, Some("vault" | "memory")) {
        return None;
    }
    let service = keychain_service(folders);
    let how = if cfg!(target_os = "macos") {
        format!("delete the items of the service {service} in Keychain Access")
    } else {
        format!("secret-tool clear service {}", quote_sh(&service))
    };
    Some(format!(
        "no regauthd ran, so tokens and keys in the keychain stay; to delete them: {how}"
    ))
}

/// Attribute `service` of the daemon's items in the keychain: `regauth`, or `regauth@HOME` if a home was given.
fn keychain_service(folders: &Folders) -> String {
    let Some(home) = &folders.home else {
        return "regauth".to_owned();
    };
    let home = std::path::absolute(home).unwrap_or_else(|_| home.clone());
    let home: PathBuf = home.components().collect();
    format!("regauth@{}", home.display())
}

fn undo_setups(arguments: &Arguments, folders: &Folders, done: &mut Uninstalled) {
    for (tool, target) in setup::recorded(folders) {
        let outcome = SetupPlan::undo(tool, &target, folders).and_then(|plan| match arguments.dry_run {
            true => Ok(plan.outcome()),
            false => plan.carry_out(folders),
        });
        let files = outcome
            .as_ref()
            .map_or_else(|_| Vec::new(), |outcome| outcome.files.iter().collect());
        let files: Vec<_> = files.into_iter().map(|changed| changed.file.as_str()).collect();
        let step = format!("undo the setup of {}: {}", tool.name(), files.join(", "));
        let result = outcome.as_ref().map(drop).map_err(Clone::clone);
        done.record(step.trim_end_matches([':', ' ']).to_owned(), result);
        done.notes.extend(outcome.into_iter().flat_map(|outcome| outcome.notes));
    }
}

/// Removes the service if there is one, and else stops a daemon that was started by hand. A guarded daemon serves others,
/// too.
fn remove_service(arguments: &Arguments, client: &Client, folders: &Folders, done: &mut Uninstalled) {
    if client.is_guarded() {
        let note = "the guarded daemon stays; `sudo regauthctl service uninstall` removes it for everybody";
        done.notes.push(note.to_owned());
        return;
    }
    let is_service = folders.home.is_none()
        && Installation::User
            .state()
            .is_ok_and(|state| state.health != Health::Absent);
    let result = match (is_service, arguments.dry_run) {
        (true, true) | (false, true) => Ok(()),
        (true, false) => Installation::User
            .plan_uninstall()
            .and_then(|plan| plan.carry_out())
            .map(drop),
        (false, false) => match stop::stop_and_wait(client) {
            Err(error) if error.kind == ErrorKind::Unreachable => return,
            other => other.map(drop),
        },
    };
    if is_service {
        done.record("remove the service".to_owned(), result);
    } else if !arguments.dry_run || client.ping().is_ok() {
        done.record("stop the daemon".to_owned(), result);
    }
}

fn delete_files(arguments: &Arguments, folders: &Folders, done: &mut Uninstalled) {
    for path in own_paths(folders) {
        let deleted = match arguments.dry_run {
            true => Ok(()),
            false if path.is_dir() => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        let deleted = deleted.map_err(error::io(format!("cannot delete {}", path.display())));
        done.record(format!("delete {}", path.display()), deleted);
    }
    if !arguments.dry_run {
        // It may hold files of others: `--home` names any folder.
        let _ = fs::remove_dir(&folders.config);
    }
}

/// Files and folders that are regauth's alone, as far as they exist.
fn own_paths(folders: &Folders) -> Vec<PathBuf> {
    let mut paths = vec![folders.run.clone(), folders.state.clone(), folders.config_file()];
    paths.retain(|path| path.exists());
    if folders.run.starts_with(&folders.state) {
        paths.retain(|path| *path != folders.run);
    }
    paths
}

impl Uninstalled {
    fn record(&mut self, step: String, result: Result<(), ErrorBody>) {
        match result {
            Ok(()) => self.steps.push(step),
            Err(error) => self.failures.push(format!("could not {step}: {}", error.message)),
        }
    }
}

fn describe(done: &Uninstalled, dry_run: bool) -> String {
    let would = if dry_run { "would " } else { "" };
    let steps: String = done.steps.iter().map(|step| format!("  {would}{step}\n")).collect();
    let failures: String = done
        .failures
        .iter()
        .map(|failure| format!("error: {failure}\n"))
        .collect();
    let heading = match (dry_run, done.failures.is_empty(), done.steps.is_empty()) {
        (true, _, _) => "",
        (false, _, true) => "There was nothing to undo.\n",
        (false, true, false) => "regauth is uninstalled:\n",
        (false, false, false) => "regauth is uninstalled in part:\n",
    };
    format!("{heading}{steps}{failures}{}", output::notes(&done.notes))
}
