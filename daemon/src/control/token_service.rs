//! Token service of a container registry: the one that the challenge of a new registry names, if it is on the registry's own
//! host; and its verdict on a token.

use http::Uri;
use regauth_shared::response::VerdictResult;
use regauth_shared::{ErrorBody, ErrorKind, Secret};
use url::Url;

use crate::control::probe::ProbeResult;
use crate::credential::header::CredentialHeader;
use crate::credential::scoped_tokens::NoScopedToken;
use crate::policy::challenge::Challenge;
use crate::policy::repository::api_root;
use crate::proxy::exchange::token_flow::{NoToken, TokenFlow, challenge};
use crate::proxy::upstream::Upstream;
use crate::registry::{Kind, Registry};

/// Sets the token service of a container registry that sends its clients to one, unless the person has named it or forbids
/// to ask. Returns a note about it.
///
/// # Errors
/// `not-verified` if the service is on another host: it gets the credential only if a person says so.
pub(super) async fn discover(
    upstream: &Upstream,
    pool: usize,
    may_ask: bool,
    registry: &mut Registry,
) -> Result<Option<String>, ErrorBody> {
    if !may_ask || registry.kind != Kind::Oci || registry.token_service.is_some() {
        return Ok(None);
    }
    let Some(root) = api_url(registry) else {
        return Ok(None);
    };
    // Without an answer, the probe says why.
    let Ok(Some(Challenge { realm, .. })) = challenge(upstream, pool, &root).await else {
        return Ok(None);
    };
    let is_own_host = registry.scopes.iter().any(|scope| scope.is_on_host_of(&realm));
    match realm.as_str().parse() {
        Ok(service) if is_own_host => {
            registry.token_service = Some(service);
            Ok(Some(format!(
                "the registry's clients get short tokens from {realm}; regauth gets them for its clients"
            )))
        }
        Ok(_) => {
            let message = format!("clients of this registry get short tokens from {realm}, which is on another host");
            let error = ErrorBody::new(ErrorKind::NotVerified, message);
            Err(error.hint(format!(
                "if that host may get the token, add --token-service {realm}, or `token-service = \"{realm}\"` to a team's file"
            )))
        }
        Err(invalid) => {
            let message =
                format!("clients of this registry get short tokens from a URL that cannot be used: {invalid}");
            Err(ErrorBody::new(ErrorKind::NotVerified, message))
        }
    }
}

/// Asks the token service of a container registry for a token without access to anything.
pub(super) async fn ask(
    flow: &TokenFlow,
    upstream: &Upstream,
    pool: usize,
    registry: &Registry,
    token: &Secret,
) -> ProbeResult {
    let header = CredentialHeader::new(&registry.scheme, token);
    let service = registry
        .token_service
        .as_ref()
        .map_or_else(String::new, ToString::to_string);
    let Some(root) = api_url(registry) else {
        return ProbeResult::unclear("the registry has no scope to ask about".to_owned());
    };
    match flow.fetch((upstream, pool), (&header, token), &root, &[]).await {
        Ok(_) => ProbeResult::new(
            VerdictResult::Accepted,
            format!("the token service {service} gave a token"),
        ),
        Err(NoToken { kind, message }) => match kind {
            NoScopedToken::Rejected => ProbeResult::new(
                VerdictResult::Rejected,
                format!("{message}: the token service does not accept this token"),
            ),
            NoScopedToken::Denied | NoScopedToken::Failed => ProbeResult::unclear(message),
        },
    }
}

/// URL of a container registry's API.
pub(super) fn api_url(registry: &Registry) -> Option<Uri> {
    let scope: Url = registry.scopes.first()?.to_string().parse().ok()?;
    let root = match scope.path().contains("/v2/") {
        true => scope.join(api_root(scope.path())).ok()?,
        false => scope.join("v2/").ok()?,
    };
    root.as_str().parse().ok()
}
