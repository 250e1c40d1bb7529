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
use crate::shell::quote_sh;
use crate::{connect, error};

/// Error with the next command; `None` if clap's own error says enough.
pub(super) fn usage_error(clap: &clap::Error, arguments: &[OsString]) -> Option<ErrorBody> {
    let line = PartialLine::parse(arguments)?;
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
struct PartialLine {
    verb: String,
    home: Option<PathBuf>,
    system: bool,
}

impl PartialLine {
    fn parse(arguments: &[OsString]) -> Option<Self> {
        let matches = command().ignore_errors(true).try_get_matches_from(arguments).ok()?;
        Some(Self {
            verb: matches.subcommand_name()?.to_owned(),
            home: matches.get_one("home").cloned(),
            system: matches.get_flag("system"),
        })
    }

    fn without_name(&self) -> Option<ErrorBody> {
        let verb = &self.verb;
        let hint = match self.registries()?.as_slice() {
            [] => "there is no registry yet; `regauthctl add-registry` adds one".to_owned(),
            [only] => format!("the only registry is {only}: {} {verb} {only}", self.program()),
            several => format!("one of {}: {} {verb} NAME", several.join(", "), self.program()),
        };
        Some(error::usage(format!("`{verb}` needs the name of a registry")).hint(hint))
    }

    fn with_extra_word(&self, word: &str) -> Option<ErrorBody> {
        match self.verb.as_str() {
            "grant" => {
                let registries = self.registries().unwrap_or_default();
                let name = registries.iter().find(|name| *name == word);
                let name = name.map_or("NAME", String::as_str);
                let hint = format!("{} grant --registry {name}", self.program());
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

    /// Program with the flags that lead to the same daemon. What was typed as `--home` is repeated only if it is a folder:
    /// anything else may be a misplaced token.
    fn program(&self) -> String {
        match &self.home {
            _ if self.system => "regauthctl --system".to_owned(),
            Some(home) if home.is_dir() => format!("regauthctl --home {}", quote_sh(&home.display().to_string())),
            Some(_) => "regauthctl --home DIR".to_owned(),
            None => "regauthctl".to_owned(),
        }
    }
}
