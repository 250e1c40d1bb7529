//! `confirm`: takes in what a changed configuration adds to what a stored token was given for.

use regauth_shared::event::{EventKind, RegistryChange};
use regauth_shared::request::Confirm;
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, ErrorKind};

use crate::control::controller::Controller;
use crate::control::presence::Presence;
use crate::control::verbs::show;
use crate::control::widening::Widening;

/// Records the changes that the person has seen, and serves them.
///
/// # Errors
/// `not-found` for an unknown registry, `invalid` if other changes are waiting than the request names, those of the
/// permission, the store and the files.
pub(crate) async fn confirm(
    controller: &Controller,
    request: Confirm,
    presence: Presence,
) -> Result<RegistryView, ErrorBody> {
    let name = &request.name;
    let route = controller.snapshot().registry(name)?;
    let Some(widening) = Widening::unconfirmed(&*controller.lock_state().await?, name) else {
        return Ok(show::view(&route));
    };
    if widening.changes() != request.changes {
        let message = format!("the changes of `{name}` are not those that were shown");
        return Err(ErrorBody::new(ErrorKind::Invalid, message).hint(format!(
            "nothing was changed; `regauthctl show {name}` shows them, then repeat"
        )));
    }
    widening.permit(controller, presence, request.proof.as_ref()).await?;
    let mut state = controller.lock_for_change().await?;
    if let Some(now) = Widening::unconfirmed(&state, name) {
        now.refuse_beyond(Some(&widening))?;
        now.record(controller, &mut state).await?;
        controller.apply_again(&mut state).await?;
    }
    controller.announce(EventKind::RegistryChanged(RegistryChange { registry: name.clone() }));
    tracing::info!(registry = %name, changes = request.changes.len(), "confirmed changes");
    state.registry(name).map(|route| show::view(&route))
}
