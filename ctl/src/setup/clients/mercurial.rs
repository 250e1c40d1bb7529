//! Mercurial, in `.hgrc`: it reads no proxy variable for https.

use std::path::PathBuf;

use regauth_shared::ErrorBody;

use super::{Client, Context, ToolSettings, one_file, proxy_address, text};
use crate::setup::format::Format;
use crate::setup::target::SetupTarget;
use crate::user_folders::{home, xdg_config};

pub(in crate::setup) const MERCURIAL: Client = Client {
    name: "mercurial",
    programs: &["hg"],
    kinds: &["generic"],
    file,
    settings,
};

/// `.hgrc`, unless only `hg/hgrc` in the configuration folder exists; a repository's `.hg/hgrc` (hgrc(5), "FILES").
fn file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    match target {
        SetupTarget::Project(folder) => Ok(folder.join(".hg/hgrc")),
        SetupTarget::User => {
            let default = home()?.join(".hgrc");
            let xdg = xdg_config()?.join("hg/hgrc");
            Ok(if !default.exists() && xdg.exists() {
                xdg
            } else {
                default
            })
        }
    }
}

fn settings(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let (host, port) = proxy_address(context.info)?;
    let settings = vec![
        text(&["http_proxy", "host"], &format!("{host}:{port}")),
        text(&["web", "cacerts"], &context.info.bundle),
    ];
    Ok(one_file(context.path.clone(), Format::Ini, settings, Vec::new()))
}
