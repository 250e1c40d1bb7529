//! pip, in `pip.conf`, and uv, in `uv.toml`.

use std::process::Command;

use regauth_shared::ErrorBody;

use super::{Client, Context, ToolSettings, one_file, text};
use crate::error;
use crate::program::on_path;
use crate::setup::format::Format;
use crate::setup::target::SetupTarget;

pub(in crate::setup) const PIP: Client = Client {
    name: "pip",
    programs: &["pip", "pip3"],
    kinds: &["pypi"],
    file: SetupTarget::pip_file,
    settings: pip,
};

pub(in crate::setup) const UV: Client = Client {
    name: "uv",
    programs: &["uv"],
    kinds: &["pypi"],
    file: SetupTarget::uv_file,
    settings: uv,
};

fn pip(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let (path, info) = (context.path.clone(), context.info);
    let settings = vec![
        text(&["global", "proxy"], &info.proxy),
        text(&["global", "cert"], &info.bundle),
    ];
    Ok(one_file(path, Format::Ini, settings, Vec::new()))
}

fn uv(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let (path, info) = (context.path.clone(), context.info);
    if !uv_accepts_https_proxy()? {
        return Err(error::failed("this version of uv has no proxy setting in uv.toml")
            .hint("`regauthctl setup shell` sets the proxy and the bundle in the environment, which every uv reads"));
    }
    let settings = vec![text(&["https-proxy"], &info.proxy)];
    let notes = [
        "uv reads the bundle only from SSL_CERT_FILE, so run `regauthctl setup shell` as well",
        "`uv publish` and an index with authenticate = \"always\" insist on a user name and password; any do: \
         UV_PUBLISH_USERNAME=x UV_PUBLISH_PASSWORD=x, or UV_INDEX_NAME_USERNAME=x UV_INDEX_NAME_PASSWORD=x",
    ];
    Ok(one_file(path, Format::Toml, settings, notes.map(str::to_owned).into()))
}

/// Asks the installed uv. An old uv rejects a file with a key that it does not know.
fn uv_accepts_https_proxy() -> Result<bool, ErrorBody> {
    let io_error = || error::io("cannot test uv");
    let uv = on_path("uv").ok_or_else(|| error::failed("there is no uv in PATH"))?;
    let folder = tempfile::tempdir().map_err(io_error())?;
    let file = folder.path().join("uv.toml");
    std::fs::write(&file, "https-proxy = \"http://127.0.0.1:1\"\n").map_err(io_error())?;
    let mut command = Command::new(uv);
    command.arg("--config-file").arg(&file).args(["cache", "dir"]);
    Ok(command.output().map_err(io_error())?.status.success())
}
