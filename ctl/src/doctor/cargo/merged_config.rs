//! Cargo's merged configuration, as cargo itself prints it.

use std::path::Path;

use serde_json::Value;

use crate::program::on_path;

/// Cargo's merged configuration, and the file that each value is from.
pub(super) struct MergedConfig {
    values: Value,
    /// Lines `KEY = VALUE # FILE`.
    origins: String,
}

impl MergedConfig {
    /// Asks cargo. The command is unstable but has not changed for years; without an answer, the checks see only
    /// variables.
    pub(super) fn read() -> Self {
        let values = Self::get(&["--format", "json"]).and_then(|json| serde_json::from_str(&json).ok());
        Self {
            values: values.unwrap_or(Value::Null),
            origins: Self::get(&["--show-origin"]).unwrap_or_default(),
        }
    }

    fn get(arguments: &[&str]) -> Option<String> {
        let mut cargo = std::process::Command::new(on_path("cargo")?);
        cargo.env("RUSTC_BOOTSTRAP", "1");
        cargo.args(["-Zunstable-options", "config", "get"]).args(arguments);
        String::from_utf8(cargo.output().ok()?.stdout).ok()
    }

    /// The value at a JSON pointer.
    pub(super) fn pointer(&self, pointer: &str) -> Option<&Value> {
        self.values.pointer(pointer)
    }

    /// The file that has a key, such as `http.proxy`.
    pub(super) fn file_of(&self, key: &str) -> Option<&Path> {
        let value_of = |line: &'_ str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "));
        let line = self.origins.lines().find(|line| value_of(line))?;
        let (_, origin) = line.rsplit_once(" # ")?;
        Some(Path::new(origin)).filter(|file| file.is_absolute())
    }
}

/// The string at a JSON pointer.
pub(super) fn string_at(config: &MergedConfig, pointer: &str) -> Option<String> {
    config.pointer(pointer)?.as_str().map(str::to_owned)
}

/// A command or list of providers, which cargo accepts as a string or an array.
pub(super) fn words_at(config: &MergedConfig, pointer: &str) -> Option<String> {
    match config.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        array @ Value::Array(_) => Some(strings(Some(array)).join(" ")),
        _ => None,
    }
}

/// The strings of an array; empty for any other value.
pub(super) fn strings(array: Option<&Value>) -> Vec<String> {
    let items = array.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
