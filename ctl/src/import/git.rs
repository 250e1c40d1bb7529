//! Git's own configuration, as git reads it: URLs with a password that others are rewritten to, headers that are added,
//! and files that its `store` helper keeps.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::text::{lines, range_of, read, scope, with_user};
use super::{Entry, Findings, Origin, Place, git_credentials, login};
use crate::user_folders::{home, xdg_config};

/// What git is told for this user and this machine.
pub(super) fn look(findings: &mut Findings) {
    let mut stores: Vec<PathBuf> = [home(), xdg_config()].into_iter().filter_map(Result::ok).collect();
    for (folder, file) in stores.iter_mut().zip([".git-credentials", "git/credentials"]) {
        folder.push(file);
    }
    for setting in settings() {
        if let Some(base) = base_of_rewrite(&setting.key) {
            rewrite(base, &setting, findings);
        } else if setting.key.ends_with(".extraheader") {
            header(&setting, findings);
        } else if setting.key.starts_with("credential.") && setting.key.ends_with(".helper") {
            stores.extend(file_of_helper(&setting.value));
        }
    }
    stores.sort();
    stores.dedup();
    for file in stores {
        git_credentials::look(&file, findings);
    }
}

struct Setting {
    file: PathBuf,
    key: String,
    value: String,
}

/// `git config --list -z --show-origin`: origin, NUL, key, newline, value, NUL. Asked outside of any repository, whose
/// files are its project's.
fn settings() -> Vec<Setting> {
    let mut git = Command::new("git");
    git.args(["config", "--list", "-z", "--show-origin"]).current_dir("/");
    let Ok(output) = git.output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split('\0');
    let mut settings = Vec::new();
    while let (Some(origin), Some(setting)) = (fields.next(), fields.next()) {
        let (key, value) = setting.split_once('\n').unwrap_or((setting, ""));
        if let Some(file) = origin.strip_prefix("file:") {
            settings.push(Setting {
                file: PathBuf::from(file),
                key: key.to_owned(),
                value: value.to_owned(),
            });
        }
    }
    settings
}

fn base_of_rewrite(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("url.")?;
    [".insteadof", ".pushinsteadof"]
        .iter()
        .find_map(|end| rest.strip_suffix(end))
}

/// The user and password go from the header of the section, wherever it stands in the file; what is rewritten goes on
/// being rewritten.
fn rewrite(base: &str, setting: &Setting, findings: &mut Findings) {
    let Some(url) = with_user(base) else { return };
    let Some(text) = read(&setting.file, findings) else {
        return;
    };
    let written = base.replace('\\', "\\\\").replace('"', "\\\"");
    let headers = lines(&text).filter(|(_, line)| line.trim_start().starts_with('['));
    let users = headers.filter_map(|(_, line)| {
        let found = line.get(line.find(&format!("\"{written}\""))?..)?;
        found.get(found.find(url.userinfo)?..)?.get(..url.userinfo.len())
    });
    let ranges = users.map(|user| range_of(&text, user)).collect();
    let origin = Origin::bytes(&setting.file, ranges);
    findings.found.push(Entry::of(url, "git", origin));
}

fn header(setting: &Setting, findings: &mut Findings) {
    let Some((name, value)) = setting.value.split_once(':') else {
        return;
    };
    if !name.trim().eq_ignore_ascii_case("authorization") {
        return;
    }
    let url = setting
        .key
        .strip_prefix("http.")
        .and_then(|rest| rest.strip_suffix(".extraheader"));
    let Some(scope) = url.and_then(scope) else {
        let file = setting.file.display();
        let note = format!("{file}: http.extraHeader sends a credential to every host; nobody can say whose it is");
        findings.notes.push(note);
        return;
    };
    let Some(text) = read(&setting.file, findings) else {
        return;
    };
    let is_it = |line: &str| {
        let line = line.trim_start().to_ascii_lowercase();
        line.starts_with("extraheader")
    };
    let ours = lines(&text).filter(|(_, line)| is_it(line) && line.contains(value.trim()));
    let ranges = ours.map(|(_, line)| range_of(&text, line)).collect();
    let (login, secret) = login::authorization(value);
    findings.found.push(Entry {
        name: None,
        kind: "git",
        place: Place::Scope(scope),
        login,
        secret,
        origin: Origin::bytes(&setting.file, ranges),
    });
}

/// `store --file=PATH`.
fn file_of_helper(helper: &str) -> Option<PathBuf> {
    let mut words = helper.split_whitespace();
    if words.next() != Some("store") {
        return None;
    }
    let rest: Vec<&str> = words.collect();
    let file = match rest.as_slice() {
        ["--file", file, ..] => file,
        [first, ..] => first.strip_prefix("--file=")?,
        [] => return None,
    };
    match file.strip_prefix("~/") {
        Some(below) => Some(home().ok()?.join(below)),
        None => Some(Path::new(file).to_path_buf()),
    }
}
