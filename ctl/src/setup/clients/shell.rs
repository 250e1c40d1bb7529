//! The shell: the environment for everything that it starts.

use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use super::{CONFIG_ROLE, Client, Context, FileSettings, ToolSettings, setting};
use crate::client_files;
use crate::environment;
use crate::setup::format::Format;
use crate::setup::record::SetupRecord;
use crate::setup::setting::SettingValue;
use crate::setup::target::SetupTarget;
use crate::shell::Shell;

pub(in crate::setup) const SHELL: Client = Client {
    name: "shell",
    programs: &[],
    kinds: &[],
    file: SetupTarget::shell_profile,
    settings,
};

/// The environment is in a file of regauth's own, which setup rewrites. The profiles get one line that reads it.
fn settings(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let (profile, info) = (context.path.clone(), context.info);
    let shell = Shell::of_profile(&profile);
    let path = info.state.join(shell.environment_file());
    let line = shell.source(&path);
    let script = shell.script(&environment::variables(info));
    let environment = FileSettings {
        role: "environment",
        path,
        format: Format::Whole,
        settings: vec![setting(&[], SettingValue::Text(script))],
    };
    let profiles = profiles(profile, context.target, context.earlier, &line);
    let client_files = client_files::all(info).into_iter().map(|file| FileSettings {
        role: file.role,
        path: file.path,
        format: Format::Whole,
        settings: vec![setting(&[], SettingValue::Text(file.text))],
    });
    Ok(ToolSettings {
        files: std::iter::once(environment)
            .chain(profiles)
            .chain(client_files)
            .collect(),
        notes: vec!["running shells do not change; `eval \"$(regauthctl env)\"` sets this one up".to_owned()],
        other_files: Vec::new(),
    })
}

/// Profiles of the shell with this line: the one of all shells, and the one of login shells if it is another.
pub(in crate::setup) fn profiles(
    profile: PathBuf,
    target: &SetupTarget,
    earlier: &SetupRecord,
    line: &str,
) -> impl Iterator<Item = FileSettings> {
    let recorded = earlier.path_of(LOGIN_ROLE).map(Path::to_owned);
    let login_profile = recorded.or_else(|| target.login_profile());
    let login_profile = login_profile.filter(|login| *login != profile);
    let login_profile = login_profile.map(|path| (LOGIN_ROLE, path));
    let profiles = login_profile.into_iter().chain([(CONFIG_ROLE, profile)]);
    profiles.map(|(role, path)| FileSettings {
        role,
        path,
        format: Format::Line,
        settings: vec![setting(&[], SettingValue::Text(line.to_owned()))],
    })
}

/// Role of the profile of login shells.
const LOGIN_ROLE: &str = "login";
