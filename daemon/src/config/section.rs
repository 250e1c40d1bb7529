//! One table of the file, read key by key. Each reader gives a value of the wanted type or records why there is none;
//! all of them go on after a problem, which is why this is not serde: serde stops at the first.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;

use regauth_shared::RegistryName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::Findings;

/// The keys that a table may have, each with an example of its value.
pub(super) type Keys = &'static [(&'static str, &'static str)];

/// A table of the file and what to call it.
pub(super) struct Section<'a, 't> {
    /// `registries.corp`; empty for the top of the file.
    path: String,
    /// Where a token for this place goes instead.
    rotate: String,
    header: usize,
    table: &'a DeTable<'t>,
    keys: Cow<'static, [(&'static str, &'static str)]>,
    findings: &'a mut Findings<'t>,
}

impl<'a, 't> Section<'a, 't> {
    /// The whole file.
    pub(super) fn top(table: &'a DeTable<'t>, keys: Keys, findings: &'a mut Findings<'t>) -> Self {
        let mut top = Self {
            path: String::new(),
            rotate: "regauthctl rotate NAME".to_owned(),
            header: 0,
            table,
            keys: keys.into(),
            findings,
        };
        top.refuse_unknown_keys();
        top
    }

    /// The table under a key, if there is one. Its unknown keys are recorded at once.
    pub(super) fn section(
        &mut self,
        key: &str,
        keys: impl Into<Cow<'static, [(&'static str, &'static str)]>>,
    ) -> Option<Section<'_, 't>> {
        let mut section = self.names(key)?;
        section.keys = keys.into();
        section.refuse_unknown_keys();
        Some(section)
    }

