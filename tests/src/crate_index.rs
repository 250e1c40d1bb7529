//! Index and archives of a registry, as files that nginx serves and the web API changes. With a git index, every change
//! is also a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::auth_gate::replace;
use crate::crates::PackagedCrate;
use crate::exec;

/// Index in `index/` and archives in `crates/`, below one folder.
#[derive(Debug)]
pub struct CrateIndex {
    folder: PathBuf,
    repository: Option<PathBuf>,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    entries: BTreeMap<String, Vec<Value>>,
    owners: BTreeMap<String, BTreeSet<String>>,
}

impl CrateIndex {
    /// Creates an empty index with its `config.json`, and a bare repository for a git index.
    pub fn new(folder: &Path, config: &Value, repository: Option<PathBuf>) -> Self {
        let crate_index = Self {
            folder: folder.to_owned(),
            repository,
            contents: Mutex::default(),
        };
        replace(&crate_index.index().join("config.json"), config.to_string().as_bytes());
        if let Some(repository) = &crate_index.repository {
            crate_index.git(&[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                repository.to_str().unwrap(),
            ]);
        }
        crate_index.commit("config");
        crate_index
    }

    /// Adds a crate; `false` when the version exists.
    pub fn add(&self, packaged: &PackagedCrate) -> bool {
        let [name, version] = ["name", "vers"].map(|key| packaged.entry[key].as_str().unwrap());
        let mut contents = self.contents();
        let entries = contents.entries.entry(name.to_owned()).or_default();
        if entries.iter().any(|entry| entry["vers"] == version) {
            return false;
        }
        entries.push(packaged.entry.clone());
        replace(
            &self.folder.join("crates").join(name).join(version).join("download"),
            &packaged.archive,
        );
        self.write_index(name, entries);
        true
    }

    /// Yanks or unyanks a version; `false` when it does not exist.
    pub fn set_yanked(&self, name: &str, version: &str, yanked: bool) -> bool {
        let mut contents = self.contents();
        let Some(entries) = contents.entries.get_mut(name) else {
            return false;
        };
        let Some(entry) = entries.iter_mut().find(|entry| entry["vers"] == version) else {
            return false;
        };
        entry["yanked"] = json!(yanked);
        self.write_index(name, entries);
        true
    }

    /// Index entry of a version.
    pub fn entry(&self, name: &str, version: &str) -> Option<Value> {
        let contents = self.contents();
        contents
            .entries
            .get(name)?
            .iter()
            .find(|entry| entry["vers"] == version)
            .cloned()
    }

    /// Names that contain `text`, with their last version.
    pub fn search(&self, text: &str) -> Vec<(String, String)> {
        let contents = self.contents();
        let found = contents.entries.iter().filter(|(name, _)| name.contains(text));
        found
            .map(|(name, entries)| {
                (
                    name.clone(),
                    entries.last().unwrap()["vers"].as_str().unwrap().to_owned(),
                )
            })
            .collect()
    }

    /// Owners of a crate; `None` when it does not exist.
    pub fn owners(&self, name: &str) -> Option<Vec<String>> {
        let contents = self.contents();
        contents.entries.get(name)?;
        Some(contents.owners.get(name).into_iter().flatten().cloned().collect())
    }

    /// Adds or removes owners.
    pub fn change_owners(&self, name: &str, logins: &[String], add: bool) {
        let mut contents = self.contents();
        let owners = contents.owners.entry(name.to_owned()).or_default();
        for login in logins {
            if add {
                owners.insert(login.clone());
            } else {
                owners.remove(login);
            }
        }
    }

    fn write_index(&self, name: &str, entries: &[Value]) {
        let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
        replace(&self.index().join(index_path(name)), lines.as_bytes());
        self.commit(name);
    }

    fn commit(&self, message: &str) {
        if self.repository.is_some() {
            self.git(&["add", "--all"]);
            self.git(&["commit", "--quiet", "--message", message]);
        }
    }

    fn git(&self, arguments: &[&str]) {
        let mut git: Command = exec::command("git", &self.folder);
        git.args(["-c", "user.name=registry", "-c", "user.email=registry@corp.example"]);
        if let (Some(repository), false) = (&self.repository, arguments[0] == "init") {
            git.arg("--git-dir")
                .arg(repository)
                .arg("--work-tree")
                .arg(self.index());
        }
        exec::run(git.args(arguments)).succeeds();
    }

    fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }
}

/// Path of a crate's file in an index (Cargo book, "Index files").
fn index_path(name: &str) -> String {
    let name = name.to_lowercase();
    match name.len() {
        1 => format!("1/{name}"),
        2 => format!("2/{name}"),
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    }
}
