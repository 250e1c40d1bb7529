//! Reader of one TOML table, key by key.
//!
//! Each method returns a value of the wanted type, or records a problem and returns `None`. Reading goes on after a
//! problem.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;

use regauth_shared::RegistryName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::ProblemCollector;

/// Keys that a table may have, each with an example of its value.
pub(super) type KnownKeys = &'static [(&'static str, &'static str)];

/// Reader of one table of the file.
pub(super) struct TableReader<'a, 't> {
    /// Such as `registries.corp`; empty for the top of the file.
    path: String,
    /// Command that takes a token for this table.
    rotate_command: String,
    header_offset: usize,
    table: &'a DeTable<'t>,
    keys: Cow<'static, [(&'static str, &'static str)]>,
    problems: &'a mut ProblemCollector<'t>,
}

impl<'a, 't> TableReader<'a, 't> {
    /// Reader of the top of the file.
    pub(super) fn top(table: &'a DeTable<'t>, keys: KnownKeys, problems: &'a mut ProblemCollector<'t>) -> Self {
        let mut top = Self {
            path: String::new(),
            rotate_command: "regauthctl rotate NAME".to_owned(),
            header_offset: 0,
            table,
            keys: keys.into(),
            problems,
        };
        top.reject_unknown_keys();
        top
    }

    /// Reader of the table under a key, if there is one. Unknown keys in it are recorded at once.
    pub(super) fn table(
        &mut self,
        key: &str,
        keys: impl Into<Cow<'static, [(&'static str, &'static str)]>>,
    ) -> Option<TableReader<'_, 't>> {
        let mut table = self.table_of_names(key)?;
        table.keys = keys.into();
        table.reject_unknown_keys();
        Some(table)
    }

