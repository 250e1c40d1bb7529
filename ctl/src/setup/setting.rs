//! Settings as values: wanted in a file, applied to it, reverted from it.

use serde::{Deserialize, Serialize};

use crate::diff;

/// Setting that a file should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Path of keys: tables and key in TOML, section and key in INI and git; empty for a line.
    pub(super) key: Vec<String>,
    /// Wanted value.
    pub(super) value: SettingValue,
}

/// Wanted value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettingValue {
    /// This text.
    Text(String),
    /// This text, but only in place of an existing value.
    ReplaceOnly(String),
    /// This text, which stands for a secret. A secret that the owner wrote stays.
    Placeholder(String),
    /// The boolean `true`.
    True,
    /// The boolean `false`.
    False,
    /// List of these texts.
    List(Vec<String>),
    /// List that has this text, after all that it has already.
    ListEntry(String),
    /// List that ends in the first text. The others come before it if the file has no list yet.
    ListEnd(String, Vec<String>),
}

impl SettingValue {
    /// The value as text, for formats without types.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text)
            | Self::ReplaceOnly(text)
            | Self::Placeholder(text)
            | Self::ListEntry(text)
            | Self::ListEnd(text, _) => text.clone(),
            Self::True => "true".to_owned(),
            Self::False => "false".to_owned(),
            Self::List(texts) => texts.join(" "),
        }
    }
}

/// Setting that setup wrote into a file, with the value before. Stored in the setup record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AppliedSetting {
    /// Path of keys, as in [`Setting::key`].
    pub(super) key: Vec<String>,
    /// Written value, in the syntax of the file.
    #[serde(rename = "ours")]
    pub(super) written: String,
    /// Previous value, in the syntax of the file; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    /// Element that was added to a list, if that was the only change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) element: Option<String>,
}

impl AppliedSetting {
    /// Previous value as text, from the syntax of a file: a TOML string, or a line `key = value`.
    pub(super) fn previous_text(&self) -> Option<String> {
        let before = self.before.as_deref()?.trim();
        let line = before.lines().next().unwrap_or_default();
        let value = self.key.last().and_then(|key| value_of_line(line, key)).unwrap_or(line);
        let value = without_quotes_and_comment(value.trim());
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// True if the written value is this text, in the syntax of any file.
    pub(super) fn wrote(&self, text: &str) -> bool {
        self.written.trim().trim_matches(['"', '\'']) == text
    }
}

/// Text after the key of a line, with `=` or `:` in between. wget reads keys in any case, and `-` as `_`.
fn value_of_line<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let name = line.get(..key.len())?;
    let rest = line.get(key.len()..)?.trim_start();
    let normal = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let value = rest.strip_prefix(['=', ':'])?;
    (normal(name) == normal(key)).then_some(value)
}

fn without_quotes_and_comment(value: &str) -> &str {
    let quoted = |quote: char| value.strip_prefix(quote)?.split(quote).next();
    let unquoted = || value.split(" #").next().unwrap_or(value).trim_end();
    quoted('"').or_else(|| quoted('\'')).unwrap_or_else(unquoted)
}

/// Text after settings were applied to it.
#[derive(Debug)]
pub(super) struct Applied {
    /// New text.
    pub(super) text: String,
    /// Settings that changed the text; those that were already there are left out.
    pub(super) settings: Vec<AppliedSetting>,
}

impl Applied {
    /// Gives the text the line endings of the one that it was made from.
    pub(super) fn with_line_endings_of(self, original: &str) -> Self {
        Self {
            text: diff::with_line_endings_of(original, &self.text),
            ..self
        }
    }
}

/// Text after settings were reverted.
#[derive(Debug)]
pub(super) struct Reverted {
    /// New text.
    pub(super) text: String,
    /// Keys of settings that stay, because somebody changed their value since.
    pub(super) kept: Vec<String>,
}

impl Reverted {
    /// Gives the text the line endings of the one that it was made from.
    pub(super) fn with_line_endings_of(self, original: &str) -> Self {
        Self {
            text: diff::with_line_endings_of(original, &self.text),
            ..self
        }
    }
}
