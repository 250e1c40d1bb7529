//! Guarded mode: the daemon has a system user of its own and serves certain users of this machine.
//!
//! The kernel names these users: sock_diag for a connection to the proxy, SO_PEERCRED for one to the control socket. A
//! program of such a user can run any command and connect to anything, and must not get at a token by it. So the daemon
//! refuses to read files that others than root can change ([`check_files`]), and
//! [`crate::control::presence`] refuses to widen what a token can do.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regauth_shared::{ErrorBody, ErrorKind};

use crate::config::Config;
use crate::credential::source::endpoint::Endpoint;
use crate::registry::{Command, Registry, Source};
use crate::workload::rule::{KeyLocation, TrustRule};

/// Users that a guarded daemon serves. Empty if the daemon is not guarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedUsers(Arc<[u32]>);

impl ServedUsers {
    /// Users by their ids.
    ///
    /// # Errors
    /// [`NotGuarded`] if the daemon runs as one of them: that user's programs could read its files.
    pub fn new(users: &[u32]) -> Result<Self, NotGuarded> {
        let own = rustix::process::geteuid().as_raw();
        if users.contains(&own) {
            return Err(NotGuarded(own));
        }
        Ok(Self(users.into()))
    }

    /// True if the daemon is guarded.
    pub(crate) fn is_guarded(&self) -> bool {
        !self.0.is_empty()
    }

    /// True if the daemon serves this user.
    pub(crate) fn contains(&self, user: u32) -> bool {
        self.0.contains(&user)
    }

    /// Ids of the users.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.0
    }
}

