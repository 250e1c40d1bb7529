//! Text of one change of the configuration, such as `corp: scopes + https://corp.example/more/`.

use regauth_shared::response::ConfigurationChange;
use toml_edit::Value;

use super::{command, list, plain, url};
use crate::config::RegistryChange;
use crate::control::review::Change;

/// Text of a change.
pub(super) fn text(change: &Change) -> String {
    match change {
        Change::Registry(change) => registry(change),
        Change::Certificates { registry, file, .. } => {
            format!(
                "{registry}: other certificates in {}",
                plain(&file.display().to_string())
            )
        }
        Change::Setting(change) => format!("the setting {}", change.key),
    }
}

fn registry(change: &RegistryChange) -> String {
    match change.source.as_slice() {
        [] => key(&change.shown),
        words => format!("{}: source = {}", change.shown.registry, command(words)),
    }
}

fn key(change: &ConfigurationChange) -> String {
    let name = &change.registry;
    match (change.key.as_deref(), &change.before, &change.after) {
        (None, _, Some(scopes)) => {
            let token = change.widens.as_deref().map(|widens| format!(", {}", plain(widens)));
            let places = list(scopes.split(' ').map(url));
            format!("the new registry {name} at {places}{}", token.unwrap_or_default())
        }
        (None, _, None) => format!("without the registry {name}"),
        (Some(key @ "scopes"), before, after) => {
            let (before, after) = (texts(before.as_deref()), texts(after.as_deref()));
            let added = listed(" + ", after.iter().filter(|scope| !before.contains(scope)));
            let removed = listed(" - ", before.iter().filter(|scope| !after.contains(scope)));
            format!("{name}: {key}{added}{removed}")
        }
        (Some(key @ ("index" | "token-service")), _, Some(_)) => {
            let urls = texts(change.after.as_deref());
            let urls = urls.iter().map(|text| url(text.trim_start_matches("sparse+")));
            format!("{name}: {key} = {}", list(urls))
        }
        (Some(key), _, Some(after)) => format!("{name}: {key} = {}", plain(&texts(Some(after)).join(" "))),
        (Some(key), _, None) => format!("{name}: without {key}"),
    }
}

fn listed<'a>(sign: &str, scopes: impl Iterator<Item = &'a String>) -> String {
    let scopes = list(scopes.map(|scope| url(scope)));
    if scopes.is_empty() {
        scopes
    } else {
        format!("{sign}{scopes}")
    }
}

/// Texts in a TOML value: the elements of an array, or the value without its quotes.
fn texts(toml: Option<&str>) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Some(toml) = toml else { return Vec::new() };
    match toml.parse::<Value>() {
        Ok(Value::Array(array)) => array.iter().map(text).collect(),
        Ok(value) => vec![text(&value)],
        // A command's program is shown without TOML around it.
        Err(_) => vec![toml.to_owned()],
    }
}
