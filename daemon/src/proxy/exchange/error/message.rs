//! Texts of the error responses: two sentences each, what happened and what to do.

use super::ProxyError;
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::proxy_handshake::CorporateProxyError;
use crate::workload::Rejection;

impl ProxyError {
    /// Two sentences: what happened, and what to do. Constant except for the registry's name and the corporate proxy, which
    /// are in our configuration.
    pub fn message(&self) -> String {
        let text = match self {
            Self::WriteDenied(name) => return WRITE_DENIED.replace("{name}", name.as_str()),
            Self::ProgramDenied(name) => return PROGRAM_DENIED.replace("{name}", name.as_str()),
            Self::TokenRejected(name) => return TOKEN_REJECTED.replace("{name}", name.as_str()),
            Self::AccessDenied(name) => return ACCESS_DENIED.replace("{name}", name.as_str()),
            Self::Unconfirmed(name) => return UNCONFIRMED.replace("{name}", name.as_str()),
            Self::CredentialUnavailable(name) | Self::LoggedOut(name) => {
                return CREDENTIAL_UNAVAILABLE.replace("{name}", name.as_str());
            }
            Self::TokenService(name) => return TOKEN_SERVICE.replace("{name}", name.as_str()),
            Self::CorporateProxy(error) => return corporate_proxy_message(error),
            Self::BadRequest => BAD_REQUEST,
            Self::Malformed(problem) => problem.message(),
            Self::AuthorityMismatch => AUTHORITY_MISMATCH,
            Self::MethodRefused => METHOD_REFUSED,
            Self::GrantRequired => GRANT_REQUIRED,
            Self::IdentityRejected(Rejection::Invalid) => IDENTITY_INVALID,
            Self::IdentityRejected(Rejection::Expired) => IDENTITY_EXPIRED,
            Self::IdentityRejected(Rejection::NotYetValid) => IDENTITY_EARLY,
            Self::IdentityRejected(Rejection::NoRule) => IDENTITY_WITHOUT_RULE,
            Self::GrantDenied => GRANT_DENIED,
            Self::HostDenied => HOST_DENIED,
            Self::Busy => BUSY,
            Self::StoreLocked => STORE_LOCKED,
            Self::StoreUnavailable => STORE_UNAVAILABLE,
            Self::AuditUnavailable => AUDIT_UNAVAILABLE,
            Self::ClientTimeout => CLIENT_TIMEOUT,
            Self::Upstream(failure) | Self::Unconnected { failure, .. } => return sentences(*failure),
            Self::UpstreamUnsafe => UPSTREAM_UNSAFE,
            Self::UpstreamFraming => UPSTREAM_FRAMING,
            Self::UpstreamUnreadable => UPSTREAM_UNREADABLE,
        };
        text.to_owned()
    }
}

fn corporate_proxy_message(error: &CorporateProxyError) -> String {
    let text = error.to_string();
    format!("T{}. {}\n", text.strip_prefix('t').unwrap_or(&text), error.advice())
}

/// A failure's texts as two sentences.
fn sentences(failure: UpstreamFailure) -> String {
    let remedy = failure.remedy();
    // A remedy may begin with a command in backticks, which has no capital.
    let (first, rest) = remedy.split_at_checked(1).unwrap_or_default();
    format!(
        "The host {}. {}{rest}.\n",
        failure.predicate(),
        first.to_ascii_uppercase()
    )
}

const BAD_REQUEST: &str = "regauth is a forward proxy, and this request does not name exactly one host and path. \
    Send CONNECT host:port or an absolute http:// URL, with a plain path.\n";
const AUTHORITY_MISMATCH: &str = "The request names another host than its CONNECT, so regauth did not send it. Open a \
    separate connection for each host.\n";
const METHOD_REFUSED: &str = "regauth does not forward this method. Use the methods of the registry's API.\n";
const GRANT_REQUIRED: &str = "regauth serves its own user and the bearers of grants, and this connection is from neither. \
    Run `regauthctl grant` as the user who runs regauthd, and use the proxy URL that it prints.\n";