/// A guarded daemon that runs as a user that it is to be guarded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--guarded-for names user {0}, which regauthd itself runs as; run it as a user without other programs, as `sudo \
     regauthctl service install --for USER` does"
)]
pub struct NotGuarded(u32);

/// Checks every file and every URL of a configuration.
///
/// # Errors
/// `refused` for a file that others than root and the daemon's user can change or replace, and for plain HTTP to a port that
/// everybody can listen on.
pub(crate) fn check_config(config: &Config) -> Result<(), ErrorBody> {
    if let Some(file) = &config.ca_file {
        check_file("ca-file", file)?;
    }
    (gateway_files(config)).try_for_each(|(key, file)| check_file(key, file))?;
    if let Some(url) = config.trust.iter().find_map(plain_keys) {
        let message =
            format!("a guarded regauthd takes no keys of an issuer from {url}: every program can listen on that port");
        return Err(ErrorBody::new(ErrorKind::Refused, message).hint(PLAIN_HINT));
    }
    config.registries.values().try_for_each(check_registry)
}

/// Files that decide which other clients the daemon serves, and as what it answers them.
fn gateway_files(config: &Config) -> impl Iterator<Item = (&'static str, &Path)> {
    let tls = config.listen_tls.iter();
    let tls = tls.flat_map(|tls| [("cert", &tls.certificate), ("key", &tls.key)]);
    let grants = config.signed_grants.iter();
    let grants = grants.flat_map(|grants| [("key", &grants.key), ("revoked", &grants.revoked)]);
    let authorities = config.authorities.iter().map(|folder| ("authorities", folder));
    let trust = config.trust.iter().flat_map(|rule| {
        let keys = match &rule.keys {
            KeyLocation::File(file) => Some(("jwks", file)),
            KeyLocation::Url(_) => None,
        };
        keys.into_iter()
            .chain(rule.ca_file.iter().map(|file| ("ca-file", file)))
    });
    let files = tls.chain(grants).chain(authorities).chain(trust);
    files.map(|(key, file)| (key, file.as_path()))
}

/// Checks every file and every URL of a registry.
///
/// # Errors
/// As [`check_config`].
pub(crate) fn check_registry(registry: &Registry) -> Result<(), ErrorBody> {
    if let Some(url) = plain_url(registry) {
        let message = format!("a guarded regauthd sends no token to {url}: every program can listen on that port");
        return Err(ErrorBody::new(ErrorKind::Refused, message).hint(PLAIN_HINT));
    }
    let identity = registry.client_identity.as_ref();
    let files = [
        ("ca-file", registry.ca_file.as_deref()),
        ("client-cert", identity.map(|identity| identity.certificate.as_path())),
        ("client-key", identity.map(|identity| identity.key.as_path())),
    ];
    for (key, file) in files {
        file.map_or(Ok(()), |file| check_file(key, file))?;
    }
    (source_files(&registry.source).iter()).try_for_each(|file| check_file("source", file))
}

/// First URL that would get a token or an identity without TLS: a scope, the index, the token service, or a service of an
/// exchange. Google's metadata server is none: no program can listen at its address.
pub(crate) fn plain_url(registry: &Registry) -> Option<String> {
    let index = registry.index.as_ref().and_then(|index| index.scope().ok());
    let scope = registry.scopes.iter().chain(&index).find(|scope| scope.plain);
    let exchange = match &registry.source {
        Source::Minted(mint) => mint.plain_endpoint(),
        _ => None,
    };
    let service = registry.token_service.as_ref().filter(|service| service.is_plain());
    let scope = scope.map(ToString::to_string);
    scope.or_else(|| service.or(exchange).map(ToString::to_string))
}

/// URL without TLS of an issuer's keys.
fn plain_keys(rule: &TrustRule) -> Option<&Endpoint> {
    match &rule.keys {
        KeyLocation::Url(url) if url.is_plain() => Some(url),
        KeyLocation::Url(_) | KeyLocation::File(_) => None,
    }
}

/// Files that a source reads, and the program that it runs.
fn source_files(source: &Source) -> Vec<PathBuf> {
    let program = |command: &Command| Some(PathBuf::from(command.program())).filter(|program| program.is_absolute());
    match source {
        Source::File(file) => vec![file.clone()],
        Source::Command(command) => Vec::from_iter(program(command)),
        Source::Minted(mint) => mint.files().chain(mint.command().and_then(program)).collect(),
        Source::Store | Source::Environment(_) | Source::Of(_) => Vec::new(),
    }
}

/// Checks one file that the configuration names by `key`.
///
/// # Errors
/// As [`check_config`].
pub(crate) fn check_file(key: &str, file: &Path) -> Result<(), ErrorBody> {
    let Some(part) = changeable_part(file) else {
        return Ok(());
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let message = format!(
        "`{key}` is {}, and others than root can change {}: a program could make the daemon read or trust what it likes",
        file.display(),
        part.display()
    );
    let hint = format!(
        "copy it to where only root can write, and name the copy: sudo install -D --mode=644 {} /etc/regauth/{name}",
        file.display()
    );
    Err(ErrorBody::new(ErrorKind::Refused, message).hint(hint))
}

/// First part of the path that others than root and this process's user can change: the file, or a folder above it. The
/// path is followed through symbolic links, since each of them is in a folder that is checked too.
fn changeable_part(file: &Path) -> Option<PathBuf> {
    let mut path = file.to_path_buf();
    for _ in 0..MAX_LINKS {
        if let Some(part) = path.ancestors().find(|part| is_changeable(part)) {
            return Some(part.to_path_buf());
        }
        match link_in(&path) {
            Ok(Some(target)) => path = target,
            // A missing file cannot be created by others either.
            Ok(None) | Err(_) => return None,
        }
    }
    Some(path)
}

/// The path with its first symbolic link replaced by the link's target; `None` if it has none.
fn link_in(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    for part in parts {
        if fs::symlink_metadata(part)?.is_symlink() {
            let folder = part.parent().unwrap_or(Path::new("/"));
            let target = folder.join(fs::read_link(part)?);
            let rest = path.strip_prefix(part).ok().filter(|rest| !rest.as_os_str().is_empty());
            // Without a slash at the end, with which the kernel would follow a link.
            return Ok(Some(rest.map_or_else(|| target.clone(), |rest| target.join(rest))));
        }
    }
    Ok(None)
}

/// True if others can change this file, or create or replace an entry of this folder.
fn is_changeable(part: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(part) else {
        return false;
    };
    let own = rustix::process::geteuid().as_raw();
    let is_foreign = ![ROOT, own].contains(&metadata.uid());
    let is_writable = metadata.mode() & OTHERS_WRITE != 0 && !metadata.is_symlink();
    is_foreign || is_writable
}

const PLAIN_HINT: &str = "let it speak TLS, and use https://";
const ROOT: u32 = 0;
const OTHERS_WRITE: u32 = 0o022;
/// As many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn finds_the_part_of_a_path_that_others_can_change() {
        let own = tempfile::tempdir_in("/var/lib")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let file = own.path().join("roots.pem");
        fs::write(&file, "").unwrap();
        let parent_is_safe = !is_changeable(own.path().parent().unwrap());
        assert_eq!(changeable_part(&file).is_none(), parent_is_safe);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(changeable_part(&file), Some(file.clone()));

        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(own.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(changeable_part(&file), Some(own.path().to_path_buf()));
    }

    #[test]
    fn follows_links_to_a_file_that_others_can_change() {
        let theirs = Path::new("/tmp");
        let Ok(own) = tempfile::tempdir_in("/var/lib") else {
            return;
        };
        let link = own.path().join("link.pem");
        symlink(theirs.join("x.pem"), &link).unwrap();
        assert_eq!(changeable_part(&link), Some(theirs.to_path_buf()));
        assert_eq!(changeable_part(&own.path().join("missing.pem")), None);
        let circle = own.path().join("circle");
        symlink(&circle, &circle).unwrap();
        assert!(changeable_part(&circle).is_some());
    }

    #[test]
    fn the_files_of_a_gateway_are_checked_as_well() {
        const SAFE: &str = r#"
            clients = "gateway"
            listen-tls = { address = "127.0.0.1:0", cert = "/etc/tls.crt", key = "/etc/tls.key" }
            signed-grants = { key = "/etc/grants.key", revoked = "/etc/revoked" }
            authorities = "/etc/authorities"
            [[trust]]
            issuer = "https://issuer.example"
            audience = "regauth"
            jwks = "/etc/keys.json"
            ca-file = "/etc/root.pem"
            match = { repository = "corp/*" }
            registries = ["corp"]
        "#;
        let check = |text: &str| check_config(&Config::read(text).unwrap());
        assert_eq!(check(SAFE), Ok(()));
        for (name, key) in [
            ("tls.crt", "cert"),
            ("tls.key", "key"),
            ("grants.key", "key"),
            ("revoked", "revoked"),
            ("authorities", "authorities"),
            ("keys.json", "jwks"),
            ("root.pem", "ca-file"),
        ] {
            let text = SAFE.replace(&format!("\"/etc/{name}\""), &format!("\"/tmp/{name}\""));
            let error = check(&text).unwrap_err();
            let named = format!("`{key}` is /tmp/{name}");
            assert!(error.message.starts_with(&named), "{}", error.message);
        }
        // Its keys would be those of the program that listens there first.
        for (url, is_plain) in [
            ("https://issuer.example/jwks", false),
            ("http://127.0.0.1:9/jwks", true),
        ] {
            let checked = check(&SAFE.replace("/etc/keys.json", url));
            let is_refused = checked.is_err_and(|error| error.message.contains("every program can listen"));
            assert_eq!(is_refused, is_plain, "{url}");
        }
    }

    #[test]
    fn no_url_that_gets_a_token_is_plain_http() {
        let plain = "http://127.0.0.1:9/x/";
        for (definition, found) in [
            ("scopes = [\"https://corp.example/\"]", None),
            ("scopes = [\"http://127.0.0.1:9/x/\"]", Some(plain)),
            (
                "scopes = [\"https://corp.example/\"]\nindex = \"sparse+http://127.0.0.1:9/x/\"",
                Some(plain),
            ),
            (
                "scopes = [\"https://corp.example/\"]\nkind = \"oci\"\ntoken-service = \"http://127.0.0.1:9/x/\"",
                Some(plain),
            ),
            (
                "scopes = [\"https://corp.example/\"]\n\
                 source = { exchange = \"oauth\", token-url = \"http://127.0.0.1:9/x/\", audience = \"http://127.0.0.1/\" }",
                Some(plain),
            ),
            (
                "scopes = [\"https://corp.example/\"]\nsource = { exchange = \"google\", metadata = \"true\" }",
                None,
            ),
        ] {
            let config = Config::read(&format!("[registries.x]\n{definition}\n")).unwrap();
            let registry = config.registries.values().next().unwrap();
            assert_eq!(plain_url(registry).as_deref(), found, "{definition}");
            assert_eq!(check_registry(registry).is_ok(), found.is_none(), "{definition}");
        }
    }

    #[test]
    fn the_daemons_own_user_is_none_to_be_guarded_from() {
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(ServedUsers::new(&[own, own + 1]), Err(NotGuarded(own)));
        let served = ServedUsers::new(&[own + 1]).unwrap();
        assert!(served.is_guarded() && served.contains(own + 1) && !served.contains(own + 2));
        assert!(!ServedUsers::default().is_guarded());
    }
}
