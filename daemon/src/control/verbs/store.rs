//! `store` and `unlock`: the store in use, its state, and its passphrase.

use std::time::Duration;

use regauth_shared::request::Unlock;
use regauth_shared::response::{Problem, StoreMoving, StoreShown, StoreView, Unlocked};
use regauth_shared::{ErrorBody, ErrorKind, Secret, passphrase};

use crate::control::controller::Controller;
use crate::control::state::cleanup::leftover_message;
use crate::credential::CredentialState;
use crate::credential::store::{StoreError, StoreKind, select};

/// The store in use, and the progress of a migration.
pub(crate) async fn store(controller: &Controller) -> StoreShown {
    let moving = controller.stores.migration().map(|progress| StoreMoving {
        to: progress.to.as_str().to_owned(),
        done: progress.done(),
        of: progress.steps,
    });
    let leftover = controller.stores.leftover();
    StoreShown {
        store: checked_view(controller).await,
        moving,
        notes: leftover.map(|store| leftover_message(store.kind)).into_iter().collect(),
    }
}

/// Opens a locked store and serves the tokens in it; seals a vault with a new passphrase, for which a vault that has one
/// needs the present one.
///
/// # Errors
/// Those of the store, and a new passphrase that is too short.
pub(crate) async fn unlock(controller: &Controller, request: Unlock) -> Result<Unlocked, ErrorBody> {
    if let Some(passphrase) = &request.set_passphrase {
        check_new(passphrase)?;
    }
    let store = &controller.store().thread;
    // Unlocking shows the keychain's window. It is useless if only a passphrase is to be set, which a keychain refuses.
    let present = request.passphrase.as_ref();
    if present.is_some() || request.set_passphrase.is_none() {
        let unlocked = paced(controller, present, store.unlock(present)).await;
        unlocked.map_err(|error| still_locked(controller.store().kind, error))?;
    }
    if let Some(new) = &request.set_passphrase {
        paced(controller, present, store.seal(present, new)).await?;
        tracing::info!("changed the vault's passphrase and key");
    }
    store.check().await?;
    controller.retry_store().await;
    let snapshot = controller.snapshot();
    let ready = snapshot
        .registries
        .values()
        .filter(|route| matches!(route.credential.state(), CredentialState::Ready(_)))
        .count();
    Ok(Unlocked {
        store: view(controller, snapshot.store_error.as_ref()),
        ready,
    })
}

/// Makes a call of the store with a passphrase: one guess at a time. A call without one waits for nobody's guesses.
pub(in crate::control) async fn paced<T>(
    controller: &Controller,
    passphrase: Option<&Secret>,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    if passphrase.is_none() {
        return call.await;
    }
    let is_wrong = |called: &Result<T, StoreError>| matches!(called, Err(StoreError::WrongPassphrase));
    controller.state.guess(call, is_wrong).await
}

/// Refuses a passphrase that is guessed quickly. Another client than our own may not have checked it.
fn check_new(new: &Secret) -> Result<(), ErrorBody> {
    passphrase::check(new).map_err(|weak| ErrorBody::new(ErrorKind::Invalid, weak.to_string()).hint(passphrase::HINT))
}

/// A store that an unlock has left locked, with a next step other than an unlock.
fn still_locked(kind: StoreKind, error: StoreError) -> ErrorBody {
    let hint = match (&error, kind) {
        (StoreError::Locked, StoreKind::Vault) => {
            "it has a passphrase: run `regauthctl unlock` at a terminal, or pipe the passphrase in with --passphrase-stdin"
        }
        (StoreError::Locked, _) => {
            "the keychain's window was closed, or there is no desktop to show it; unlock the keychain in its own \
             application or by logging in at the desktop, and regauthd goes on within 5 s"
        }
        _ => return error.into(),
    };
    ErrorBody::from(error).hint(hint)
}

/// The store in use and its state now.
pub(in crate::control) async fn checked_view(controller: &Controller) -> StoreView {
    let error = check(controller).await;
    view(controller, error.as_ref())
}

/// Checks the store for at most [`CHECK_TIMEOUT`]: it may have been locked since it was last used.
pub(in crate::control) async fn check(controller: &Controller) -> Option<StoreError> {
    let store = controller.store();
    match tokio::time::timeout(CHECK_TIMEOUT, store.thread.check()).await {
        Ok(Ok(())) => controller.snapshot().store_error.clone(),
        Ok(Err(error)) => Some(error),
        Err(_) => Some(StoreError::NoAnswer),
    }
}

/// The store in use, given its last error.
pub(in crate::control) fn view(controller: &Controller, error: Option<&StoreError>) -> StoreView {
    let state = match error {
        None => "open",
        Some(error) if error.is_locked() => "locked",
        Some(_) => "unavailable",
    };
    let kind = controller.store().kind;
    StoreView {
        kind: kind.as_str().to_owned(),
        protection: select::protection(&controller.folders, kind),
        exposure: Some(exposure(controller, kind).to_owned()),
        state: state.to_owned(),
        problem: error.map(problem),
    }
}

/// Access of other programs to the secrets, in a sentence.
fn exposure(controller: &Controller, kind: StoreKind) -> &'static str {
    if controller.proxy.served.is_guarded() {
        GUARDED
    } else if !controller.persistent {
        EPHEMERAL
    } else {
        select::exposure(&controller.folders, kind)
    }
}

/// A store's error and the next step.
pub(in crate::control) fn problem(error: &StoreError) -> Problem {
    let error = ErrorBody::from(error.clone());
    Problem {
        message: error.message,
        hint: error.hint.unwrap_or_default(),
    }
}

const GUARDED: &str = "programs of the users that this daemon serves cannot read the tokens or send them elsewhere; they can \
                       use the registries for what is open";
const EPHEMERAL: &str =
    "programs of the daemon's user cannot read the tokens, which end with the daemon; they can open writes";
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
