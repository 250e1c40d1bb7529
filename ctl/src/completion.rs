//! Shell completion: verbs and flags from clap, and the names of the daemon's registries.

use std::ffi::OsString;

use clap::Command;
use clap_complete::env::CompleteEnv;
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use regauth_shared::Request;
use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::RegistryList;

use crate::commands::completions::VARIABLE;
use crate::connect;

/// Prints candidates if a shell started this process for completion; returns whether one did.
pub(crate) fn complete(arguments: &[OsString], command: impl Fn() -> Command) -> bool {
    let complete = CompleteEnv::with_factory(|| with_registry_names(command())).var(VARIABLE);
    let current_dir = std::env::current_dir().ok();
    // A malformed completion request gets no candidates: a message would end up in the person's command line.
    complete
        .try_complete(arguments.iter().cloned(), current_dir.as_deref())
        .unwrap_or(true)
}

/// Adds the registries as candidates to every verb with a name, except `add-registry`, whose name is new.
fn with_registry_names(mut command: Command) -> Command {
    let verbs: Vec<String> = command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "add-registry")
        .filter(|verb| verb.get_arguments().any(|argument| argument.get_id() == "name"))
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, |verb| {
            // Not `mut_arg`: it would move the name behind the positional arguments that follow it.
            verb.mut_args(|argument| match argument.get_id().as_str() {
                "name" => argument.add(ArgValueCandidates::new(registries)),
                _ => argument,
            })
        });
    }
    command
}

fn registries() -> Vec<CompletionCandidate> {
    let candidate = |name: String, help: String| CompletionCandidate::new(name).help(Some(help.into()));
    let list = list().into_iter().flat_map(|list| list.registries);
    list.map(|view| candidate(view.name.to_string(), view.scopes.join(" ")))
        .collect()
}

fn list() -> Option<RegistryList> {
    let folders = Folders::resolve(None, |name| std::env::var_os(name)).ok()?;
    let reply = connect::user_daemon(&folders).call(&Request::List(Nothing {}));
    Some(reply.ok()?.answer)
}
