//! Token service of a container registry: the one that the challenge of a new registry names, if it is on the registry's own
//! host; and its verdict on a token.

use http::Uri;
use regauth_shared::request::AddRegistry;
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
/// `not-verified` if the service is on another host, or outside of the scopes and a person is to be asked: it gets the credential
/// only if a person says so.
pub(super) async fn discover(
    upstream: &Upstream,
    pool: usize,
    request: &AddRegistry,
    registry: &mut Registry,
) -> Result<Option<String>, ErrorBody> {
    if !request.verify {
        return Ok(None);
    }
    let Some(realm) = unnamed_service(upstream, pool, registry).await else {
        return Ok(None);
    };
    let is_own_host = is_on_own_host(registry, &realm);
    match realm.as_str().parse() {
        Ok(_) if is_own_host && request.offer_locations && !is_in_scope(registry, &realm) => {
            let message = format!("clients of this registry get short tokens from {realm}, outside of its scopes");
            let error = ErrorBody::new(ErrorKind::NotVerified, message);
            Err(error.hint(format!(
                "it was not added; if that service may get the token, add --token-service {realm}"
            )))
        }
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

/// Token service on the registry's own host that its scopes do not cover, unless the registry's definition names one.
pub(super) async fn outside_of_scopes(upstream: &Upstream, pool: usize, registry: &Registry) -> Option<Url> {
    let realm = unnamed_service(upstream, pool, registry).await?;
    (is_on_own_host(registry, &realm) && !is_in_scope(registry, &realm)).then_some(realm)
}

/// Token service that a container registry names, if its definition names none. Without an answer, the probe says why.
async fn unnamed_service(upstream: &Upstream, pool: usize, registry: &Registry) -> Option<Url> {
    if registry.kind != Kind::Oci || registry.token_service.is_some() {
        return None;
    }
    let Challenge { realm, .. } = challenge(upstream, pool, &api_url(registry)?).await.ok()??;
    Some(realm)
}

fn is_on_own_host(registry: &Registry, realm: &Url) -> bool {
    registry.scopes.iter().any(|scope| scope.is_on_host_of(realm))
}

fn is_in_scope(registry: &Registry, realm: &Url) -> bool {
    registry.scopes.iter().any(|scope| scope.covers_url(realm))
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