const IDENTITY_INVALID: &str = "regauth does not accept this token. Show a token of an issuer that the gateway trusts, for the \
    audience that its operator names, exactly as it was issued.\n";
const IDENTITY_EXPIRED: &str = "The token has expired, so regauth does not accept it. Ask its issuer for a new one right before the \
    build.\n";
const IDENTITY_EARLY: &str = "The token is not valid yet, so regauth does not accept it. Compare the clocks of its issuer and of the \
    gateway.\n";
const IDENTITY_WITHOUT_RULE: &str = "The token is genuine, but its claims fit no trust rule of the gateway. Ask the gateway's operator for \
    a [[trust]] rule for this repository, branch or account.\n";
const GRANT_DENIED: &str = "The client's grant has ended, or does not cover this registry or operation, so nothing was \
    sent. Create another with `regauthctl grant`: --registry NAME opens a registry, --write its writes.\n";
const HOST_DENIED: &str = "A grant opens registries and public hosts, and this host is neither. Connect to it without \
    the proxy, or add it as a registry with `regauthctl add-registry`.\n";
const BUSY: &str = "There are too many open connections or requests, of this client or to a registry that serves one request \
    per connection. Repeat when some have ended.\n";
const WRITE_DENIED: &str = "regauth keeps writes to the registry `{name}` closed, so nothing was sent. Open them for a \
    while with `regauthctl allow {name} --for 5m`, then repeat.\n";
const PROGRAM_DENIED: &str = "The registry `{name}` serves only the programs that its `programs` lists, and this one is none of them, \
    so nothing was sent. `regauthctl watch --refused` names it: add it to `programs` in config.toml, then `regauthctl \
    reload`.\n";
const TOKEN_REJECTED: &str = "The registry `{name}` rejected the token that regauth holds for it. Ask the registry again \
    with `regauthctl verify {name}`, or replace the token with `regauthctl login {name}`.\n";
const ACCESS_DENIED: &str = "The registry `{name}` answers 401 for this URL, and nothing says that the token is bad. Check \
    the URL and what the token may read; `regauthctl verify {name}` asks the registry about the token.\n";
const UNCONFIRMED: &str = "The registry `{name}` has changed beyond what its token was given for, so nothing was sent. \
    `regauthctl show {name}` lists the changes, and `regauthctl confirm {name}` takes them in.\n";
const STORE_LOCKED: &str = "The store that keeps regauth's tokens is locked, so nothing was sent. Unlock it with \
    `regauthctl unlock`.\n";
const CREDENTIAL_UNAVAILABLE: &str = "regauth has no token for the registry `{name}`, so nothing was sent. Find the reason with \
    `regauthctl show {name}`, and set a new token with `regauthctl login {name}`.\n";
const TOKEN_SERVICE: &str = "The token service of the registry `{name}` gave no token, so nothing was sent. Find the reason with \
    `regauthctl verify {name}`.\n";
const STORE_UNAVAILABLE: &str = "The store that keeps regauth's tokens cannot be read, so nothing was sent. Find the reason \
    with `regauthctl status`.\n";
const AUDIT_UNAVAILABLE: &str = "regauth cannot write its audit record, and its configuration allows no request without it. \
    Find the reason with `regauthctl status`, then repeat.\n";
const CLIENT_TIMEOUT: &str = "The client stopped sending the body of its request, so regauth ended the request. Repeat it over \
    a connection that sends at least 10 bytes a second.\n";
const UPSTREAM_UNSAFE: &str = "The host repeated the token in its response or switched protocols, so regauth withheld the \
    response. Report this to the operator of the host.\n";
const UPSTREAM_FRAMING: &str = "The host's response has a Transfer-Encoding that regauth did not ask for, so regauth withheld \
    it. Report this to the operator of the host.\n";
const UPSTREAM_UNREADABLE: &str = "The host's answer of Git LFS or of a token service is compressed or longer than 4 MiB, so \
    regauth could not search it for the token and withheld it. With Git LFS, ask for fewer objects at once: \
    `git config lfs.transfer.batchSize 20`.\n";
