//! Edits to the text of `config.toml` that keep comments, order and layout.
//!
//! toml_edit stores the comments above a header or key together with it, so removing a table also removes comments that
//! are about something else. [`comments`] moves those to the next statement first. [`super::serialize`] makes the
//! tables and values that an edit adds.

mod comments;

use std::fmt;
use std::path::Path;

use regauth_shared::RegistryName;
use serde_json::Value as Json;
use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::serialize;
use super::upstream::ProxyUrl;
use crate::config::problem::{ProblemCollector, Problems};
use crate::credential::store::StoreKind;
use crate::registry::{Registry, Scope};

/// Text of a configuration file as an editable document. [`fmt::Display`] gives the text to write; line endings become
/// `\n`.
///
/// An edit does not check the resulting configuration: two registries may clash, for example. Read the text with
/// [`super::Config::read`] before writing it.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    document: DocumentMut,
}

impl ConfigFile {
    /// Parses a text as TOML. [`super::Config::read`] checks its keys and values.
    ///
    /// # Errors
    /// [`Problems`], with the first syntax error.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        match text.parse() {
            Ok(document) => Ok(Self { document }),
            Err(error) => Err(syntax_problems(text, &error)),
        }
    }

    /// Appends a registry at the end of the file. A registry of the same name is removed first.
    pub fn add_registry(&mut self, name: &RegistryName, registry: &Registry) {
        self.remove_registry(name);
        if let Some(inline) = self.document.get_mut(REGISTRIES).and_then(Item::as_inline_table_mut) {
            inline.insert(name.as_str(), serialize::inline_table(registry));
            return;
        }
        let mut table = serialize::table(registry);
        table.set_position(Some(comments::next_table_position(&self.document)));
        let registries = self.document.entry(REGISTRIES).or_insert_with(implicit_table);
        let Some(registries) = registries.as_table_mut() else {
            return;
        };
        registries.insert(name.as_str(), Item::Table(table));
        comments::append_after_blank_line(&mut self.document, &[REGISTRIES, name.as_str()]);
    }

    /// Removes a registry, the comments inside it and those directly above it. Returns `false` when there is no
    /// registry of that name.
    pub fn remove_registry(&mut self, name: &RegistryName) -> bool {
        if !self.registries().is_some_and(|table| table.contains_key(name.as_str())) {
            return false;
        }
        comments::keep_unrelated(&mut self.document, &[REGISTRIES, name.as_str()]);
        self.registries().and_then(|table| table.remove(name.as_str()));
        true
    }

    /// Adds scopes to a registry unless it lists them already. Does nothing when there is no registry of that name.
    pub fn add_scopes(&mut self, name: &RegistryName, scopes: &[Scope]) {
        let registry = self.registries().and_then(|table| table.get_mut(name.as_str()));
        let Some(registry) = registry.and_then(Item::as_table_like_mut) else {
            return;
        };
        match registry.get_mut("scopes").and_then(Item::as_array_mut) {
            Some(listed) => append_missing(listed, scopes),
            None => drop(registry.insert("scopes", toml_edit::value(serialize::array(scopes)))),
        }
    }

    /// Sets or, with `null`, removes a key of a registry. Comments beside the key stay. Does nothing when there is no
    /// registry of that name.
    ///
    /// # Errors
    /// A sentence about a value that no key has.
    pub fn set_registry_key(&mut self, name: &RegistryName, key: &str, value: &Json) -> Result<(), &'static str> {
        let registry = self.registries().and_then(|table| table.get_mut(name.as_str()));
        let Some(registry) = registry.and_then(Item::as_table_like_mut) else {
            return Ok(());
        };
        let Some(mut value) = serialize::from_json(value)? else {
            registry.remove(key);
            return Ok(());
        };
        if let Some(present) = registry.get_mut(key).and_then(Item::as_value_mut) {
            *value.decor_mut() = present.decor().clone();
            *present = value;
        } else {
            registry.insert(key, toml_edit::value(value));
        }
        Ok(())
    }

    /// Records the kind of store.
    pub fn set_store(&mut self, kind: StoreKind) {
        if let Some(value) = self.document.get_mut(STORE).and_then(Item::as_value_mut) {
            let decor = value.decor().clone();
            *value = Value::from(kind.as_str());
            *value.decor_mut() = decor;
            return;
        }
        let is_first_key = self.document.as_table().get_values().is_empty();
        self.document.insert(STORE, toml_edit::value(kind.as_str()));
        if is_first_key {
            comments::place_above_tables(&mut self.document, STORE);
        }
    }

    /// Sets the corporate proxy, and the hosts that are reached without it, unless there are none. A list in the file stays,
    /// unless `replace` is true.
    pub fn set_proxy(&mut self, proxy: &ProxyUrl, no_proxy: &[String], replace: bool) {
        let is_new = self.document.get(UPSTREAM).is_none();
        let upstream = self.document.entry(UPSTREAM).or_insert_with(toml_edit::table);
        if let Some(upstream) = upstream.as_table_like_mut() {
            let mut value = Value::from(proxy.to_text());
            if let Some(present) = upstream.get("proxy").and_then(Item::as_value) {
                *value.decor_mut() = present.decor().clone();
            }
            upstream.insert("proxy", Item::Value(value));
            if !no_proxy.is_empty() && (replace || !upstream.contains_key("no-proxy")) {
                upstream.insert("no-proxy", toml_edit::value(no_proxy.iter().collect::<Array>()));
            }
        }
        if is_new {
            comments::append_after_blank_line(&mut self.document, &[UPSTREAM]);
        }
    }

    /// Removes the corporate proxy.
    pub fn remove_proxy(&mut self) {
        if let Some(upstream) = self.document.get_mut(UPSTREAM).and_then(Item::as_table_like_mut) {
            upstream.remove("proxy");
        }
    }

    /// Sets the file with a company's roots.
    pub fn set_ca_file(&mut self, file: &Path) {
        let is_first_key = self.document.as_table().get_values().is_empty();
        self.document
            .insert(CA_FILE, toml_edit::value(file.display().to_string()));
        if is_first_key {
            comments::place_above_tables(&mut self.document, CA_FILE);
        }
    }

    fn registries(&mut self) -> Option<&mut dyn toml_edit::TableLike> {
        self.document.get_mut(REGISTRIES)?.as_table_like_mut()
    }
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

