//! Errors for a daemon of another release than this `regauthctl`, each with the program to update.

use regauth_shared::version::{Hello, PROGRAM, PROTOCOL};
use regauth_shared::{ErrorBody, ErrorKind};

/// Error for a daemon whose hello names no protocol version of ours.
pub(super) fn version_mismatch(hello: &Hello) -> ErrorBody {
    let versions: Vec<_> = hello.versions.iter().map(u32::to_string).collect();
    let message = format!(
        "regauthd {} speaks version {} of the protocol; this is regauthctl {PROGRAM}, which speaks version {PROTOCOL}",
        hello.daemon,
        versions.join(", "),
    );
    // Both lists may have gaps; the newer program knows the highest version.
    let newer = hello.versions.iter().any(|version| *version > PROTOCOL);
    let hint = if newer {
        format!("update regauthctl to the release of the daemon, {}", hello.daemon)
    } else {
        format!("update regauthd to the release of regauthctl, {PROGRAM}; if it is installed, {RESTART_HINT}")
    };
    ErrorBody::new(ErrorKind::UnsupportedVersion, message).hint(hint)
}

/// Adds a hint to an `invalid` error from a daemon of another release: it may not know the verb.
pub(super) fn explain_unknown_request(daemon: &Hello, error: ErrorBody) -> ErrorBody {
    if error.kind != ErrorKind::Invalid || daemon.daemon == PROGRAM || error.hint.is_some() {
        return error;
    }
    error.hint(format!(
        "the regauthd that runs is {}, and this is regauthctl {PROGRAM}; {RESTART_HINT}",
        daemon.daemon
    ))
}

/// Hint for a running daemon of another release than the installed one. It may not understand `regauthctl stop`.
pub(crate) const RESTART_HINT: &str = if cfg!(target_os = "macos") {
    "restart the service (launchctl kickstart -k gui/$UID/regauthd), or end regauthd and start it again"
} else {
    "restart the service (systemctl --user restart regauthd; the machine's: sudo systemctl restart regauthd), or end \
     regauthd and start it again"
};

/// Hint for an answer that cannot be read.
pub(super) const SAME_RELEASE_HINT: &str = "install regauthctl and regauthd of the same release and restart the daemon";
