//! Settings in the text of a file: put in, and taken out again.

use regauth_shared::ErrorBody;
use serde::{Deserialize, Serialize};

use super::{git, ini, toml};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    /// Cargo's and uv's.
    Toml,
    /// Git's own, edited by git itself.
    Git,
    /// `[section]`, `key = value`: pip's.
    Ini,
    /// `key=value`: npm's.
    Npmrc,
    /// A file of other things, with one line of ours.
    Line,
    /// A file that is ours from first to last.
    Whole,
}

/// A setting that a file is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The way to it: tables and key, a section and key, or nothing for a line.
    pub(super) key: Vec<String>,
    /// What it is to be.
    pub(super) value: Value,
}

/// What a setting is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// This text.
    Text(String),
    /// This text, where there is a value already.
    Instead(String),
    /// True.
    Yes,
    /// These texts.
    Texts(Vec<String>),
    /// A list that ends in this text; these come first where there is no list.
    Last(String, Vec<String>),
}

/// A setting that was put into a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    /// The way to it.
    pub(super) key: Vec<String>,
    /// What it became, as it is written.
    pub(super) ours: String,
    /// What it was, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    /// What was added to a list, where that is all we did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) element: Option<String>,
}

/// A text with settings put in.
#[derive(Debug)]
pub(super) struct Set {
    /// The text.
    pub(super) text: String,
    /// What was put in; settings that were there already are not among them.
    pub(super) done: Vec<Done>,
}

/// A text with settings taken out.
#[derive(Debug)]
pub(super) struct Unset {
    /// The text.
    pub(super) text: String,
    /// Settings that somebody has changed since, and that stay.
    pub(super) kept: Vec<String>,
}

impl Format {
    /// Puts settings in.
    ///
    /// # Errors
    /// The text is not of this format; the program that edits it is missing.
    pub(super) fn set(self, text: &str, settings: &[Setting]) -> Result<Set, ErrorBody> {
        match self {
            Self::Toml => toml::set(text, settings),
            Self::Git => git::set(text, settings),
            Self::Ini => Ok(ini::set(text, settings, ini::Separator::Either)),
            Self::Npmrc => Ok(ini::set(text, settings, ini::Separator::Equals)),
            Self::Line => Ok(with_line(text, settings)),
            Self::Whole => Ok(whole(settings)),
        }
    }

    /// Takes out what was put in, where it is still as it was put in.
    ///
    /// # Errors
    /// As with [`Format::set`].
    pub(super) fn unset(self, text: &str, done: &[Done]) -> Result<Unset, ErrorBody> {
        match self {
            Self::Toml => toml::unset(text, done),
            Self::Git => git::unset(text, done),
            Self::Ini => Ok(ini::unset(text, done, ini::Separator::Either)),
            Self::Npmrc => Ok(ini::unset(text, done, ini::Separator::Equals)),
            Self::Line => Ok(without_lines(text, done)),
            Self::Whole => Ok(Unset {
                text: String::new(),
                kept: Vec::new(),
            }),
        }
    }
}

impl Value {
    /// As text, for formats that know nothing else.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Instead(text) | Self::Last(text, _) => text.clone(),
            Self::Yes => "true".to_owned(),
            Self::Texts(texts) => texts.join(" "),
        }
    }
}

fn with_line(text: &str, settings: &[Setting]) -> Set {
    let mut set = Set {
        text: text.to_owned(),
        done: Vec::new(),
    };
    for setting in settings {
        let line = setting.value.text();
        if set.text.lines().any(|present| present == line) {
            continue;
        }
        if !set.text.is_empty() && !set.text.ends_with('\n') {
            set.text.push('\n');
        }
        set.text.push_str(&format!("{line}\n"));
        set.done.push(Done {
            key: Vec::new(),
            ours: line,
            before: None,
            element: None,
        });
    }
    set
}

fn without_lines(text: &str, done: &[Done]) -> Unset {
    let ours = |line: &&str| done.iter().any(|done| done.ours == line.trim_end_matches(['\n', '\r']));
    Unset {
        text: text.split_inclusive('\n').filter(|line| !ours(line)).collect(),
        kept: Vec::new(),
    }
}

fn whole(settings: &[Setting]) -> Set {
    let text: String = settings.iter().map(|setting| setting.value.text()).collect();
    let done = Done {
        key: Vec::new(),
        ours: "the whole file".to_owned(),
        before: None,
        element: None,
    };
    Set { text, done: vec![done] }
}
