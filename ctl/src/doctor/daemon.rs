//! Checks of the daemon: its store, its bundle, its files and its version.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use regauth_shared::paths::Folders;
use regauth_shared::response::SocketOrigin;
use regauth_shared::{ErrorBody, version};

use super::context::DoctorContext;
use super::finding::{AutomaticFix, Finding};
use crate::client::Client;
use crate::commands::reload::reload_as_shown;
use crate::error;
use crate::import::backup;

/// Runs all checks of the daemon.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let checks = [
        store_state,
        store_kind,
        bundle,
        next_address,
        import_backup,
        daemon_version,
        registry_count,
    ];
    let found = checks.iter().filter_map(|check| check(context));
    let found = found.chain(configuration_errors(context));
    found.chain(permissions(&context.folders)).collect()
}

fn store_state(context: &DoctorContext) -> Option<Finding> {
    let store = &context.status.store;
    let reason = store.problem.as_ref().map(|problem| problem.message.clone());
    let reason = reason.unwrap_or_else(|| format!("the store is {}", store.state));
    let remedy = match &store.problem {
        Some(problem) if store.state != "locked" => problem.hint.clone(),
        _ => "regauthctl unlock".to_owned(),
    };
    let finding = Finding::new(
        "store-closed",
        format!("{} store: {reason}", store.kind),
        "tokens that are not in memory yet cannot be used, and none can be added or changed",
        remedy,
    );
    (!context.is_store_open()).then_some(finding)
}

fn store_kind(context: &DoctorContext) -> Option<Finding> {
    let finding = || {
        Finding::new(
            "store-forgets",
            "the store is memory",
            "every token is lost when regauthd ends",
            "set `store` to keychain or vault in config.toml, restart regauthd, and give each token again: regauthctl login NAME",
        )
        .into_note()
    };
    (context.status.store.kind == "memory").then(finding)
}

/// Reads the bundle as a client does: the file counts, not what the daemon meant to write.
fn bundle(context: &DoctorContext) -> Option<Finding> {
    let path = &context.info.bundle;
    let problem = match fs::read_to_string(path) {
        Err(why) => format!("the bundle {path} cannot be read: {why}"),
        Ok(text) => {
            let hosts = context.info.hosts();
            let has_authority = |host: &String| text.contains(&format!("# regauth authority for {host}"));
            match hosts.iter().find(|host| !has_authority(host)) {
                // The authority's key is in the store.
                Some(_) if !context.is_store_open() => return None,
                Some(host) => format!("the bundle {path} has no authority for {host}"),
                None if !text.contains("BEGIN CERTIFICATE") => format!("the bundle {path} is empty"),
                None => return None,
            }
        }
    };
    let consequence = "a client without regauth's authorities refuses to connect to regauthd (curl: error 77 or 60)";
    let finding = Finding::new("bundle-amiss", problem, consequence, "regauthctl reload");
    Some(finding.with_fix(AutomaticFix::ReloadDaemon))
}

/// Permissions of the configuration and the folders, which a running daemon does not notice.
pub(super) fn permissions(folders: &Folders) -> Vec<Finding> {
    [configuration(folders), open_folders(folders)]
        .into_iter()
        .flatten()
        .collect()
}

fn configuration(folders: &Folders) -> Option<Finding> {
    let path = folders.config_file();
    let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    let finding = || {
        Finding::new(
            "configuration-open",
            format!("other users may read or change {} (mode {mode:04o})", path.display()),
            "a user who can change it decides which hosts get your tokens; regauthd does not start with it",
            format!("chmod 600 {}", path.display()),
        )
        .with_fix(AutomaticFix::RestrictFiles)
    };
    (mode & 0o077 != 0).then(finding)
}

/// The daemon reports a file that it cannot read; its message begins with the path.
fn configuration_errors(context: &DoctorContext) -> impl Iterator<Item = Finding> {
    let problems = context.status.problems.iter();
    let of_file = problems.filter(|problem| problem.message.starts_with(&context.status.config));
    of_file.map(|problem| {
        Finding::new(
            "configuration-invalid",
            problem.message.clone(),
            "regauthd goes on with the configuration that it has read, and does not start with this one",
            problem.hint.clone(),
        )
    })
}

