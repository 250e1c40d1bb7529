//! Presence: what a guarded daemon does only if a person is there, since a program could ask for it as well.
//!
//! Open requests look, narrow, or bring a new token. Guarded ones widen where a token goes or what it may do. The verbs
//! refuse besides what would free a name that root has defined (`state/definers.rs`).

use regauth_shared::request::AddRegistry;
use regauth_shared::{ErrorBody, ErrorKind, Request};

use crate::control::controller::Controller;
use crate::control::server::Peer;

/// Presence of a person behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Root has asked a guarded daemon.
    Person,
    /// It may be any program.
    Unknown,
}

/// Refuses a guarded request of a user's program.
///
/// # Errors
/// `refused`, with what to do.
pub(crate) fn require(controller: &Controller, peer: Peer, request: &Request) -> Result<Presence, ErrorBody> {
    if !controller.proxy.served.is_guarded() {
        return Ok(Presence::Unknown);
    }
    if is_present(peer) {
        return Ok(Presence::Person);
    }
    let Some(widening) = widening(request) else {
        return Ok(Presence::Unknown);
    };
    let message =
        format!("this regauthd is guarded: it {widening} for root only, since a program of yours could ask too");
    Err(ErrorBody::new(ErrorKind::Refused, message).hint("repeat the same command with sudo"))
}

/// A person is present who can become root, with or without a password, as sudo or doas decide.
fn is_present(peer: Peer) -> bool {
    peer.is_root()
}

/// The end of a sentence that says what a request widens; `None` for an open request.
fn widening(request: &Request) -> Option<&'static str> {
    match request {
        Request::AddRegistry(request) => addition(request),
        Request::CheckRegistry(request) => request.ca_file.as_ref().map(|_| READS_FILES),
        Request::AddScope(_) => Some("sends a token to more URLs"),
        // It needs the token itself.
        Request::Confirm(_) => None,
        Request::SetRegistry(request) => (!request.check).then_some(CHANGES_CONFIGURATION),
        Request::ReplaceConfiguration(request) => (!request.check).then_some(CHANGES_CONFIGURATION),
        Request::Allow(_) => Some("opens writes"),
        Request::Grant(_) => Some("makes grants"),
        Request::SetUpstream(_) => Some("changes its way to other hosts"),
        Request::Reload(_) => Some(CHANGES_CONFIGURATION),
        Request::Unlock(_) | Request::StoreMove(_) => Some("opens or changes its store"),
        Request::Log(request) if request.level.is_some() => Some("changes its log"),
        Request::Stop(_) => Some("stops"),
        // Except for a name of root's.
        Request::RemoveRegistry(_) => None,
        Request::Export(_)
        | Request::List(_)
        | Request::Show(_)
        | Request::Rotate(_)
        | Request::Logout(_)
        | Request::DeviceLogin(_)
        | Request::DeviceLoginPoll(_)
        | Request::Verify(_)
        | Request::Deny(_)
        | Request::Grants(_)
        | Request::Revoke(_)
        | Request::Status(_)
        | Request::Traffic(_)
        | Request::Watch(_)
        | Request::Metrics(_)
        | Request::Store(_)
        | Request::CompareToken(_)
        | Request::Log(_) => None,
    }
}

/// A registry with a token of its own is open: whoever has that token can use it without regauth, too. Everything else takes
/// what the requester need not have, or what the daemon alone can read.
fn addition(request: &AddRegistry) -> Option<&'static str> {
    if request.credential_of.is_some() {
        return Some("sends a token to another registry as well");
    }
    if request.token.is_none() || request.source_command.is_some() {
        return Some("runs programs and reads files or variables of its own for a token");
    }
    if request.ca_file.is_some() {
        return Some(READS_FILES);
    }
    let opens_writes = request.writes.as_deref().is_some_and(|writes| writes != "deny");
    opens_writes.then_some("opens writes")
}

const CHANGES_CONFIGURATION: &str = "takes in a changed configuration";
const READS_FILES: &str = "reads files and trusts more roots";