fn implicit_table() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// Appends the scopes that the array lacks, with the layout of its last element.
fn append_missing(array: &mut Array, scopes: &[Scope]) {
    let is_listed = |array: &Array, scope: &Scope| {
        let mut texts = array.iter().filter_map(Value::as_str);
        texts.any(|text| text.parse().as_ref() == Ok(scope))
    };
    for scope in scopes {
        if is_listed(array, scope) {
            continue;
        }
        let last = array.iter().last().and_then(|last| last.decor().prefix()?.as_str());
        let indented = last.and_then(|prefix| prefix.rsplit_once('\n'));
        let prefix = indented.map_or(" ".to_owned(), |(_, blanks)| format!("\n{blanks}"));
        let mut value = Value::from(scope.to_string());
        value.decor_mut().set_prefix(take_trailing_comment(array) + &prefix);
        array.push_formatted(value);
    }
}

/// Takes the comment after the last comma. It is about the element before it, so it must stay there.
fn take_trailing_comment(array: &mut Array) -> String {
    let comment = array.trailing().as_str().unwrap_or_default().trim_end().to_owned();
    if !comment.is_empty() {
        array.set_trailing("\n");
    }
    comment
}

fn syntax_problems(text: &str, error: &toml_edit::TomlError) -> Problems {
    let offset = error.span().map_or(0, |span| span.start);
    ProblemCollector::new(text, &[(offset, error.message().to_owned())]).into_problems()
}

const REGISTRIES: &str = "registries";
const STORE: &str = "store";
const UPSTREAM: &str = "upstream";
const CA_FILE: &str = "ca-file";

#[cfg(test)]
mod tests;
