//! Asks a person at a terminal for what the command line of `add-registry` does not say.

use std::io::{self, BufRead, IsTerminal};

use regauth_shared::{ErrorBody, RegistryName};

use crate::error;
use crate::output::print_to_stderr;
use crate::presets::{self, Preset, User};

/// Whether there is somebody to ask.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// What the registry is to be called.
pub(crate) fn name() -> Result<RegistryName, ErrorBody> {
    ask_until("Name (as cargo calls it, such as corp): ", |text| {
        text.parse()
            .map_err(|error: regauth_shared::name::InvalidName| error.to_string())
    })
}

/// Which kind of registry it is; none for one that is not in the table.
pub(crate) fn preset() -> Result<Option<&'static Preset>, ErrorBody> {
    for (number, preset) in presets::all().iter().enumerate() {
        print_to_stderr(&format!("  {:>2}  {}\n", number + 1, preset.title));
    }
    ask_until("Which of these is it? (a number, or nothing for another) ", |text| {
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let named = presets::all().iter().find(|preset| preset.name == text);
        let found = number.and_then(|number| presets::all().get(number)).or(named);
        found.map(Some).ok_or_else(|| "that is not one of them".to_owned())
    })
}

/// The index, or a scope.
pub(crate) fn place(preset: Option<&Preset>) -> Result<String, ErrorBody> {
    for pattern in preset.map_or(&[][..], |preset| preset.places) {
        print_to_stderr(&format!("  such as {pattern}\n"));
    }
    ask_until("Index, or https:// place: ", |text| match preset {
        _ if text.is_empty() => Err("there has to be one".to_owned()),
        Some(preset) if !preset.has(text) => Err(format!("{} does not have its index there", preset.title)),
        _ => Ok(text.to_owned()),
    })
}

/// The user name, where there may be one.
pub(crate) fn username(preset: Option<&Preset>) -> Result<Option<String>, ErrorBody> {
    let whose = match preset.map(|preset| &preset.user) {
        Some(User::Perhaps(whose)) => whose,
        Some(_) => return Ok(None),
        None => "if the registry wants one with the token",
    };
    ask_until(&format!("User name ({whose}): "), |text| {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    })
}

/// Whether a person says yes.
pub(crate) fn agrees(question: &str) -> Result<bool, ErrorBody> {
    ask_until(&format!("{question} (y/N) "), |text| match text {
        "y" | "Y" | "yes" => Ok(true),
        "" | "n" | "N" | "no" => Ok(false),
        _ => Err("y or n".to_owned()),
    })
}

/// Some of a list that was shown, by number or name; `all` or nothing.
pub(crate) fn some_of(question: &str, names: &[&str]) -> Result<Vec<usize>, ErrorBody> {
    let understand = |word: &str| {
        let number = word.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let named = names.iter().position(|name| *name == word);
        let found = named.or(number.filter(|number| *number < names.len()));
        found.ok_or_else(|| "that is not one of them".to_owned())
    };
    ask_until(question, |text| match text {
        "all" => Ok((0..names.len()).collect()),
        words => {
            let words = words.split([',', ' ']).filter(|word| !word.is_empty());
            words.map(understand).collect()
        }
    })
}

fn ask_until<T>(prompt: &str, understand: impl Fn(&str) -> Result<T, String>) -> Result<T, ErrorBody> {
    loop {
        print_to_stderr(prompt);
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        if read.map_err(error::io("cannot read from the terminal"))? == 0 {
            return Err(error::usage("nothing was answered, and nothing was changed"));
        }
        match understand(line.trim()) {
            Ok(answer) => return Ok(answer),
            Err(why) => print_to_stderr(&format!("{why}\n")),
        }
    }
}
