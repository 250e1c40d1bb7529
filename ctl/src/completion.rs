//! What a shell is told while a person types: the names of the registries that there are now.

use std::ffi::OsString;

use clap::Command;
use clap_complete::env::CompleteEnv;
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use regauth_shared::Request;
use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::RegistryList;

use crate::client::Client;
use crate::commands::completions::VARIABLE;

/// Answers a shell that asks what may come next; whether one did.
pub(crate) fn answer(arguments: &[OsString], command: impl Fn() -> Command) -> bool {
    let complete = CompleteEnv::with_factory(|| with_names(command())).var(VARIABLE);
    let here = std::env::current_dir().ok();
    // A shell that asks amiss gets no candidates; there is nobody to tell.
    complete
        .try_complete(arguments.iter().cloned(), here.as_deref())
        .unwrap_or(true)
}

/// Every verb that takes a registry's name, but for the one that invents it.
fn with_names(mut command: Command) -> Command {
    let verbs: Vec<String> = command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "add-registry")
        .filter(|verb| verb.get_arguments().any(|argument| argument.get_id() == "name"))
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for verb in verbs {
        command = command.mut_subcommand(verb, |verb| {
            verb.mut_arg("name", |name| name.add(ArgValueCandidates::new(registries)))
        });
    }
    command
}

fn registries() -> Vec<CompletionCandidate> {
    let folders = Folders::resolve(None, |name| std::env::var_os(name)).ok();
    let ask = |folders| {
        Client::new(&folders)
            .ask::<RegistryList>(&Request::List(Nothing {}))
            .ok()
    };
    let list = folders.and_then(ask).map(|reply| reply.answer.registries);
    let candidate = |name: String, help: String| CompletionCandidate::new(name).help(Some(help.into()));
    let list = list.into_iter().flatten();
    list.map(|view| candidate(view.name.to_string(), view.scopes.join(" ")))
        .collect()
}
