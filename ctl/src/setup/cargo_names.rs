//! Names that cargo's configuration has for an index already.
//!
//! Cargo rejects an index that has two names as soon as it needs a credential for it. So setup adds no second name.

use std::path::{Path, PathBuf};

use toml_edit::DocumentMut;
use url::Url;

use crate::user_folders::cargo_home;

/// Name of an index in a file of cargo's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexName {
    /// The file.
    pub(crate) file: PathBuf,
    /// Key below `[registries]`.
    pub(crate) name: String,
    /// Index.
    pub(crate) index: String,
}

impl IndexName {
    /// Note for the user that setup gives the index no second name.
    pub(crate) fn note(&self, registry: &str) -> String {
        format!(
            "{} calls the index of {registry} `{}` already, and cargo rejects an index with two names; use that one",
            self.file.display(),
            self.name
        )
    }
}

/// Reads the names in these files. A file that is missing or no TOML has none.
pub(crate) fn read(files: &[PathBuf]) -> Vec<IndexName> {
    files.iter().flat_map(|file| names_in(file)).collect()
}

/// Names of an index other than `own`.
pub(crate) fn others<'a>(names: &'a [IndexName], index: &str, own: &str) -> Vec<&'a IndexName> {
    let wanted = normalized(index);
    let is_other = |name: &&IndexName| name.name != own && normalized(&name.index) == wanted;
    names.iter().filter(is_other).collect()
}

/// Another name that cargo's configuration has for an index: of the project in the current folder, or of the user.
pub(crate) fn other_name(index: &str, own: &str) -> Option<IndexName> {
    let folder = std::env::current_dir().unwrap_or_default();
    let of_user = cargo_home().ok().map(|home| files_in(&home));
    let files: Vec<_> = files_above(&folder)
        .into_iter()
        .chain(of_user.into_iter().flatten())
        .collect();
    let names = read(&files);
    let has_own = names
        .iter()
        .any(|name| name.name == own && normalized(&name.index) == normalized(index));
    let other = others(&names, index, own).into_iter().next().cloned();
    other.filter(|_| !has_own)
}

/// Configuration files that cargo merges when it runs in this folder (the Cargo book, "Hierarchical structure").
pub(crate) fn files_above(folder: &Path) -> Vec<PathBuf> {
    let folders = folder.ancestors().map(|folder| folder.join(".cargo"));
    folders.flat_map(|folder| files_in(&folder)).collect()
}

/// Configuration files of a folder such as `~/.cargo`.
pub(crate) fn files_in(folder: &Path) -> [PathBuf; 2] {
    ["config", "config.toml"].map(|file| folder.join(file))
}

fn names_in(file: &Path) -> Vec<IndexName> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let document: DocumentMut = text.parse().unwrap_or_default();
    let registries = document.get("registries").and_then(|item| item.as_table_like());
    let entries = registries.into_iter().flat_map(|registries| registries.iter());
    let name = |(name, registry): (&str, &toml_edit::Item)| {
        Some(IndexName {
            file: file.to_owned(),
            name: name.to_owned(),
            index: registry.get("index")?.as_str()?.to_owned(),
        })
    };
    entries.filter_map(name).collect()
}

/// Form in which cargo compares indexes: the protocol, the parsed URL, no slash and no `.git` at the end.
fn normalized(index: &str) -> String {
    let (protocol, url) = match index.strip_prefix("sparse+") {
        Some(url) => ("sparse+", url),
        None => ("", index),
    };
    let parsed = Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.to_string());
    let trimmed = parsed.trim_end_matches('/');
    format!("{protocol}{}", trimmed.strip_suffix(".git").unwrap_or(trimmed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_another_name_of_an_index_in_every_spelling() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(
            &file,
            "registries.\"my.corp\".index = \"sparse+https://CORP.example:443/index\"\n\
             [registries]\nother = { index = \"https://corp.example/index/\" }\n",
        )
        .unwrap();
        assert_eq!(
            read(std::slice::from_ref(&file)),
            [],
            "a table defined twice is no TOML"
        );
        std::fs::write(
            &file,
            "[registries]\nInternal = { index = \"sparse+https://CORP.example:443/index\" }\n\
             corp = { index = \"sparse+https://corp.example/index/\" }\ngit = { index = \"https://corp.example/index/\" }\n",
        )
        .unwrap();
        let names = read(&[file, folder.path().join("missing")]);
        let others: Vec<_> = others(&names, "sparse+https://corp.example/index/", "corp");
        assert_eq!(
            others.iter().map(|other| &*other.name).collect::<Vec<_>>(),
            ["Internal"]
        );
    }
}
