//! Text form of a registry's properties, shared by `add-registry`, `import`, `list`, `rotate` and `show`.

use regauth_shared::response::{CredentialState, RegistryView, RequestFailure, SourceFailure};

use crate::relative_time::relative;

/// State of the credential.
pub(super) fn state(state: CredentialState) -> &'static str {
    match state {
        CredentialState::Ready => "ready",
        CredentialState::Rejected => "rejected",
        CredentialState::Expired => "expired",
        CredentialState::Locked => "locked",
        CredentialState::Unreadable => "unreadable",
        CredentialState::Missing => "missing",
        _ => "unknown",
    }
}

/// Write policy, or the time when open writes close.
pub(super) fn writes(registry: &RegistryView) -> String {
    match &registry.writes_open_until {
        Some(until) => format!("open, closes {}", relative(until)),
        None => registry.writes.clone(),
    }
}

/// Scheme, with the user name if there is one.
pub(super) fn scheme(scheme: &str, username: Option<&str>) -> String {
    match username {
        Some(username) => format!("{scheme}, {username}"),
        None => scheme.to_owned(),
    }
}

/// Source of the token.
pub(super) fn source(registry: &RegistryView) -> String {
    match &registry.credential_of {
        Some(owner) => format!("the credential of {owner}"),
        None => registry.source.clone(),
    }
}

/// Last failure of the source, and its age.
pub(super) fn failure(failure: &SourceFailure) -> String {
    format!("{} ({})", failure.message, relative(&failure.at))
}

/// Reason why the registry gave no answer, and its age.
pub(super) fn request_failure(failure: &RequestFailure) -> String {
    format!("{} ({})", failure.message, relative(&failure.at))
}

/// Expiry of the token; `failing` if the source gives no new one.
pub(super) fn expiry(registry: &RegistryView) -> String {
    let credential = &registry.credential;
    let expiry = credential.expires.as_deref().map(relative);
    match (expiry, &credential.failure) {
        (Some(expiry), Some(_)) => format!("{expiry}, failing"),
        (None, Some(_)) => "failing".to_owned(),
        (Some(expiry), None) => expiry,
        (None, None) => "-".to_owned(),
    }
}

/// Hosts of the scopes, each once, with ports.
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

/// Result of a verification, from `verified` and `public` of an answer.
pub(super) fn verification(verified: bool, public: bool) -> &'static str {
    match (verified, public) {
        (true, _) => "the registry accepts the token",
        (false, true) => "the registry was reached, but its answer does not tell if it accepts the token",
        (false, false) => "the registry was not asked about the token",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_each_host_once_with_its_port() {
        let scopes = [
            "https://a.example/x/",
            "https://a.example/y/",
            "https://b.example:8443/",
        ];
        assert_eq!(hosts(&scopes.map(str::to_owned)), "a.example, b.example:8443");
    }
}
