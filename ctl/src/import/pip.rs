//! pip's configuration files (pip's documentation, "Configuration"): indexes whose URL has a user and password.

use std::path::{Path, PathBuf};

use super::text::{lines, range_of, read, with_user};
use super::{Entry, Findings, Origin};
use crate::user_folders::{home, path_variable as variable, xdg_config};

/// All the files that pip reads, from the machine's to the virtual environment's.
pub(super) fn look(findings: &mut Findings) {
    for file in files() {
        look_into(&file, findings);
    }
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf"].map(PathBuf::from).into();
    if let Ok(home) = home() {
        files.push(home.join("Library/Application Support/pip/pip.conf"));
        files.push(home.join(".pip/pip.conf"));
    }
    files.extend(xdg_config().ok().map(|folder| folder.join("pip/pip.conf")));
    files.extend(variable("VIRTUAL_ENV").map(|folder| folder.join("pip.conf")));
    files.extend(variable("PIP_CONFIG_FILE"));
    files.dedup();
    files
}

fn look_into(file: &Path, findings: &mut Findings) {
    let Some(text) = read(file, findings) else { return };
    let mut about_an_index = false;
    for (_, line) in lines(&text) {
        let goes_on = line.starts_with([' ', '\t']);
        let value = match line.split_once(['=', ':']) {
            _ if line.trim_start().starts_with(['#', ';']) => continue,
            _ if goes_on => line,
            Some((key, value)) => {
                about_an_index = INDEXES.contains(&key.trim().to_lowercase().replace('_', "-").as_str());
                value
            }
            None => {
                about_an_index = false;
                continue;
            }
        };
        let urls = value.split_whitespace().filter(|_| about_an_index);
        for url in urls.filter_map(with_user) {
            let origin = Origin::bytes(file, vec![range_of(&text, url.userinfo)]);
            let mut entry = Entry::of(url, "pypi", origin);
            entry.widen();
            findings.found.push(entry);
        }
    }
}

impl Entry {
    /// Archives lie beside the index, not below it.
    fn widen(&mut self) {
        if let super::Place::Scope(scope) = &mut self.place {
            let ends = ["simple/", "+simple/"]
                .iter()
                .find(|end| scope.ends_with(&format!("/{end}")));
            scope.truncate(scope.len() - ends.map_or(0, |end| end.len()));
        }
    }
}

const INDEXES: [&str; 3] = ["index-url", "extra-index-url", "find-links"];
