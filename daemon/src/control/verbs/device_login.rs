//! `device-login` and `device-login-poll`: a person logs in with a code, and the refresh token goes to the store.
//!
//! The device code stays in memory. `regauthctl` polls, and a poll that comes too early is answered without asking the
//! service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regauth_shared::request::ByName;
use regauth_shared::response::{DeviceLogin, DeviceLoginState};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};
use tokio::time::Instant;

use crate::control::controller::Controller;
use crate::control::state::StateGuard;
use crate::control::verbs::rotate::{refuse_replaced, rotate_at_source, source_error, write_to_store};
use crate::credential::Credential;
use crate::credential::source::exchange::{DeviceFlow, LoginPoll, StartedLogin};
use crate::credential::source::token_client::TokenClient;
use crate::credential::store::Item;
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

/// Logins that people have to confirm, by registry.
#[derive(Debug, Default)]
pub(crate) struct PendingLogins(Mutex<BTreeMap<RegistryName, Arc<PendingLogin>>>);

#[derive(Debug)]
struct PendingLogin {
    /// Credential that the login is for. Another registry may get its name.
    credential: Arc<Credential>,
    flow: DeviceFlow,
    client: TokenClient,
    started: StartedLogin,
    ends: Instant,
    /// Pause between polls, and the time of the next one.
    pace: Mutex<(Duration, Instant)>,
}

impl PendingLogins {
    fn insert(&self, name: RegistryName, login: PendingLogin) {
        self.lock().insert(name, Arc::new(login));
    }

    fn find(&self, name: &RegistryName) -> Option<Arc<PendingLogin>> {
        let mut logins = self.lock();
        logins.retain(|_, login| Instant::now() < login.ends);
        logins.get(name).cloned()
    }

