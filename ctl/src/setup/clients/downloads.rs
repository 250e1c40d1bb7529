//! wget, in `.wgetrc`, and aria2, in `aria2.conf`.

use std::path::PathBuf;

use regauth_shared::ErrorBody;

use super::{Client, Context, ToolSettings, no_project, one_file, setting, text};
use crate::setup::format::Format;
use crate::setup::setting::SettingValue;
use crate::setup::target::SetupTarget;
use crate::user_folders::{home, path_variable, xdg_config};

pub(in crate::setup) const WGET: Client = Client {
    name: "wget",
    programs: &["wget"],
    kinds: &["generic"],
    file: wget_file,
    settings: wget,
};

pub(in crate::setup) const ARIA2: Client = Client {
    name: "aria2",
    programs: &["aria2c"],
    kinds: &["generic"],
    file: aria2_file,
    settings: aria2,
};

/// The file that `WGETRC` names, or `.wgetrc` (wget's manual, "Wgetrc Location").
fn wget_file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    match target {
        SetupTarget::Project(_) => Err(no_project("wget")),
        SetupTarget::User => path_variable("WGETRC").map_or_else(|| Ok(home()?.join(".wgetrc")), Ok),
    }
}

fn wget(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let settings = vec![
        text(&["https_proxy"], &context.info.proxy),
        text(&["ca_certificate"], &context.info.bundle),
        setting(&["use_proxy"], SettingValue::ReplaceOnly("on".to_owned())),
    ];
    let notes = vec!["wget2, which is `wget` on Fedora, cannot use the proxy: it sends no CONNECT".to_owned()];
    Ok(one_file(context.path.clone(), Format::Wgetrc, settings, notes))
}

/// `~/.aria2/aria2.conf` if it exists, else the one in the configuration folder (aria2c(1), "FILES").
fn aria2_file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    if matches!(target, SetupTarget::Project(_)) {
        return Err(no_project("aria2"));
    }
    let old = home()?.join(".aria2/aria2.conf");
    Ok(if old.exists() {
        old
    } else {
        xdg_config()?.join("aria2/aria2.conf")
    })
}

fn aria2(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let settings = vec![
        text(&["https-proxy"], &context.info.proxy),
        text(&["ca-certificate"], &context.info.bundle),
    ];
    Ok(one_file(context.path.clone(), Format::Npmrc, settings, Vec::new()))
}
