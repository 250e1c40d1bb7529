//! The daemon, its store, its bundle, its files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::Reloaded;
use regauth_shared::{ErrorBody, Request, version};

use super::{Finding, Fix, Patient};
use crate::client::Client;
use crate::error;
use crate::import::backup;

/// There is nobody to look at.
pub(super) fn unreachable(error: &ErrorBody) -> Finding {
    let mend = error.hint.clone().unwrap_or_else(|| "regauthd".to_owned());
    Finding::new(
        "daemon-unreachable",
        error.message.clone(),
        "without a daemon no client that is set up gets anywhere",
        mend,
    )
}

/// All about the daemon itself.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let mut findings = of_the_store(patient);
    findings.extend(bundle(patient));
    findings.extend(configuration(patient));
    findings.extend(import_backup(patient));
    let theirs = &patient.status.version;
    if theirs != version::PROGRAM {
        findings.push(
            Finding::new(
                "versions-differ",
                format!("regauthd is {theirs}, and this is regauthctl {}", version::PROGRAM),
                "an upgrade takes effect in the daemon when it starts anew",
                "regauthctl stop, and start regauthd again",
            )
            .only_worth_knowing(),
        );
    }
    if patient.facts.registries.is_empty() {
        findings.push(
            Finding::new(
                "no-registries",
                "regauthd has no registries",
                "it passes everything on untouched until it has one",
                "regauthctl add-registry",
            )
            .only_worth_knowing(),
        );
    }
    findings
}

/// Whether files that tokens were taken out of lie around as they were.
fn import_backup(patient: &Patient) -> Option<Finding> {
    let folder = backup::existing_folder(&patient.folders)?;
    let finding = Finding::new(
        "import-backup",
        format!("{folder} has copies of files with tokens in plain text, which `regauthctl import` made"),
        "every program of yours can read them, as it could read the files",
        "regauthctl import --forget-backup, when your builds work; regauthctl import --undo, when they don't",
    );
    Some(finding.only_worth_knowing())
}

/// What the daemon says of itself; rejected and missing tokens are the registries' own.
fn of_the_store(patient: &Patient) -> Vec<Finding> {
    let store = &patient.status.store;
    let mut findings = Vec::new();
    if store.state != "open" {
        findings.push(Finding::new(
            "store-closed",
            format!("the store ({}) is {}", store.kind, store.state),
            "tokens that are not in memory yet cannot be used, and none can be added or changed",
            "regauthctl unlock",
        ));
    }
    if store.kind == "memory" {
        findings.push(
            Finding::new(
                "store-forgets",
                "the store is memory",
                "every token is gone when regauthd ends",
                "set `store` to keychain or vault in config.toml, start regauthd anew, and rotate each token once",
            )
            .only_worth_knowing(),
        );
    }
    findings
}

/// Clients read the bundle by themselves: what they would see counts, not what the daemon meant to write.
fn bundle(patient: &Patient) -> Vec<Finding> {
    let path = &patient.facts.bundle;
    let amiss = |what: String| {
        let why = "clients that cannot read our authorities there refuse to speak to regauthd (curl: error 77 or 60)";
        vec![Finding::new("bundle-amiss", what, why, "regauthctl reload").fixed_by(Fix::Reload)]
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) => return amiss(format!("the bundle {path} cannot be read: {why}")),
    };
    let hosts = patient.facts.hosts();
    let missing = hosts
        .iter()
        .find(|host| !text.contains(&format!("# regauth authority for {host}")));
    match missing {
        Some(host) => amiss(format!("the bundle {path} has no authority for {host}")),
        None if !text.contains("BEGIN CERTIFICATE") => amiss(format!("the bundle {path} is empty")),
        None => Vec::new(),
    }
}

fn configuration(patient: &Patient) -> Option<Finding> {
    let path = patient.folders.config_file();
    let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    let finding = Finding::new(
        "configuration-open",
        format!("others may read or change {} (mode {mode:04o})", path.display()),
        "whoever can change it decides where your tokens are sent; regauthd will not start with it",
        format!("chmod 600 {}", path.display()),
    );
    (mode & 0o077 != 0).then(|| finding.fixed_by(Fix::Close))
}

/// Has everything read and written again.
pub(super) fn reload(client: &Client) -> Result<String, ErrorBody> {
    client.ask::<Reloaded>(&Request::Reload(Nothing {}))?;
    Ok("had regauthd read its configuration and write its bundle again".to_owned())
}

/// Makes the configuration the owner's alone.
pub(super) fn close(folders: &Folders) -> Result<String, ErrorBody> {
    let path = folders.config_file();
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&path, private).map_err(error::io(format!("cannot change {}", path.display())))?;
    Ok(format!("took the rights of others to {}", path.display()))
}
