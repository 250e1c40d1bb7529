//! RubyGems and Bundler, in `.gemrc`.

use std::path::PathBuf;

use regauth_shared::ErrorBody;

use super::{Client, Context, ToolSettings, no_project, one_file, text};
use crate::setup::format::Format;
use crate::setup::target::SetupTarget;
use crate::user_folders::{home, xdg_config};

pub(in crate::setup) const GEM: Client = Client {
    name: "gem",
    programs: &["gem", "bundle"],
    kinds: &["rubygems", "generic"],
    file,
    settings,
};

/// `.gemrc`, unless only `gem/gemrc` in the configuration folder exists (`Gem.find_config_file`).
fn file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    if matches!(target, SetupTarget::Project(_)) {
        return Err(no_project("gem"));
    }
    let default = home()?.join(".gemrc");
    let xdg = xdg_config()?.join("gem/gemrc");
    Ok(if !default.exists() && xdg.exists() {
        xdg
    } else {
        default
    })
}

fn settings(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    // RubyGems ignores `http_proxy` with a colon in front, and `ssl_ca_cert` without one.
    let settings = vec![
        text(&["http_proxy"], &context.info.proxy),
        text(&[":ssl_ca_cert"], &context.info.bundle),
    ];
    Ok(one_file(context.path.clone(), Format::Yaml, settings, Vec::new()))
}
