//! Token service of a new container registry: the one that its challenge names, if it is on the registry's own host.

use regauth_shared::{ErrorBody, ErrorKind};

use crate::control::probe::api_url;
use crate::policy::challenge::Challenge;
use crate::proxy::exchange::token_flow::challenge;
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
            Err(error.hint(format!("if that host may get the token, add --token-service {realm}")))
        }
        Err(invalid) => {
            let message =
                format!("clients of this registry get short tokens from a URL that cannot be used: {invalid}");
            Err(ErrorBody::new(ErrorKind::NotVerified, message))
        }
    }
}
