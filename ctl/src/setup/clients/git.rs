//! git: proxy and bundle for the hosts of registries only, in `.gitconfig`.

use std::process::Command;

use regauth_shared::ErrorBody;

use super::{Client, Context, ToolSettings, one_file, text};
use crate::company::CompanySetting;
use crate::program::on_path;
use crate::setup::format::Format;
use crate::setup::target::SetupTarget;

pub(in crate::setup) const GIT: Client = Client {
    name: "git",
    programs: &["git"],
    kinds: &["git", "generic"],
    file: SetupTarget::git_file,
    settings,
};

/// A company's settings of git for all hosts, which those of single hosts override.
pub(in crate::setup) fn overridden() -> Vec<CompanySetting> {
    let proxy = git_setting("http.proxy").map(|url| CompanySetting::proxy("git's http.proxy", &url));
    let roots = git_setting("http.sslCAInfo").map(|file| CompanySetting::ca_file("git's http.sslCAInfo", &file));
    proxy.into_iter().chain(roots).collect()
}

fn settings(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let (path, info) = (context.path.clone(), context.info);
    let mut settings = Vec::new();
    for scope in info.git_scopes() {
        settings.push(text(&["http", scope, "proxy"], &info.proxy));
        settings.push(text(&["http", scope, "sslCAInfo"], &info.bundle));
    }
    let notes = if settings.is_empty() {
        vec!["no registry uses git yet; regauth sets git up as soon as one is added".to_owned()]
    } else {
        Vec::new()
    };
    Ok(one_file(path, Format::Git, settings, notes))
}

/// Setting of git for all hosts, if git is installed and has one.
fn git_setting(key: &str) -> Option<String> {
    let mut git = Command::new(on_path("git")?);
    let output = git.args(["config", "--get", key]).output().ok()?;
    let value = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !value.is_empty()).then_some(value)
}
