//! Changes a configuration text and keeps the rest of it as the person wrote it, comments and order included.
//!
//! What adds or removes whole [`lines`] is done on the text: toml_edit ties a comment to the key or header below it, so
//! removing that would take along comments that speak of something else. Where lines are not enough, because several
//! registries share an inline table, the change is made in toml_edit's tree. What is added is in [`written`].

use std::fmt;

use regauth_shared::RegistryName;
use toml_edit::{Array, DocumentMut, Item, Value};

use super::{lines, written};
use crate::config::problem::{Findings, Problems};
use crate::credential::store::StoreKind;
use crate::registry::{Registry, Scope};

/// The text of a configuration file as a document. Its [`fmt::Display`] is the text to write; line endings become `\n`.
///
/// An edit does not say whether the result is a good configuration, since two registries may clash: read it with
/// [`super::Config::read`] before it is written.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    document: DocumentMut,
}

impl ConfigFile {
    /// Reads a text. Whether it is a good configuration is for [`super::Config::read`] to say.
    ///
    /// # Errors
    /// [`Problems`], with the first place where it is not TOML.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        match text.parse() {
            Ok(document) => Ok(Self { document }),
            Err(error) => Err(syntax_problems(text, &error)),
        }
    }

    /// Appends a registry, in place of one that has its name.
    pub fn add_registry(&mut self, name: &RegistryName, registry: &Registry) {
        self.remove_registry(name);
        let mut text = self.to_string();
        if !text.is_empty() {
            text.truncate(text.trim_end_matches('\n').len());
            text.push_str("\n\n");
        }
        text.push_str(&written::table(name, registry));
        if !self.replace(&text)
            && let Some(registries) = self.registries()
        {
            registries.insert(name.as_str(), Item::Value(written::inline(registry)));
        }
    }

    /// Removes a registry with the comments inside it and directly above it. `false` when there is none of that name.
    pub fn remove_registry(&mut self, name: &RegistryName) -> bool {
        let text = self.to_string();
        let found = self.registries().is_some_and(|table| table.contains_key(name.as_str()));
        let cut = lines::without_registry(&text, name);
        if found && !cut.is_some_and(|text| self.replace(&text)) {
            self.registries().and_then(|table| table.remove(name.as_str()));
        }
        found
    }

    /// Has a registry cover all of these. Does nothing when there is none of that name.
    pub fn cover(&mut self, name: &RegistryName, scopes: &[Scope]) {
        let registry = self.registries().and_then(|table| table.get_mut(name.as_str()));
        let Some(registry) = registry.and_then(Item::as_table_like_mut) else {
            return;
        };
        match registry.get_mut("scopes").and_then(Item::as_array_mut) {
            Some(present) => append(present, scopes),
            None => drop(registry.insert("scopes", toml_edit::value(written::strings(scopes)))),
        }
    }

    /// Records the store that was chosen.
    pub fn set_store(&mut self, kind: StoreKind) {
        if let Some(value) = self.document.get_mut("store").and_then(Item::as_value_mut) {
            let decor = value.decor().clone();
            *value = Value::from(kind.as_str());
            *value.decor_mut() = decor;
            return;
        }
        let has_other_keys = !self.document.as_table().get_values().is_empty();
        if has_other_keys || !self.replace(&lines::with_store(&self.to_string(), kind)) {
            self.document.insert("store", toml_edit::value(kind.as_str()));
        }
    }

    fn registries(&mut self) -> Option<&mut dyn toml_edit::TableLike> {
        self.document.get_mut("registries")?.as_table_like_mut()
    }

    fn replace(&mut self, text: &str) -> bool {
        text.parse().map(|document| self.document = document).is_ok()
    }
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

/// Appends the scopes that are not there yet, laid out as the last one is.
fn append(array: &mut Array, scopes: &[Scope]) {
    let is_there = |array: &Array, scope: &Scope| {
        let mut texts = array.iter().filter_map(Value::as_str);
        texts.any(|text| text.parse().as_ref() == Ok(scope))
    };
    for scope in scopes {
        if is_there(array, scope) {
            continue;
        }
        let last = array.iter().last().and_then(|last| last.decor().prefix()?.as_str());
        let indented = last.and_then(|prefix| prefix.rsplit_once('\n'));
        let prefix = indented.map_or(" ".to_owned(), |(_, blanks)| format!("\n{blanks}"));
        let mut value = Value::from(scope.to_string());
        value.decor_mut().set_prefix(comment_behind(array) + &prefix);
        array.push_formatted(value);
    }
}

/// Takes the comment behind the last comma, which speaks of what stands before it.
fn comment_behind(array: &mut Array) -> String {
    let behind = array.trailing().as_str().unwrap_or_default().trim_end().to_owned();
    if !behind.is_empty() {
        array.set_trailing("\n");
    }
    behind
}

fn syntax_problems(text: &str, error: &toml_edit::TomlError) -> Problems {
    let place = error.span().map_or(0, |span| span.start);
    Findings::new(text, &[(place, error.message().to_owned())]).problems()
}

#[cfg(test)]
mod tests;