    /// Removes this login, not one that began later.
    fn remove(&self, name: &RegistryName, login: &Arc<PendingLogin>) {
        let mut logins = self.lock();
        if logins.get(name).is_some_and(|present| Arc::ptr_eq(present, login)) {
            logins.remove(name);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RegistryName, Arc<PendingLogin>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the registry's login service for a code.
///
/// # Errors
/// `not-found` and `refused` for the request, `failed` with the service's reason.
pub(crate) async fn begin(controller: &Controller, request: ByName) -> Result<DeviceLogin, ErrorBody> {
    let route = controller.snapshot().registry(&request.name)?;
    let flow = flow(&route)?;
    let client = controller.token_client(&route.registry);
    let started = controller.unless_ending(flow.begin(&client)).await?;
    let started = started.map_err(|error| source_error(&route, &error))?;
    let answer = DeviceLogin {
        name: request.name.clone(),
        user_code: started.user_code.clone(),
        verification_url: started.verification_url.clone(),
        complete_url: started.complete_url.clone(),
        expires_in: started.expires_in.as_secs(),
        interval: started.interval.as_secs(),
    };
    let now = Instant::now();
    let login = PendingLogin {
        ends: now + started.expires_in,
        pace: Mutex::new((started.interval, now)),
        credential: Arc::clone(&route.credential.shared),
        flow,
        client,
        started,
    };
    controller.state.logins.insert(request.name, login);
    Ok(answer)
}

/// Asks the service whether the person has confirmed. Then the refresh token goes to the store, and the first token into
/// service.
///
/// # Errors
/// `not-found` if there is no login to confirm, `failed` with the service's reason, and those of the store.
pub(crate) async fn poll(controller: &Controller, request: ByName) -> Result<DeviceLoginState, ErrorBody> {
    let name = request.name;
    let route = controller.snapshot().registry(&name)?;
    flow(&route)?;
    let login = controller.state.logins.find(&name).ok_or_else(|| no_login(&name))?;
    if !Arc::ptr_eq(&login.credential, &route.credential.shared) {
        controller.state.logins.remove(&name, &login);
        return Err(no_login(&name));
    }
    let pending = |pause: Duration| DeviceLoginState {
        name: name.clone(),
        interval: Some(pause.as_secs().max(1)),
        rotated: None,
    };
    if let Some(pause) = login.pause() {
        return Ok(pending(pause));
    }
    let polled = controller
        .unless_ending(login.flow.poll(&login.client, &login.started))
        .await?;
    let refresh_token = match polled {
        Ok(LoginPoll::Pending) => return Ok(pending(login.next(Duration::ZERO))),
        Ok(LoginPoll::SlowDown) => return Ok(pending(login.next(SLOW_DOWN))),
        Ok(LoginPoll::Unanswered(error)) => {
            tracing::warn!(registry = %name, error = error.message, "login poll failed");
            return Ok(pending(login.back_off(error.retry_after)));
        }
        Ok(LoginPoll::Confirmed(refresh_token)) => refresh_token,
        Err(error) => {
            controller.state.logins.remove(&name, &login);
            let again = format!("`regauthctl login {name}` begins another login");
            return Err(source_error(&route, &error.hint(again)));
        }
    };
    controller.state.logins.remove(&name, &login);
    let is_bound_now = store(controller, &route, &refresh_token).await?;
    if is_bound_now {
        controller.apply_again(&mut controller.lock_for_change().await?).await?;
    }
    let route = controller.snapshot().registry(&name)?;
    tracing::info!(registry = %name, "logged in");
    Ok(DeviceLoginState {
        interval: None,
        rotated: Some(rotate_at_source(controller, &route, true).await?),
        name,
    })
}

fn no_login(name: &RegistryName) -> ErrorBody {
    let message = format!("no login to `{name}` waits for a confirmation");
    ErrorBody::new(ErrorKind::NotFound, message).hint(format!("`regauthctl login {name}` begins one"))
}

impl PendingLogin {
    /// Time until the next poll may be sent; `None` if it may be sent now.
    fn pause(&self) -> Option<Duration> {
        let next = self.pace.lock().unwrap_or_else(PoisonError::into_inner).1;
        let pause = next.saturating_duration_since(Instant::now());
        (!pause.is_zero()).then_some(pause)
    }

    /// Makes polls rarer by `more`, and returns the time until the next one.
    fn next(&self, more: Duration) -> Duration {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let interval = pace.0 + more;
        *pace = (interval, Instant::now() + interval);
        interval
    }

    /// Doubles the pause between polls after one without an answer (RFC 8628, section 3.5), and returns the time until the
    /// next one. The service may want a longer pause.
    fn back_off(&self, retry_after: Option<Duration>) -> Duration {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let interval = (pace.0 * 2).min(MAX_BACKED_OFF).max(pace.0);
        let pause = interval.max(retry_after.unwrap_or_default());
        *pace = (interval, Instant::now() + pause);
        pause
    }
}

fn flow(route: &RegistryRoute) -> Result<DeviceFlow, ErrorBody> {
    let name = &route.name;
    let flow = match &route.registry.source {
        Source::Minted(mint) => mint.device_flow(),
        _ => None,
    };
    flow.ok_or_else(|| {
        let message = format!(
            "`{name}` has no login with a code: its token comes from {}",
            route.registry.source
        );
        ErrorBody::new(ErrorKind::Refused, message).hint(format!("`regauthctl rotate {name}` gives it a new token"))
    })
}

/// Writes the refresh token to the store. A migration waits for it, and copies again. The token is deleted if the registry
/// was removed or replaced meanwhile. Returns true if the configuration must be applied again.
async fn store(controller: &Controller, route: &RegistryRoute, refresh_token: &Secret) -> Result<bool, ErrorBody> {
    let name = &route.name;
    // Another registry of this name reads the token only after it is known which of them is in service.
    let secret = controller.stores.secrets().secret(name.clone());
    let _turn = controller.unless_ending(secret.take_turn()).await?;
    let mut state = controller.lock_state().await?;
    refuse_replaced(&state, route)?;
    state.rotating.insert(name.clone());
    let written = write_to_store(controller, &mut state, route, refresh_token).await;
    let unreplaced = refuse_replaced(&state, route);
    if unreplaced.is_err() {
        delete_orphan(controller, &mut state, name, refresh_token).await;
    }
    state.rotating.remove(name);
    state.removals += 1;
    written?;
    unreplaced?;
    controller.bind_new_token(&mut state, name).await
}

/// Deletes the refresh token of a registry that is gone, unless the store has another secret of its name.
async fn delete_orphan(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    name: &RegistryName,
    refresh_token: &Secret,
) {
    let (item, store) = (Item::Credential(name.clone()), controller.store());
    let deleted = store.thread.replace(&item, std::slice::from_ref(refresh_token), None);
    if let Err(error) = state.unlocked(deleted).await {
        tracing::warn!(registry = %name, %error, "could not delete the refresh token of a registry that was replaced");
    }
}

/// RFC 8628, section 3.5.
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// Longest pause to which polls without an answer lead.
const MAX_BACKED_OFF: Duration = Duration::from_secs(60);
