//! Prompts at the terminal, on stderr, for values that the command line does not give. Secrets are in
//! [`token`](crate::token).

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use regauth_shared::kind::KINDS;
use regauth_shared::{ErrorBody, RegistryName};

use crate::commands::edit::NextStep;
use crate::error;
use crate::output::print_to_stderr;
use crate::paste;
use crate::presets::{self, Preset};

/// True if stdin and stderr are terminals, so that a person can answer.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a registry's name.
pub(crate) fn registry_name() -> Result<RegistryName, ErrorBody> {
    ask_until_valid("Name (as in cargo's configuration, such as corp): ", |text| {
        text.parse()
            .map_err(|error: regauth_shared::name::InvalidName| error.to_string())
    })
}

/// Asks for a preset; `None` is a registry that is not in the table.
pub(crate) fn preset() -> Result<Option<&'static Preset>, ErrorBody> {
    for (number, preset) in presets::all().iter().enumerate() {
        print_to_stderr(&format!("  {:>2}  {}\n", number + 1, preset.title));
    }
    ask_until_valid("Preset (a number, or nothing for another kind of registry): ", |text| {
        if text.is_empty() {
            return Ok(None);
        }
        let by_number = item_index(text).and_then(|index| presets::all().get(index));
        let by_name = presets::all().iter().find(|preset| preset.name == text);
        by_number.or(by_name).map(Some).ok_or_else(|| NOT_AN_ITEM.to_owned())
    })
}

/// Asks for an index or a scope.
pub(crate) fn index_or_scope(preset: Option<&Preset>) -> Result<String, ErrorBody> {
    for example in preset.into_iter().flat_map(Preset::index_examples) {
        print_to_stderr(&format!("  such as {example}\n"));
    }
    loop {
        let url = ask_until_valid("Index, or https:// URL: ", |text| match paste::url(text) {
            "" => Err("an index or a URL is needed".to_owned()),
            url => match paste::url_without_scheme(url) {
                Some(meant) => Err(format!(
                    "it does not begin with https://; type sparse+{meant}, or {meant} if it is no sparse index"
                )),
                None => Ok(url.to_owned()),
            },
        })?;
        match preset {
            Some(preset) if preset.index_at(&url).is_none() => {
                let question = format!("{} usually has its index elsewhere. Use this URL?", preset.title);
                if confirm(&question)? {
                    return Ok(url);
                }
            }
            Some(preset) => return Ok(preset.index_at(&url).unwrap_or(url)),
            None => return Ok(url),
        }
    }
}

/// Asks for the kind of a registry; nothing is cargo.
pub(crate) fn kind() -> Result<&'static str, ErrorBody> {
    let question = format!("Kind ({}; nothing for cargo): ", KINDS.join(", "));
    ask_until_valid(&question, |text| match text {
        "" => Ok("cargo"),
        text => KINDS
            .into_iter()
            .find(|kind| *kind == text)
            .ok_or_else(|| NOT_AN_ITEM.to_owned()),
    })
}

/// Asks for the file of the authority that signed a registry's certificate; `None` if the person has none.
pub(crate) fn ca_file() -> Result<Option<PathBuf>, ErrorBody> {
    print_to_stderr("If your company's own authority signed it, regauth can trust that for this registry only.\n");
    ask_until_valid(
        "File with the authority's certificate (PEM; nothing to stop): ",
        |text| {
            let file = PathBuf::from(paste::url(text));
            match text {
                "" => Ok(None),
                _ if file.is_file() => Ok(Some(file)),
                _ => Err("there is no such file".to_owned()),
            }
        },
    )
}

/// Asks for the user name; nothing is none.
pub(crate) fn username(description: &str) -> Result<Option<String>, ErrorBody> {
    ask_until_valid(&format!("User name ({description}): "), |text| {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    })
}

/// Asks for the user name of a registry that needs one.
pub(crate) fn username_for(name: &RegistryName) -> Result<String, ErrorBody> {
    ask_until_valid(&format!("User name for {name}: "), |text| match text {
        "" => Err("a user name is needed".to_owned()),
        _ => Ok(text.to_owned()),
    })
}

/// Asks a yes-or-no question; the default is no.
pub(crate) fn confirm(question: &str) -> Result<bool, ErrorBody> {
    ask_until_valid(&format!("{question} (y/N) "), |text| match text {
        "y" | "Y" | "yes" => Ok(true),
        "" | "n" | "N" | "no" => Ok(false),
        _ => Err("y or n".to_owned()),
    })
}

/// Asks what to do with an edited configuration that cannot be used.
pub(crate) fn next_step_of_edit() -> Result<NextStep, ErrorBody> {
    ask_until_valid("(e)dit again, (k)eep for later, or (d)iscard? ", |text| match text {
        "e" | "edit" => Ok(NextStep::EditAgain),
        "k" | "keep" => Ok(NextStep::Keep),
        "d" | "discard" => Ok(NextStep::Discard),
        _ => Err("e, k or d".to_owned()),
    })
}

/// Asks for items of a list that was shown, by number or name, or `all`. Returns their indexes.
pub(crate) fn choose(question: &str, names: &[&str]) -> Result<Vec<usize>, ErrorBody> {
    let parse = |word: &str| {
        let by_name = names.iter().position(|name| *name == word);
        let by_number = item_index(word).filter(|index| *index < names.len());
        by_name.or(by_number).ok_or_else(|| NOT_AN_ITEM.to_owned())
    };
    ask_until_valid(question, |text| match text {
        "all" => Ok((0..names.len()).collect()),
        words => {
            let words = words.split([',', ' ']).filter(|word| !word.is_empty());
            words.map(parse).collect()
        }
    })
}

/// Index of the item with this number; people count from one.
fn item_index(number: &str) -> Option<usize> {
    number.parse::<usize>().ok()?.checked_sub(1)
}

fn ask_until_valid<T>(prompt: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, ErrorBody> {
    loop {
        print_to_stderr(prompt);
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        if read.map_err(error::io("cannot read from the terminal"))? == 0 {
            return Err(error::usage("the input ended before an answer; nothing was changed"));
        }
        match parse(line.trim()) {
            Ok(answer) => return Ok(answer),
            Err(why) => print_to_stderr(&format!("{why}\n")),
        }
    }
}

const NOT_AN_ITEM: &str = "this is not in the list";
