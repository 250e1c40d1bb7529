//! How a registry is put into words; `add-registry`, `list`, `rotate` and `show` say the same things the same way.

use regauth_shared::response::{CredentialState, RegistryView, SourceFailure};

use crate::moment;

/// Whether it can be served.
pub(super) fn state(state: CredentialState) -> &'static str {
    match state {
        CredentialState::Ready => "ready",
        CredentialState::Rejected => "rejected",
        CredentialState::Expired => "expired",
        CredentialState::Locked => "locked",
        CredentialState::Missing => "missing",
        _ => "unknown",
    }
}

/// Whether writes are open, and for how long.
pub(super) fn writes(registry: &RegistryView) -> String {
    match &registry.writes_open_until {
        Some(until) => format!("open, closes {}", moment::relative(until)),
        None => registry.writes.clone(),
    }
}

/// The scheme, and whose token it is.
pub(super) fn scheme(scheme: &str, username: Option<&str>) -> String {
    match username {
        Some(username) => format!("{scheme}, {username}"),
        None => scheme.to_owned(),
    }
}

/// Where its token comes from.
pub(super) fn source(registry: &RegistryView) -> String {
    match &registry.credential_of {
        Some(owner) => format!("the credential of {owner}"),
        None => registry.source.clone(),
    }
}

/// What went wrong at its source.
pub(super) fn failure(failure: &SourceFailure) -> String {
    format!("{} ({})", failure.message, moment::relative(&failure.at))
}

/// When its token ends; `failing` when its source gives no other.
pub(super) fn expiry(registry: &RegistryView) -> String {
    let credential = &registry.credential;
    let end = credential.expires.as_deref().map(moment::relative);
    match (end, &credential.failure) {
        (Some(end), Some(_)) => format!("{end}, failing"),
        (None, Some(_)) => "failing".to_owned(),
        (Some(end), None) => end,
        (None, None) => "-".to_owned(),
    }
}

/// The hosts of the scopes, each once.
pub(super) fn hosts(scopes: &[String]) -> String {
    let mut hosts: Vec<&str> = Vec::new();
    for scope in scopes {
        let authority = scope.split_once("://").map_or(scope.as_str(), |(_, rest)| rest);
        let host = authority.split('/').next().unwrap_or(authority);
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts.join(", ")
}

/// What is known of a token: by `verified` and `public` of an answer.
pub(super) fn verified(verified: bool, public: bool) -> &'static str {
    match (verified, public) {
        (true, _) => "the registry accepts the token",
        (false, true) => "the registry was reached, but whether it accepts the token is not known",
        (false, false) => "the registry was not asked about the token",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_once_and_with_its_port() {
        let scopes = [
            "https://a.example/x/",
            "https://a.example/y/",
            "https://b.example:8443/",
        ];
        assert_eq!(hosts(&scopes.map(str::to_owned)), "a.example, b.example:8443");
    }
}
