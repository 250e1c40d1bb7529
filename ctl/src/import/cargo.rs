//! Cargo's `credentials.toml`, and where its registries are (the Cargo book, "Configuration").

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{Document, DocumentMut, Item, Key, TableLike};

use super::text::read;
use super::{Entry, Findings, Origin, Place, login};
use crate::user_folders::{home, path_variable as variable};

/// What cargo has been given by `cargo login`, or by hand.
pub(super) fn look(findings: &mut Findings) {
    let Some(folder) = variable("CARGO_HOME").or_else(|| Some(home().ok()?.join(".cargo"))) else {
        return;
    };
    for file in ["credentials.toml", "credentials"] {
        look_into(&folder.join(file), &folder, findings);
    }
}

fn look_into(file: &Path, cargo_home: &Path, findings: &mut Findings) {
    let Some(text) = read(file, findings) else { return };
    let Ok(document) = Document::parse(text.as_str()) else {
        findings.notes.push(format!("{} is not TOML", file.display()));
        return;
    };
    let root = document.as_table();
    if let Some(token) = token(root.get("registry")) {
        let place = Place::Scope(CRATES_IO.to_owned());
        let origin = Origin::bytes(file, lines_of(&text, root, "registry"));
        findings.found.push(entry("crates-io", place, token, origin));
    }
    let Some(registries) = root.get("registries") else {
        return;
    };
    for (name, registry) in registries.as_table_like().into_iter().flat_map(TableLike::iter) {
        let Some(token) = token(Some(registry)) else { continue };
        let lines = registries.as_table().map(|tables| lines_of(&text, tables, name));
        let origin = Origin::bytes(file, lines.unwrap_or_default());
        match index(name, cargo_home) {
            Some(index) => findings.found.push(entry(name, Place::Index(index), token, origin)),
            None => findings.notes.push(format!(
                "{}: there is a token for `{name}`, and cargo's configuration has no index for it; \
                 `regauthctl add-registry {name} --index URL` takes it by hand",
                file.display()
            )),
        }
    }
}

/// The line of a registry's token and, where that leaves the table empty, of its header. Nothing where the token shares a
/// line with more.
fn lines_of(text: &str, tables: &dyn TableLike, name: &str) -> Vec<Range<usize>> {
    let line = |span: Range<usize>| {
        let start = text
            .get(..span.start)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |at| at + 1);
        let end = text.get(span.end..).and_then(|after| after.find('\n'));
        start..end.map_or(text.len(), |length| span.end + length + 1)
    };
    let whole = |key: &Key, value: &Item| Some(line(key.span()?.start..value.span()?.end));
    let found = match tables.get_key_value(name) {
        Some((_, Item::Table(table))) => {
            let token = table.get_key_value("token").and_then(|(key, value)| whole(key, value));
            let alone = table.len() == 1 && !table.is_dotted() && !table.is_implicit();
            let header = table.span().filter(|_| alone).map(|span| line(span.start..span.start));
            [header, token]
        }
        Some((key, value)) if value.as_inline_table().is_some_and(|table| table.len() == 1) => {
            [None, whole(key, value)]
        }
        _ => [None, None],
    };
    found.into_iter().flatten().collect()
}

fn entry(name: &str, place: Place, token: &str, origin: Origin) -> Entry {
    let (login, secret) = login::authorization(token);
    Entry {
        name: Some(name.to_owned()),
        kind: "cargo",
        place,
        login,
        secret,
        origin,
    }
}

fn token(registry: Option<&Item>) -> Option<&str> {
    registry?.get("token")?.as_str()
}

/// From the variable, from the folders above this one, from cargo's own.
fn index(name: &str, cargo_home: &Path) -> Option<String> {
    let variable = format!("CARGO_REGISTRIES_{}_INDEX", name.to_ascii_uppercase().replace('-', "_"));
    if let Ok(index) = std::env::var(variable) {
        return Some(index);
    }
    let here = std::env::current_dir().unwrap_or_default();
    let folders = here.ancestors().map(|folder| folder.join(".cargo"));
    let folders: Vec<PathBuf> = folders.chain([cargo_home.to_owned()]).collect();
    let files = folders
        .iter()
        .flat_map(|folder| ["config", "config.toml"].map(|file| folder.join(file)));
    files.into_iter().find_map(|file| index_in(&file, name))
}

fn index_in(file: &Path, name: &str) -> Option<String> {
    let document: DocumentMut = std::fs::read_to_string(file).ok()?.parse().ok()?;
    let index = document.get("registries")?.get(name)?.get("index")?;
    index.as_str().map(str::to_owned)
}

/// What a token for crates.io is for: its index and its downloads are everybody's.
const CRATES_IO: &str = "https://crates.io/api/v1/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_with_its_line_and_the_header_that_it_leaves_empty_and_nothing_else() {
        for (before, table, name, after) in [
            ("[registry]\ntoken = \"x\"\n", None, "registry", ""),
            (
                "# mine\n[registries.a]\ntoken = \"x\" # a\n\n# b\n[registries.b]\ntoken = \"y\"",
                Some("registries"),
                "b",
                "# mine\n[registries.a]\ntoken = \"x\" # a\n\n# b\n",
            ),
            (
                "[registries.a]\n# t\ntoken = \"x\"\nz = 1\n",
                Some("registries"),
                "a",
                "[registries.a]\n# t\nz = 1\n",
            ),
            ("registries.a.token = \"x\"\n# b\n", Some("registries"), "a", "# b\n"),
            (
                "[registries]\na = { token = \"x\" }\n",
                Some("registries"),
                "a",
                "[registries]\n",
            ),
            (
                "registries = { a = { token = \"x\", z = 1 } }\n",
                Some("registries"),
                "a",
                "registries = { a = { token = \"x\", z = 1 } }\n",
            ),
        ] {
            let document = Document::parse(before).unwrap();
            let root = document.as_table();
            let tables = table.map_or(root as &dyn TableLike, |table| root[table].as_table_like().unwrap());
            let mut text = before.to_owned();
            for range in lines_of(before, tables, name).into_iter().rev() {
                text.replace_range(range, "");
            }
            assert_eq!(text, after);
        }
    }
}
