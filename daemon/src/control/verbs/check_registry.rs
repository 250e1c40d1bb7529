//! `check-registry`: what can be known about a new registry without its token.
//!
//! `regauthctl` asks before it prompts for the token, so that nobody types one for a name that is taken, a host that
//! cannot be reached, or a URL without an index. The verb changes nothing.

use regauth_shared::ErrorBody;
use regauth_shared::request::AddRegistry;
use regauth_shared::response::RegistryChecked;

use crate::control::controller::Controller;
use crate::control::new_registry::definition_without_token;
use crate::control::presence::Presence;
use crate::control::probe::probe_without_token;
use crate::control::token_service;
use crate::control::verbs::add_registry::refuse_conflicts;

/// Checks the definition, and asks the registry without a token.
///
/// # Errors
/// `exists`, `invalid` or `refused` for the request. A registry that cannot be used is an answer.
pub(crate) async fn check_registry(
    controller: &Controller,
    request: &AddRegistry,
    presence: Presence,
) -> Result<RegistryChecked, ErrorBody> {
    let registry = definition_without_token(request)?;
    controller.check_registry(&registry)?;
    {
        let state = controller.lock_state().await?;
        refuse_conflicts(controller, &state, request, presence)?;
        state.refuse_taken_scopes(&request.name, &registry)?;
    }
    let (upstream, pool) = (
        controller.upstream(&request.name, &registry)?,
        controller.upstream_pool(),
    );
    let asked = async {
        let mut checked = probe_without_token(&upstream, pool, &registry).await;
        let service = token_service::outside_of_scopes(&upstream, pool, &registry).await;
        checked.token_service = service.map(String::from);
        checked
    };
    controller.unless_ending(asked).await
}
