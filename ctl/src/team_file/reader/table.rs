//! Values of one registry's table, each of the type that its key has.

use toml_edit::{Item, TableLike, Value};

use super::{NOT_PORTABLE, offset};
use crate::presets::{self, Preset};
use crate::team_file::certificates;
use crate::team_file::problems::Problems;

/// Reader of one registry's table.
pub(super) struct Reader<'a, 'p, 't> {
    pub(super) table: &'a dyn TableLike,
    pub(super) problems: &'p mut Problems<'t>,
}

impl Reader<'_, '_, '_> {
    /// The text of a key.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let item = self.table.get(key)?;
        let text = item.as_str();
        if text.is_none() {
            self.problems
                .report(offset(item), format!("`{key}` is a text in quotes"));
        }
        text.map(str::to_owned)
    }

    /// True or false of a key.
    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        let item = self.table.get(key)?;
        let boolean = item.as_bool();
        if boolean.is_none() {
            self.problems.report(offset(item), format!("`{key}` is true or false"));
        }
        boolean
    }

    /// The texts of a list; empty without the key.
    pub(super) fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(item) = self.table.get(key) else {
            return Vec::new();
        };
        let texts = item
            .as_array()
            .and_then(|array| array.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match texts {
            Some(texts) if !texts.is_empty() => texts.into_iter().map(str::to_owned).collect(),
            _ => {
                self.problems
                    .report(offset(item), format!("`{key}` is a list of texts: [\"…\"]"));
                Vec::new()
            }
        }
    }

    /// The daemon knows which statuses can reject a token.
    pub(super) fn statuses(&mut self, key: &str) -> Vec<u16> {
        let Some(item) = self.table.get(key) else {
            return Vec::new();
        };
        let status = |value: &Value| value.as_integer().and_then(|number| u16::try_from(number).ok());
        let statuses = item
            .as_array()
            .and_then(|array| array.iter().map(status).collect::<Option<Vec<_>>>());
        statuses.filter(|statuses| !statuses.is_empty()).unwrap_or_else(|| {
            self.problems
                .report(offset(item), format!("`{key}` is a list of statuses: [401, 403]"));
            Vec::new()
        })
    }

    /// The product that the key names.
    pub(super) fn preset(&mut self) -> Option<&'static Preset> {
        let name = self.text("preset")?;
        let preset = presets::all().iter().find(|preset| preset.name == name);
        if preset.is_none() {
            let names: Vec<_> = presets::all().iter().map(|preset| preset.name).collect();
            let at = self.table.get("preset").map_or(0, offset);
            self.problems
                .report(at, format!("`preset` is one of {}", names.join(", ")));
        }
        preset
    }

    /// The name of a file below the folder of the team's file.
    pub(super) fn ca_file(&mut self) -> Option<String> {
        let path = self.text("ca-file")?;
        if certificates::is_beside(&path) {
            return Some(path);
        }
        let at = self.table.get("ca-file").map_or(0, offset);
        self.problems.report(
            at,
            "`ca-file` names a file beside this one: no absolute path, and no `..`",
        );
        None
    }

    /// The store or an exchange, in the short form of `--source`.
    pub(super) fn source(&mut self) -> Option<String> {
        let item = self.table.get("source")?;
        let source = match item.as_table_like() {
            Some(table) => exchange(table),
            None => item.as_str().map(str::to_owned).ok_or(NOT_PORTABLE),
        };
        match source {
            Ok(source) if is_portable(&source) => Some(source),
            Ok(_) => {
                self.problems.report(offset(item), NOT_PORTABLE);
                None
            }
            Err(reason) => {
                self.problems.report(offset(item), reason);
                None
            }
        }
    }
}

/// Short form of a table such as `{ exchange = "jfrog", host = "…" }`.
fn exchange(table: &dyn TableLike) -> Result<String, &'static str> {
    let name = table.get("exchange").and_then(Item::as_str).ok_or(NOT_PORTABLE)?;
    let mut pairs = Vec::new();
    for (key, item) in table.iter().filter(|(key, _)| *key != "exchange") {
        let value = item.as_str().ok_or(NOT_PORTABLE)?;
        if value.contains(',') {
            return Err("a value of an exchange contains no comma");
        }
        pairs.push(format!("{key}={value}"));
    }
    Ok(match pairs.is_empty() {
        true => name.to_owned(),
        false => format!("{name}:{}", pairs.join(",")),
    })
}

/// False for sources that read a file or variable. The daemon also refuses presets, which run programs.
fn is_portable(source: &str) -> bool {
    let reads_machine = |value: &str| value.starts_with("env:") || value.starts_with("file:");
    let values = source.split(',').filter_map(|pair| pair.split_once('='));
    !reads_machine(source) && values.into_iter().all(|(_, value)| !reads_machine(value))
}
