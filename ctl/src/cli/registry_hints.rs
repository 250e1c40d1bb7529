//! Hints of usage errors about registries: a verb without its NAME, or with a name where it takes a flag.
//!
//! The names come from the daemon. A typed word is repeated only if it is one of them: any other may be a token.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use regauth_shared::request::Nothing;
use regauth_shared::response::RegistryList;
use regauth_shared::{ErrorBody, Request};

use super::help::command;
use crate::{connect, error, own_commands};

/// Error with the next command; `None` if clap's own error says enough.
pub(super) fn usage_error(clap: &clap::Error, line: &PartialLine) -> Option<ErrorBody> {
    match (clap.kind(), clap.get(ContextKind::InvalidArg)) {
        (ClapErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) if missing == &["<NAME>"] => {
            line.without_name()
        }
        (ClapErrorKind::UnknownArgument, Some(ContextValue::String(word))) if !word.starts_with('-') => {
            line.with_extra_word(word)
        }
        _ => None,
    }
}

/// Parts of a rejected command line.
#[derive(Default)]
pub(super) struct PartialLine {
    /// The verb; empty if there is none.
    verb: String,
    home: Option<PathBuf>,
    system: bool,
}

impl PartialLine {
    pub(super) fn parse(arguments: &[OsString]) -> Self {
        let matches = command().ignore_errors(true).try_get_matches_from(arguments);
        let parts = |matches: clap::ArgMatches| Self {
            verb: matches.subcommand_name().unwrap_or_default().to_owned(),
            home: matches.get_one("home").cloned(),
            system: matches.get_flag("system"),
        };
        matches.map(parts).unwrap_or_default()
    }

    /// Has the hints repeat the flags of the line.
    pub(super) fn set_flags(&self) {
        own_commands::set_flags(self.home.as_deref(), self.system);
    }

    fn without_name(&self) -> Option<ErrorBody> {
        let verb = &self.verb;
        let hint = match self.registries()?.as_slice() {
            [] => "there is no registry yet; `regauthctl add-registry` adds one".to_owned(),
            [only] => format!("the only registry is {only}: regauthctl {verb} {only}"),
            several => format!("one of {}: regauthctl {verb} NAME", several.join(", ")),
        };
        Some(error::usage(format!("`{verb}` needs the name of a registry")).hint(hint))
    }

    fn with_extra_word(&self, word: &str) -> Option<ErrorBody> {
        match self.verb.as_str() {
            "grant" => {
                let registries = self.registries().unwrap_or_default();
                let name = registries.iter().find(|name| *name == word);
                let name = name.map_or("NAME", String::as_str);
                let hint = format!("regauthctl grant --registry {name}");
                Some(error::usage("`grant` takes a registry with a flag").hint(hint))
            }
            "setup" => Some(error::usage("`setup` takes one client at a time").hint(
                "run `regauthctl setup CLIENT` for each, or `regauthctl setup --all` for all clients that were found",
            )),
            _ => None,
        }
    }

    /// Names of the registries; `None` if no daemon answers.
    fn registries(&self) -> Option<Vec<String>> {
        let folders = connect::folders(self.home.as_deref()).ok()?;
        let client = if self.system {
            connect::system_daemon()
        } else {
            connect::user_daemon(&folders)
        };
        let list = client.call::<RegistryList>(&Request::List(Nothing {})).ok()?.answer;
        Some(list.registries.iter().map(|view| view.name.to_string()).collect())
    }
}
