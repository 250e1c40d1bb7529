//! npm with pnpm and Yarn 1, in `.npmrc`; Yarn 2 and later, in `.yarnrc.yml`; bun, in `bunfig.toml`.

use std::path::PathBuf;

use regauth_shared::ErrorBody;

use super::{Client, Context, ToolSettings, one_file, setting, text};
use crate::setup::format::Format;
use crate::setup::setting::SettingValue;
use crate::setup::target::SetupTarget;
use crate::user_folders::{home, path_variable};

pub(in crate::setup) const NPM: Client = Client {
    name: "npm",
    programs: &["npm", "pnpm"],
    kinds: &["npm"],
    file: SetupTarget::npm_file,
    settings: npm,
};

pub(in crate::setup) const YARN: Client = Client {
    name: "yarn",
    programs: &["yarn"],
    kinds: &["npm"],
    file: yarn_file,
    settings: yarn,
};

pub(in crate::setup) const BUN: Client = Client {
    name: "bun",
    programs: &["bun"],
    kinds: &["npm"],
    file: bun_file,
    settings: bun,
};

fn npm(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let info = context.info;
    let mut settings = vec![text(&["https-proxy"], &info.proxy), text(&["cafile"], &info.bundle)];
    for (key, token) in info.npm_tokens() {
        settings.push(setting(&[&key], SettingValue::Placeholder(token.to_owned())));
    }
    Ok(one_file(context.path.clone(), Format::Npmrc, settings, Vec::new()))
}

/// `.yarnrc.yml`, or the file that `YARN_RC_FILENAME` names (Yarn's documentation, "Settings").
fn yarn_file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    let folder = match target {
        SetupTarget::User => home()?,
        SetupTarget::Project(folder) => folder.clone(),
    };
    let name = std::env::var("YARN_RC_FILENAME").ok().filter(|name| !name.is_empty());
    Ok(folder.join(name.as_deref().unwrap_or(".yarnrc.yml")))
}

fn yarn(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let info = context.info;
    let mut settings = vec![
        text(&["httpsProxy"], &info.proxy),
        text(&["httpsCaFilePath"], &info.bundle),
    ];
    for (key, token) in info.npm_tokens() {
        // Yarn's keys have no slash at their end.
        let registry = key.trim_end_matches(":_authToken").trim_end_matches('/');
        let key = ["npmRegistries", registry, "npmAuthToken"];
        settings.push(setting(&key, SettingValue::Placeholder(token.to_owned())));
    }
    let notes = vec!["Yarn 1 reads npm's file instead: `regauthctl setup npm`".to_owned()];
    Ok(one_file(context.path.clone(), Format::Yaml, settings, notes))
}

/// `bunfig.toml` (bun's documentation, "bunfig.toml").
fn bun_file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    match target {
        SetupTarget::Project(folder) => Ok(folder.join("bunfig.toml")),
        SetupTarget::User => {
            let folder = path_variable("XDG_CONFIG_HOME").map_or_else(home, Ok)?;
            Ok(folder.join(".bunfig.toml"))
        }
    }
}

fn bun(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let settings = vec![text(&["install", "cafile"], &context.info.bundle)];
    let notes = [
        "bun reads its proxy from the environment only, so run `regauthctl setup shell` as well",
        "`bun publish` takes its token from npm's file: `regauthctl setup npm` writes a placeholder there",
    ];
    let notes = notes.map(str::to_owned).into();
    Ok(one_file(context.path.clone(), Format::Toml, settings, notes))
}