fn open_folders(folders: &Folders) -> Option<Finding> {
    let open: Vec<String> = accessible(folders)
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    let open = open.join(" ");
    let finding = || {
        Finding::new(
            "folder-open",
            format!("other users may enter {open}"),
            "regauthd does not start with it",
            format!("chmod 700 {open}"),
        )
        .with_fix(AutomaticFix::RestrictFiles)
    };
    (!open.is_empty()).then(finding)
}

/// Folders that other users may enter.
fn accessible(folders: &Folders) -> Vec<PathBuf> {
    let is_open = |folder: &&PathBuf| {
        fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir() && metadata.permissions().mode() & 0o077 != 0)
    };
    [&folders.config, &folders.state]
        .into_iter()
        .filter(is_open)
        .cloned()
        .collect()
}

/// The address in the configuration counts at the next start. Under a service manager, its socket counts.
fn next_address(context: &DoctorContext) -> Option<Finding> {
    if context.status.sockets.proxy != SocketOrigin::Own {
        return None;
    }
    let text = fs::read_to_string(&context.status.config).ok()?;
    let document: toml_edit::DocumentMut = text.parse().ok()?;
    let next: SocketAddr = document.get("listen")?.as_str()?.parse().ok()?;
    let present: SocketAddr = context.status.listen.parse().ok()?;
    if next == present || next.port() == 0 {
        return None;
    }
    match TcpListener::bind(next) {
        Ok(_) => Some(
            Finding::new(
                "address-changes",
                format!("regauthd listens on {present}, and its configuration says {next}"),
                "it moves there at its next start, and clients that are set up have to follow",
                "regauthctl stop --wait, start regauthd, then regauthctl doctor --fix",
            )
            .into_note(),
        ),
        Err(why) => Some(Finding::new(
            "next-address-taken",
            format!("the configuration says {next}, and that cannot be used: {why}"),
            "regauthd does not start with it",
            format!("set another address as `listen` in {}", context.status.config),
        )),
    }
}

fn import_backup(context: &DoctorContext) -> Option<Finding> {
    let folder = backup::existing_folder(&context.folders)?;
    let finding = Finding::new(
        "import-backup",
        format!("{folder} has the copies with plain-text tokens that `regauthctl import` made"),
        "every program of yours can read them, as it could read the original files",
        "regauthctl import --forget-backup, if your builds work; regauthctl import --undo, if they do not",
    );
    Some(finding.into_note())
}

fn daemon_version(context: &DoctorContext) -> Option<Finding> {
    let daemon = &context.status.version;
    let finding = || {
        Finding::new(
            "versions-differ",
            format!("regauthd is {daemon}, and this is regauthctl {}", version::PROGRAM),
            "the daemon runs the old version until it is restarted",
            "regauthctl stop, and start regauthd again",
        )
        .into_note()
    };
    (daemon != version::PROGRAM).then(finding)
}

fn registry_count(context: &DoctorContext) -> Option<Finding> {
    let finding = || {
        Finding::new(
            "no-registries",
            "regauthd has no registries",
            "it tunnels every connection and adds no token",
            "regauthctl add-registry",
        )
        .into_note()
    };
    context.info.registries.is_empty().then(finding)
}

/// Makes the daemon read its configuration and write its bundle again.
pub(super) fn reload(client: &Client) -> Result<String, ErrorBody> {
    reload_as_shown(client)?;
    Ok("made regauthd read its configuration and write its bundle again".to_owned())
}

/// Removes other users' permissions on the configuration and the folders.
pub(super) fn restrict_files(folders: &Folders) -> Result<String, ErrorBody> {
    let config = folders.config_file();
    let files = config.exists().then_some((config, 0o600));
    let folders = accessible(folders).into_iter().map(|folder| (folder, 0o700));
    let mut restricted = Vec::new();
    for (path, mode) in files.into_iter().chain(folders) {
        let private = fs::Permissions::from_mode(mode);
        fs::set_permissions(&path, private).map_err(error::io(format!("cannot change {}", path.display())))?;
        restricted.push(path.display().to_string());
    }
    Ok(format!("removed other users' permissions on {}", restricted.join(", ")))
}