    /// Reader of the table under a key, if any key is allowed in it: names that people choose.
    pub(super) fn table_of_names(&mut self, key: &str) -> Option<TableReader<'_, 't>> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.reject_type(key, "a table", value);
            return None;
        };
        // A long text with capitals may be a token.
        let is_lower = !key.contains(|c: char| c.is_ascii_uppercase());
        let presentable = is_presentable(key) || (is_lower && key.parse::<RegistryName>().is_ok());
        let name = if presentable { key } else { "…" };
        let (path, rotate_command) = match self.path.as_str() {
            "" => (name.to_owned(), self.rotate_command.clone()),
            "registries" if presentable => (format!("registries.{key}"), format!("regauthctl rotate {key}")),
            outer => (format!("{outer}.{name}"), self.rotate_command.clone()),
        };
        Some(TableReader {
            path,
            rotate_command,
            header_offset: value.span().start,
            table,
            keys: Cow::Borrowed(&[]),
            problems: self.problems,
        })
    }

    /// Calls `read` with the reader of each table in an array of tables. Unknown keys are recorded at once.
    pub(super) fn each_table(&mut self, key: &str, keys: KnownKeys, mut read: impl FnMut(&mut TableReader<'_, 't>)) {
        let Some(value) = self.value(key) else { return };
        let DeValue::Array(tables) = value.get_ref() else {
            return self.reject_type(key, "an array of tables", value);
        };
        for table in tables.iter() {
            let DeValue::Table(content) = table.get_ref() else {
                self.reject_type(key, "an array of tables", table);
                continue;
            };
            let mut reader = TableReader {
                path: key.to_owned(),
                rotate_command: self.rotate_command.clone(),
                header_offset: table.span().start,
                table: content,
                keys: keys.into(),
                problems: self.problems,
            };
            reader.reject_unknown_keys();
            read(&mut reader);
        }
    }

    /// Name of the table in messages: `[registries.corp]`.
    pub(super) fn title(&self) -> String {
        format!("[{}]", self.path)
    }

    /// Keys in the order of the file, each with its byte offset.
    pub(super) fn entries(&self) -> Vec<(usize, &'a str)> {
        let entry = |key: &'a Spanned<_>| (key.span().start, AsRef::<str>::as_ref(key.get_ref()));
        let mut entries: Vec<_> = self.table.keys().map(entry).collect();
        entries.sort_unstable();
        entries
    }

    /// Is the key present, with a valid value or not?
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Is the value an array, for a key that also takes a string?
    pub(super) fn has_list(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().is_array())
    }

    /// Is the value a table, for a key that also takes a string?
    pub(super) fn has_table(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// String under a key of an inner table, read before the rest of that table.
    pub(super) fn peek(&self, key: &str, inner: &str) -> Option<&str> {
        self.value(key)?.get_ref().as_table()?.get(inner)?.get_ref().as_str()
    }

    /// Is the value an empty array?
    pub(super) fn has_empty_list(&self, key: &str) -> bool {
        let list = self.value(key).and_then(|value| value.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// Parses a string value.
    pub(super) fn parsed<T, E: Display>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.parsed_with_span(key, parse).map(Spanned::into_inner)
    }

    /// Parses a string value and keeps its span.
    pub(super) fn parsed_with_span<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        let value = self.value(key)?;
        self.parsed_value(key, "a string", value, parse)
    }

    /// Reads a boolean value.
    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        let DeValue::Boolean(boolean) = value.get_ref() else {
            self.reject_type(key, "true or false", value);
            return None;
        };
        Some(*boolean)
    }

    /// Parses an array of strings. Invalid elements are recorded and left out.
    pub(super) fn list<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<Spanned<T>>> {
        let value = self.value(key)?;
        let DeValue::Array(elements) = value.get_ref() else {
            self.reject_type(key, "an array of strings", value);
            return None;
        };
        let mut list = Vec::new();
        for element in elements.iter() {
            list.extend(self.parsed_value(key, "an array of strings", element, &parse));
        }
        Some(list)
    }

    /// Parses an array of integers. Invalid elements are recorded and left out.
    pub(super) fn integers<T, E: Display>(&mut self, key: &str, parse: impl Fn(i64) -> Result<T, E>) -> Option<Vec<T>> {
        const EXPECTED: &str = "an array of integers";
        let value = self.value(key)?;
        let DeValue::Array(elements) = value.get_ref() else {
            self.reject_type(key, EXPECTED, value);
            return None;
        };
        let mut list = Vec::new();
        for element in elements.iter() {
            let DeValue::Integer(integer) = element.get_ref() else {
                self.reject_type(key, EXPECTED, element);
                continue;
            };
            // One that is too large for the type is too large for every key.
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i64::MAX);
            match parse(number) {
                Ok(read) => list.push(read),
                Err(error) => self.reject_at(element.span().start, key, error),
            }
        }
        Some(list)
    }

    /// Byte offset of a key's value, or of the table if the key is missing.
    pub(super) fn offset(&self, key: &str) -> usize {
        self.value(key).map_or(self.header_offset, |value| value.span().start)
    }

    /// Records a problem with a key's value.
    pub(super) fn reject(&mut self, key: &str, reason: impl Display) {
        self.reject_at(self.offset(key), key, reason);
    }

    /// Records a problem at a byte offset inside a key's value.
    pub(super) fn reject_at(&mut self, offset: usize, key: &str, reason: impl Display) {
        let message = format!("{}: {reason}", self.label(key));
        self.problems.report(offset, message);
    }

    /// Records, at the table's header, that a key is missing.
    pub(super) fn reject_missing(&mut self, key: &str, reason: impl Display) {
        let message = format!("{} is missing: {reason}", self.label(key));
        self.problems.report_missing(self.header_offset, message);
    }

    /// Records a problem with a name that a person chose.
    pub(super) fn reject_name(&mut self, offset: usize, reason: impl Display) {
        self.problems.report(offset, reason.to_string());
    }

    /// Line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.problems.line(offset)
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
            self.reject_type(key, expected, value);
            return None;
        };
        parse(text)
            .map(|read| Spanned::new(value.span(), read))
            .map_err(|error| self.reject_at(value.span().start, key, error))
            .ok()
    }

    fn reject_type(&mut self, key: &str, expected: &str, value: &Spanned<DeValue<'t>>) {
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
        self.reject_at(start, key, format_args!("expected {expected}{example}, found {found}"));
    }

    fn reject_unknown_keys(&mut self) {
        for (offset, key) in self.entries() {
            if self.keys.iter().any(|(known, _)| *known == key) {
                continue;
            }
            let message = if is_for_secrets(key) {
                let label = self.label(key);
                format!(
                    "{label}: tokens do not belong in this file; use `{}`",
                    self.rotate_command
                )
            } else {
                format!("unknown key {}{}", self.label(key), self.suggestion(key))
            };
            self.problems.report(offset, message);
        }
    }

    fn suggestion(&self, key: &str) -> String {
        if let Some((place, _)) =
            (super::KEYS_BY_TABLE.iter()).find(|(_, keys)| keys.iter().any(|(known, _)| *known == key))
        {
            return format!("; it belongs {place}");
        }
        let similarity = |known: &str| strsim::jaro_winkler(known, key);
        (self.keys.iter())
            .map(|(known, _)| *known)
            .filter(|known| similarity(known) > SIMILAR_ENOUGH)
            .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
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

/// Rejects keys that a message must not show: a quoted key may hold escape sequences, and a long one may be a token
/// that lost its key.
fn is_presentable(key: &str) -> bool {
    let all_plain = (key.chars()).all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    all_plain && (1..=MAX_SHOWN_LENGTH).contains(&key.len())
}

fn is_for_secrets(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace(['-', '_'], "");
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

const SECRET_WORDS: [&str; 6] = ["token", "password", "passwd", "secret", "credential", "apikey"];
const MAX_SHOWN_LENGTH: usize = 24;
const SIMILAR_ENOUGH: f64 = 0.8;
