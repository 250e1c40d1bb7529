//! cargo: proxy, bundle, registries and the credential provider, in `config.toml`.

use std::path::PathBuf;

use regauth_shared::ErrorBody;

use super::{Client, Context, ToolSettings, one_file, setting, text};
use crate::daemon_info::is_git_index;
use crate::setup::cargo_names;
use crate::setup::format::Format;
use crate::setup::setting::SettingValue;
use crate::setup::target::SetupTarget;
use crate::user_folders::cargo_home;

pub(in crate::setup) const CARGO: Client = Client {
    name: "cargo",
    programs: &["cargo"],
    kinds: &["cargo"],
    file: SetupTarget::cargo_file,
    settings,
};

fn settings(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let (path, info) = (context.path.clone(), context.info);
    let mut other_files = other_cargo_files(context.target, &context.earlier.other_files);
    let mut settings = vec![
        text(&["http", "proxy"], &info.proxy),
        text(&["http", "cainfo"], &info.bundle),
        // Any [http] setting makes cargo use libgit2, which runs no credential helpers, for all hosts.
        setting(&["net", "git-fetch-with-cli"], SettingValue::True),
    ];
    let has_blanks = info.provider.iter().any(|word| word.contains(char::is_whitespace));
    let provider = if has_blanks {
        // Cargo splits a provider's command at blanks, and an alias is a list of words.
        let command = SettingValue::List(info.provider.clone());
        settings.push(setting(&["credential-alias", PROVIDER_ALIAS], command));
        PROVIDER_ALIAS.to_owned()
    } else {
        info.provider.join(" ")
    };
    // Cargo asks the last provider first. Its default list is `cargo:token` alone.
    let providers = SettingValue::ListEnd(provider.clone(), vec!["cargo:token".to_owned()]);
    settings.push(setting(&["registry", "global-credential-providers"], providers));
    other_files.retain(|file| *file != path);
    let own_names = cargo_names::read(std::slice::from_ref(&path));
    let other_names = cargo_names::read(&other_files);
    let mut notes = Vec::new();
    let mut files_with_names = Vec::new();
    for (view, index) in info.cargo_indexes() {
        let name = view.name.as_str();
        let in_this_file = cargo_names::others(&own_names, index, name);
        let elsewhere = cargo_names::others(&other_names, index, name);
        match in_this_file.first().or(elsewhere.first()) {
            Some(other) => notes.push(other.note(name)),
            None => settings.push(text(&["registries", name, "index"], index)),
        }
        for name in in_this_file.iter().map(|other| other.name.as_str()).chain([name]) {
            let own_provider = &["registries", name, "credential-provider"];
            settings.push(setting(own_provider, SettingValue::ReplaceOnly(provider.clone())));
        }
        files_with_names.extend(elsewhere.into_iter().map(|other| other.file.clone()));
        notes.extend(is_git_index(view).then(|| needs_git(name)));
    }
    other_files.retain(|file| files_with_names.contains(file));
    Ok(ToolSettings {
        other_files,
        ..one_file(path, Format::Toml, settings, notes)
    })
}

fn needs_git(name: &str) -> String {
    format!("cargo fetches the index of {name} with git, so run `regauthctl setup git` as well")
}

/// Configuration files that cargo merges with the one that setup edits: those above the current folder, those of an
/// earlier setup, and the user's. They may name an index.
pub(in crate::setup) fn other_cargo_files(target: &SetupTarget, earlier: &[PathBuf]) -> Vec<PathBuf> {
    let folder = match target {
        SetupTarget::User => std::env::current_dir().unwrap_or_default(),
        SetupTarget::Project(folder) => folder.clone(),
    };
    let of_user = cargo_home().ok().map(|home| cargo_names::files_in(&home));
    let mut files = cargo_names::files_above(&folder);
    files.extend(of_user.into_iter().flatten());
    files.extend_from_slice(earlier);
    let mut unique = Vec::new();
    for file in files {
        if !unique.contains(&file) {
            unique.push(file);
        }
    }
    unique
}

const PROVIDER_ALIAS: &str = "regauth";
