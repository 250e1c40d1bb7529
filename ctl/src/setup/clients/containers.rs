//! podman and buildah, in `containers.conf`. The docker daemon is another user: it needs a grant.

use std::path::PathBuf;

use regauth_shared::ErrorBody;

use super::{Client, Context, ToolSettings, no_project, one_file, setting};
use crate::error;
use crate::setup::format::Format;
use crate::setup::setting::SettingValue;
use crate::setup::target::SetupTarget;
use crate::user_folders::{path_variable, xdg_config};

pub(in crate::setup) const PODMAN: Client = Client {
    name: "podman",
    programs: &["podman", "buildah"],
    kinds: &["oci", "generic"],
    file,
    settings,
};

/// The file that `CONTAINERS_CONF` names, or the user's, which root does not read (containers.conf(5), "FILES").
fn file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    if matches!(target, SetupTarget::Project(_)) {
        return Err(no_project("podman"));
    }
    if let Some(file) = path_variable("CONTAINERS_CONF") {
        return Ok(file);
    }
    if nix::unistd::geteuid().is_root() {
        let message = "podman of root reads only the machine's containers.conf, which serves all users";
        let hint = "`regauthctl setup shell` sets the environment, which podman reads too";
        return Err(error::refused(message).hint(hint));
    }
    Ok(xdg_config()?.join("containers/containers.conf"))
}

fn settings(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let info = context.info;
    let variable = |name: &str, value: &str| SettingValue::ListEntry(format!("{name}={value}"));
    let settings = vec![
        setting(&["engine", "env"], variable("HTTPS_PROXY", &info.proxy)),
        setting(&["engine", "env"], variable("SSL_CERT_FILE", &info.bundle)),
        // The proxy is on loopback, which is another host in a container.
        setting(&["containers", "http_proxy"], SettingValue::False),
    ];
    let notes = [
        "containers get no proxy from podman any more; for one that needs a registry: `regauthctl grant`",
        "skopeo reads the environment only: `regauthctl setup shell`",
    ];
    let notes = notes.map(str::to_owned).into();
    Ok(one_file(context.path.clone(), Format::Toml, settings, notes))
}
