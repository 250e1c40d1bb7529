//! Scanner for cargo's `credentials.toml` and `config.toml` (the Cargo book, "Configuration").

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{Document, DocumentMut, Item, Key, TableLike};

use super::auth_scheme;
use super::found::{TokenLocation, TokenTarget};
use super::scan::{Scan, ScannedToken};
use crate::user_folders::cargo_home;

/// Scans the credentials that `cargo login` wrote, then the configuration, where a person may have written a token. Cargo
/// still reads the old file names `credentials` and `config`.
pub(super) fn scan(scan: &mut Scan) {
    let Ok(folder) = cargo_home() else { return };
    let credentials = ["credentials.toml", "credentials"].map(|file| folder.join(file));
    for file in credentials.into_iter().chain(config_files(&folder)) {
        scan_file(&file, &folder, scan);
    }
}

/// Files of cargo's configuration, in its order: the folders above the current one, cargo's home.
fn config_files(cargo_home: &Path) -> Vec<PathBuf> {
    let current = std::env::current_dir().unwrap_or_default();
    let folders = current.ancestors().map(|folder| folder.join(".cargo"));
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders.chain([cargo_home.to_owned()]) {
        let in_folder = ["config", "config.toml"].map(|file| folder.join(file));
        // Cargo's home may be above the current folder.
        files.extend(
            in_folder
                .into_iter()
                .filter(|file| !files.contains(file))
                .collect::<Vec<_>>(),
        );
    }
    files
}

fn scan_file(file: &Path, cargo_home: &Path, scan: &mut Scan) {
    let Some(text) = scan.read(file) else { return };
    let Ok(document) = Document::parse(text.as_str()) else {
        scan.notes
            .push(format!("{} was skipped: it is not TOML", file.display()));
        return;
    };
    let root = document.as_table();
    if let Some(token) = token_of(root.get("registry")) {
        let target = TokenTarget::Scope(CRATES_IO_API.to_owned());
        let location = TokenLocation::new(file, removable_lines(&text, root, "registry"));
        scan.tokens.push(scanned_token("crates-io", target, token, location));
    }
    let Some(registries) = root.get("registries") else {
        return;
    };
    for (name, registry) in registries.as_table_like().into_iter().flat_map(TableLike::iter) {
        let Some(token) = token_of(Some(registry)) else {
            continue;
        };
        let lines = registries.as_table().map(|tables| removable_lines(&text, tables, name));
        let location = TokenLocation::new(file, lines.unwrap_or_default());
        match find_index(name, cargo_home) {
            Some(index) => {
                let target = TokenTarget::Index(index);
                scan.tokens.push(scanned_token(name, target, token, location));
            }
            None => scan.notes.push(format!(
                "{}: the token of `{name}` was skipped: cargo's configuration has no index of that name; add it with \
                 `regauthctl add-registry {name} --index URL`",
                file.display()
            )),
        }
    }
}

/// Lines to delete for the token of registry `name`: the token's, and the table's header if the table becomes empty.
/// Returns none if the token shares its line with other values.
fn removable_lines(text: &str, tables: &dyn TableLike, name: &str) -> Vec<Range<usize>> {
    let line_of = |key: &Key, value: &Item| Some(full_lines(text, key.span()?.start..value.span()?.end));
    let lines = match tables.get_key_value(name) {
        Some((_, Item::Table(table))) => {
            let token = table.get_key_value("token");
            let token = token.and_then(|(key, value)| line_of(key, value));
            let becomes_empty = table.len() == 1 && !table.is_dotted() && !table.is_implicit();
            let header = table.span().filter(|_| becomes_empty);
            let header = header.map(|span| full_lines(text, span.start..span.start));
            [header, token]
        }
        Some((key, value)) if value.as_inline_table().is_some_and(|table| table.len() == 1) => {
            [None, line_of(key, value)]
        }
        _ => [None, None],
    };
    lines.into_iter().flatten().collect()
}

/// Extends a range to full lines.
fn full_lines(text: &str, span: Range<usize>) -> Range<usize> {
    let before = text.get(..span.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let newline = text.get(span.end..).and_then(|after| after.find('\n'));
    start..newline.map_or(text.len(), |length| span.end + length + 1)
}

fn scanned_token(name: &str, target: TokenTarget, token: &str, location: TokenLocation) -> ScannedToken {
    let (scheme, secret) = auth_scheme::from_header(token);
    ScannedToken {
        name: Some(name.to_owned()),
        kind: "cargo",
        target,
        scheme,
        secret,
        location,
    }
}

fn token_of(registry: Option<&Item>) -> Option<&str> {
    registry?.get("token")?.as_str()
}

/// Finds the index of a registry, in cargo's order: the variable, then the configuration files.
fn find_index(name: &str, cargo_home: &Path) -> Option<String> {
    let variable = format!("CARGO_REGISTRIES_{}_INDEX", name.to_ascii_uppercase().replace('-', "_"));
    if let Ok(index) = std::env::var(variable) {
        return Some(index);
    }
    config_files(cargo_home).iter().find_map(|file| index_in(file, name))
}

fn index_in(file: &Path, name: &str) -> Option<String> {
    let document: DocumentMut = std::fs::read_to_string(file).ok()?.parse().ok()?;
    let index = document.get("registries")?.get(name)?.get("index")?;
    index.as_str().map(str::to_owned)
}

/// Scope of a crates.io token: its index and downloads are public.
const CRATES_IO_API: &str = "https://crates.io/api/v1/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_the_line_of_a_token_and_the_header_of_a_table_left_empty() {
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
            for range in removable_lines(before, tables, name).into_iter().rev() {
                text.replace_range(range, "");
            }
            assert_eq!(text, after);
        }
    }
}