    /// The table under a key whose own keys are names that people choose.
    pub(super) fn names(&mut self, key: &str) -> Option<Section<'_, 't>> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.refuse_type(key, "a table", value);
            return None;
        };
        let presentable = is_presentable(key) || key.parse::<RegistryName>().is_ok();
        let name = if presentable { key } else { "…" };
        let (path, rotate) = match self.path.as_str() {
            "" => (name.to_owned(), self.rotate.clone()),
            "registries" if presentable => (format!("registries.{key}"), format!("regauthctl rotate {key}")),
            outer => (format!("{outer}.{name}"), self.rotate.clone()),
        };
        Some(Section {
            path,
            rotate,
            header: value.span().start,
            table,
            keys: Cow::Borrowed(&[]),
            findings: self.findings,
        })
    }

    /// What messages call the table: `[registries.corp]`.
    pub(super) fn title(&self) -> String {
        format!("[{}]", self.path)
    }

    /// The keys in the order of the file, each with its place.
    pub(super) fn entries(&self) -> Vec<(usize, &'a str)> {
        let place = |key: &'a Spanned<_>| (key.span().start, AsRef::<str>::as_ref(key.get_ref()));
        let mut entries: Vec<_> = self.table.keys().map(place).collect();
        entries.sort_unstable();
        entries
    }

    /// Whether the key is there, readable or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the key holds a table, where a text would do as well.
    pub(super) fn has_table(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// A text in the table under a key, wherever the rest of that table leads.
    pub(super) fn peek(&self, key: &str, inner: &str) -> Option<&str> {
        self.value(key)?.get_ref().as_table()?.get(inner)?.get_ref().as_str()
    }

    /// Whether the key holds an array of nothing.
    pub(super) fn has_empty_list(&self, key: &str) -> bool {
        let list = self.value(key).and_then(|value| value.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// Reads a text as something more particular.
    pub(super) fn parsed<T, E: Display>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.placed(key, parse).map(Spanned::into_inner)
    }

    /// As [`Section::parsed`], with its place.
    pub(super) fn placed<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        let value = self.value(key)?;
        self.parsed_value(key, "a string", value, parse)
    }

    /// Reads an array of texts. Those that cannot be read are recorded and left out.
    pub(super) fn list<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.value(key)?;
        let DeValue::Array(elements) = value.get_ref() else {
            self.refuse_type(key, "an array of strings", value);
            return None;
        };
        let mut list = Vec::new();
        for element in elements.iter() {
            list.extend(self.parsed_value(key, "an array of strings", element, &parse));
        }
        Some(list)
    }

    /// Where a key's value is; where it would be looked for, if it is not there.
    pub(super) fn place(&self, key: &str) -> usize {
        self.value(key).map_or(self.header, |value| value.span().start)
    }

    /// Records that a key's value cannot stand.
    pub(super) fn refuse(&mut self, key: &str, reason: impl Display) {
        self.refuse_at(self.place(key), key, reason);
    }

    /// Records that a part of a key's value cannot stand.
    pub(super) fn refuse_at(&mut self, at: usize, key: &str, reason: impl Display) {
        let message = format!("{}: {reason}", self.label(key));
        self.findings.report(at, message);
    }

    /// Records, at the table's header, that a key is missing.
    pub(super) fn refuse_missing(&mut self, key: &str, reason: impl Display) {
        let message = format!("{} is missing: {reason}", self.label(key));
        self.findings.report_missing(self.header, message);
    }

    /// Records that a name that people choose is not good.
    pub(super) fn refuse_name(&mut self, at: usize, reason: impl Display) {
        self.findings.report(at, reason.to_string());
    }

    /// The line that a byte of the text is in.
    pub(super) fn line(&self, at: usize) -> usize {
        self.findings.line(at)
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    fn parsed_value<T, E: Display>(
        &mut self,
        key: &str,
        expected: &str,
        value: &Spanned<DeValue<'t>>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        let DeValue::String(text) = value.get_ref() else {
            self.refuse_type(key, expected, value);
            return None;
        };
        parse(text)
            .map(|read| Spanned::new(value.span(), read))
            .map_err(|error| self.refuse_at(value.span().start, key, error))
            .ok()
    }

    fn refuse_type(&mut self, key: &str, expected: &str, value: &Spanned<DeValue<'t>>) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let example = (self.keys.iter())
            .find(|(known, _)| *known == key)
            .map_or_else(String::new, |(_, example)| format!(" such as {example}"));
        let Range { start, .. } = value.span();
        self.refuse_at(start, key, format_args!("expected {expected}{example}, found {found}"));
    }

    fn refuse_unknown_keys(&mut self) {
        for (at, key) in self.entries() {
            if self.keys.iter().any(|(known, _)| *known == key) {
                continue;
            }
            let message = if is_for_secrets(key) {
                let place = self.label(key);
                format!("{place}: tokens do not belong in this file; use `{}`", self.rotate)
            } else {
                format!("unknown key {}{}", self.label(key), self.suggestion(key))
            };
            self.findings.report(at, message);
        }
    }

    fn suggestion(&self, key: &str) -> String {
        if let Some((place, _)) = (super::SECTIONS.iter()).find(|(_, keys)| keys.iter().any(|(known, _)| *known == key))
        {
            return format!("; it belongs {place}");
        }
        let likeness = |known: &str| strsim::jaro_winkler(known, key);
        (self.keys.iter())
            .map(|(known, _)| *known)
            .filter(|known| likeness(known) > LIKE_ENOUGH)
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
    }

    fn label(&self, key: &str) -> String {
        let place = match self.path.as_str() {
            "" => String::new(),
            path => format!(" in [{path}]"),
        };
        if is_presentable(key) {
            format!("`{key}`{place}")
        } else {
            format!("(not shown){place}")
        }
    }
}

/// A quoted key may hold escape sequences, and a long one may be a token that lost its key.
fn is_presentable(key: &str) -> bool {
    let all_plain = (key.chars()).all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    all_plain && (1..=LONGEST_SHOWN).contains(&key.len())
}

fn is_for_secrets(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace(['-', '_'], "");
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

const SECRET_WORDS: [&str; 6] = ["token", "password", "passwd", "secret", "credential", "apikey"];
const LONGEST_SHOWN: usize = 24;
const LIKE_ENOUGH: f64 = 0.8;
