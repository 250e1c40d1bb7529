//! Index of a registry in the project's own cargo configuration.

use std::path::{Path, PathBuf};

use crate::setup::cargo_names;

/// Index of a registry, and the file that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedIndex {
    /// Index, as cargo has it.
    pub(crate) index: String,
    /// The file.
    pub(crate) file: PathBuf,
}

/// Index that the cargo configuration of a project has for a name: in the folder or above it, as far as its repository
/// reaches. The deepest file wins, as for cargo.
pub(crate) fn index_in_project(folder: &Path, name: &str) -> Option<NamedIndex> {
    let folder = std::path::absolute(folder).ok()?;
    let root = folder.ancestors().find(|folder| folder.join(".git").exists());
    let inside = folder
        .ancestors()
        .filter(|folder| root.is_none_or(|root| folder.starts_with(root)));
    let files: Vec<_> = inside
        .flat_map(|folder| cargo_names::files_in(&folder.join(".cargo")))
        .collect();
    let names = cargo_names::read(&files);
    let found = names.into_iter().find(|found| found.name == name)?;
    Some(NamedIndex {
        index: found.index,
        file: found.file,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_deepest_file_of_the_repository_wins() {
        let home = tempfile::tempdir().unwrap();
        let write = |folder: &str, index: &str| {
            let folder = home.path().join(folder).join(".cargo");
            fs::create_dir_all(&folder).unwrap();
            fs::write(
                folder.join("config.toml"),
                format!("[registries.corp]\nindex = \"{index}\"\n"),
            )
            .unwrap();
        };
        write("", "sparse+https://outside.example/");
        write("repository", "sparse+https://root.example/");
        write("repository/inner", "sparse+https://inner.example/");
        fs::create_dir_all(home.path().join("repository/.git")).unwrap();
        let index = |folder: &str, name| index_in_project(&home.path().join(folder), name).map(|found| found.index);
        assert_eq!(
            index("repository/inner", "corp").unwrap(),
            "sparse+https://inner.example/"
        );
        assert_eq!(
            index("repository/other", "corp").unwrap(),
            "sparse+https://root.example/"
        );
        assert_eq!(index("repository", "nobody"), None);
        assert_eq!(index("", "corp").unwrap(), "sparse+https://outside.example/");
    }
}
