//! Texts of a changed source: without arguments for answers, in full for the person who confirms it.

use std::fmt;

use toml_edit::{Table, Value};

use crate::config::serialize;
use crate::registry::{Command, Registry, Source};

/// Words of a source that runs a program or exchanges tokens, in full. `Debug` shows their number: they may hold secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceWords(Vec<String>);

impl SourceWords {
    /// Words of a source; none for a source whose value in the file says everything.
    pub(super) fn of(source: &Source) -> Self {
        match source {
            Source::Command(command) => Self(program(command)),
            Source::Minted(mint) => {
                let settings = serialize::mint_table(mint);
                let texts = settings
                    .iter()
                    .filter(|(key, _)| *key != "identity" || mint.command().is_none());
                let texts = texts.filter_map(|(key, item)| Some(format!("{key}={}", text(item.as_value()?))));
                let identity = mint.command().into_iter().flat_map(|command| {
                    let mut words = program(command);
                    words
                        .first_mut()
                        .into_iter()
                        .for_each(|first| first.insert_str(0, "identity="));
                    words
                });
                Self(texts.chain(identity).collect())
            }
            Source::Store | Source::Environment(_) | Source::File(_) | Source::Of(_) => Self::default(),
        }
    }

    /// The words.
    pub(crate) fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for SourceWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceWords({})", self.0.len())
    }
}

/// Value of `source` for an answer, with the program alone of a command: its arguments may hold secrets.
pub(super) fn shown(table: &Table, registry: &Registry) -> Option<Value> {
    let mut value = table.get("source")?.as_value()?.clone();
    match (&registry.source, &mut value) {
        (Source::Minted(mint), Value::InlineTable(settings)) if mint.command().is_some() => {
            settings.insert("identity", mint.identity.to_string().into());
        }
        _ => {}
    }
    Some(value)
}

fn program(command: &Command) -> Vec<String> {
    let mut words = command.command.clone();
    words
        .first_mut()
        .into_iter()
        .for_each(|first| first.insert_str(0, "run "));
    if !command.environment.is_empty() {
        words.push(format!("with {}", command.environment.join(" ")));
    }
    words
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
