//! `store move`: migrates all secrets to another store.
//!
//! 1. The journal records the migration, then each secret is copied to the new store, read back and compared.
//! 2. The write of the configuration commits: from then on the new store is in use.
//! 3. The copies in the other store are deleted ([`cleanup`](crate::control::state::cleanup)): in the old store after a
//!    commit, in the new one after a failure. After a kill, the next start does that.
//!
//! Requests need no store and go on all the while.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use regauth_shared::request::StoreMove;
use regauth_shared::response::StoreMoved;
use regauth_shared::{ErrorBody, ErrorKind, Secret};

use crate::control::controller::Controller;
use crate::control::state::cleanup::leftover_message;
use crate::control::state::stores::MigrationProgress;
use crate::control::state::{State, StateGuard};
use crate::control::verbs::store;
use crate::credential::store::select::OpenStore;
use crate::credential::store::stored_secret::PausedWrites;
use crate::credential::store::{Item, StoreError, StoreKind};
use crate::journal::{Journal, StoreMigration};

/// Migrates all secrets. If the target is in use already, deletes the copies that an earlier migration left in the other
/// store. A vault under a passphrase gives its secrets to another store only with the passphrase.
///
/// # Errors
/// `invalid` or `refused` for the target, and those of both stores and of the files; nothing is changed then.
pub(crate) async fn store_move(controller: &Controller, request: StoreMove) -> Result<StoreMoved, ErrorBody> {
    let to = target(controller, &request)?;
    let mut state = controller.lock_for_change().await?;
    let from = controller.store();
    let mut notes = Vec::new();
    let mut moved = 0;
    if from.kind == to {
        notes.push(format!("the secrets are in the {} already", to.as_str()));
        if let Some(leftover) = controller.stores.leftover() {
            state
                .unlocked(open(controller, &leftover, request.passphrase.as_ref()))
                .await?;
        }
    } else {
        let next = Arc::new(OpenStore::new(&controller.folders, to));
        let passphrase = request.passphrase.as_ref();
        state.unlocked(open(controller, &from, passphrase)).await?;
        state
            .unlocked(require_passphrase(controller, &from, passphrase))
            .await?;
        state.unlocked(open(controller, &next, passphrase)).await?;
        finish_last_migration(controller, &mut state, &next).await?;
        moved = migrate(controller, &mut state, &from, &next).await?;
    }
    controller.delete_leftover_copies(&mut state).await;
    controller.publish(&state);
    controller.stores.set_migration(None);
    notes.extend(
        controller
            .stores
            .leftover()
            .map(|leftover| leftover_message(leftover.kind)),
    );
    Ok(StoreMoved {
        from: from.kind.as_str().to_owned(),
        store: store::checked_view(controller).await,
        moved,
        notes,
    })
}

fn target(controller: &Controller, request: &StoreMove) -> Result<StoreKind, ErrorBody> {
    let parsed = request.to.parse::<StoreKind>();
    let to = parsed.map_err(|error| ErrorBody::new(ErrorKind::Invalid, error.to_string()))?;
    let refused = |message: &str| Err(ErrorBody::new(ErrorKind::Refused, message));
    match to {
        _ if !controller.persistent => refused("an ephemeral daemon keeps its secrets in memory, to its end"),
        StoreKind::Memory => refused("the memory loses everything when the daemon ends; move to keychain or vault"),
        StoreKind::Keychain | StoreKind::Vault => Ok(to),
    }
}

/// Makes sure that a store can be used. A keychain may ask a person to open it; the passphrase is for a vault.
async fn open(controller: &Controller, store: &OpenStore, passphrase: Option<&Secret>) -> Result<(), ErrorBody> {
    let passphrase = passphrase.filter(|_| store.kind == StoreKind::Vault);
    let opened = match store.thread.check().await {
        Err(StoreError::Locked) if store.kind == StoreKind::Keychain || passphrase.is_some() => {
            store::paced(controller, passphrase, store.thread.unlock(passphrase)).await
        }
        checked => checked,
    };
    opened.map_err(|error| store_error(store.kind, &error))
}

/// Refuses to take the secrets out of a vault without its passphrase: any program of the user can ask for it.
async fn require_passphrase(
    controller: &Controller,
    from: &OpenStore,
    passphrase: Option<&Secret>,
) -> Result<(), ErrorBody> {
    let verified = store::paced(controller, passphrase, from.thread.verify_passphrase(passphrase)).await;
    verified.map_err(|error| store_error(from.kind, &error))
}

/// Deletes the copies of an earlier migration before another one begins, which could not tell them from its own.
async fn finish_last_migration(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    next: &Arc<OpenStore>,
) -> Result<(), ErrorBody> {
    let Some(leftover) = controller.stores.leftover() else {
        return Ok(());
    };
    if leftover.kind == next.kind {
        controller.stores.set_leftover(Some(Arc::clone(next)));
    }
    controller.delete_leftover_copies(state).await;
    match controller.stores.leftover() {
        Some(leftover) => {
            let message = leftover_message(leftover.kind);
            Err(store_error(leftover.kind, &StoreError::Failed(message)))
        }
        None => Ok(()),
    }
}

/// Copies, compares and commits. Returns the number of secrets in the new store.
async fn migrate(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    from: &Arc<OpenStore>,
    next: &Arc<OpenStore>,
) -> Result<usize, ErrorBody> {
    let items = stored_items(state);
    let progress = Arc::new(MigrationProgress::new(next.kind, items.len()));
    controller.stores.set_migration(Some(Arc::clone(&progress)));
    state.journal.store_migration = Some(StoreMigration {
        from: from.kind,
        to: next.kind,
        copied: false,
        items: items.clone(),
    });
    let copied = match controller.write_journal(&state.journal).await {
        Ok(()) => copy_until_unchanged(controller, state, from, next, items, &progress).await,
        Err(error) => Err(error),
    };
    let committed = match copied {
        Ok((moved, paused)) => {
            let committed = commit(controller, &mut state.journal, next.kind).await;
            if committed.is_ok() {
                controller.stores.switch(Arc::clone(next));
            }
            drop(paused);
            committed.map(|()| moved)
        }
        Err(error) => Err(error),
    };
    match &committed {
        Ok(moved) => {
            state.store_error = None;
            tracing::info!(
                from = from.kind.as_str(),
                to = next.kind.as_str(),
                moved,
                "migrated secrets"
            );
        }
        Err(_) => {
            controller.stores.set_leftover(Some(Arc::clone(next)));
            controller.delete_leftover_copies(state).await;
            controller.publish(state);
            controller.stores.set_migration(None);
        }
    }
    committed
}

/// Every item that the store may have: the journal and the registries name all but the proxy's URL.
fn stored_items(state: &State) -> BTreeSet<Item> {
    let journal = &state.journal;
    let stored = state
        .registries
        .values()
        .filter(|route| route.registry.source.is_stored());
    let names = stored.map(|route| &route.name).chain(&journal.pending);
    let names = names.chain(journal.registries.keys()).chain(journal.rotations.keys());
    let with_authority = journal.authorities.keys().filter_map(|host| host.parse().ok());
    let keys = with_authority.chain(state.hosts()).map(Item::AuthorityKey);
    let secrets = names.flat_map(|name| [Item::Credential(name.clone()), Item::Binding(name.clone())]);
    secrets.chain(keys).chain([Item::ProxyUrl]).collect()
}

/// Copies the secrets, and again if one was rotated, refreshed or removed meanwhile. The lock is held, and refreshed logins
/// are not written, from the last comparison to the commit. Returns the number of secrets.
async fn copy_until_unchanged<'a>(
    controller: &'a Controller,
    state: &mut StateGuard<'_>,
    from: &OpenStore,
    next: &OpenStore,
    mut items: BTreeSet<Item>,
    progress: &MigrationProgress,
) -> Result<(usize, PausedWrites<'a>), ErrorBody> {
    let secrets = controller.stores.secrets();
    for _ in 0..MAX_COPIES {
        let before = (state.removals, state.journal.registries.clone(), secrets.writes());
        let moved = state.unlocked(copy(from, next, &items, progress)).await?;
        let paused = state.unlocked(secrets.pause_writes()).await;
        while !state.rotating.is_empty() {
            state.unlocked(tokio::time::sleep(ROTATION_POLL)).await;
        }
        if state.removals == before.0 && state.journal.registries == before.1 && secrets.writes() == before.2 {
            return Ok((moved, paused));
        }
        drop(paused);
        let present = stored_items(state);
        for item in items.difference(&present) {
            let deleted = state.unlocked(next.thread.delete(item)).await;
            deleted.map_err(|error| store_error(next.kind, &error))?;
        }
        items = present;
    }
    let message = "tokens were rotated or removed again and again while they were copied";
    Err(ErrorBody::new(ErrorKind::Failed, message).hint(NOTHING_CHANGED))
}

/// Writes each secret and each binding to the new store, then reads each back. Returns the number of secrets.
///
/// The copy is compared with the secret that was written: a rotation may have changed the old store meanwhile.
async fn copy(
    from: &OpenStore,
    next: &OpenStore,
    items: &BTreeSet<Item>,
    progress: &MigrationProgress,
) -> Result<usize, ErrorBody> {
    let mut written = Vec::new();
    for item in items {
        if let Some(secret) = read(from, item).await? {
            let copied = next.thread.write(item, &secret).await;
            copied.map_err(|error| store_error(next.kind, &error))?;
            written.push((item, secret));
        } else {
            // A copy of an earlier migration, whose token was forgotten since.
            let deleted = next.thread.delete(item).await;
            deleted.map_err(|error| store_error(next.kind, &error))?;
            progress.step();
        }
        progress.step();
    }
    for (item, secret) in &written {
        if !read(next, item).await?.is_some_and(|copy| copy.is_same(secret)) {
            let message = format!("the {} did not give back what was written to it", next.kind.as_str());
            return Err(ErrorBody::new(ErrorKind::StoreUnavailable, message).hint(NOTHING_CHANGED));
        }
        progress.step();
    }
    let secrets = written.iter().filter(|(item, _)| !matches!(item, Item::Binding(_)));
    Ok(secrets.count())
}

async fn read(store: &OpenStore, item: &Item) -> Result<Option<Secret>, ErrorBody> {
    let read = store.thread.read(item).await;
    read.map_err(|error| store_error(store.kind, &error))
}

/// Writes the configuration. If the write fails, the file itself decides: it may have been replaced before the failure.
async fn commit(controller: &Controller, journal: &mut Journal, to: StoreKind) -> Result<(), ErrorBody> {
    if let Some(migration) = &mut journal.store_migration {
        migration.copied = true;
    }
    controller.write_journal(journal).await?;
    match controller.edit_config(|config| config.set_store(to)).await {
        Err(_) if controller.read_config().is_ok_and(|config| config.store == Some(to)) => Ok(()),
        written => written,
    }
}

/// An error with the name of the store, since two are involved.
fn store_error(kind: StoreKind, error: &StoreError) -> ErrorBody {
    let hint = match (kind, error) {
        (StoreKind::Vault, StoreError::Locked) => {
            "a vault under a passphrase opens with --passphrase-stdin; nothing was changed"
        }
        (StoreKind::Vault, StoreError::PassphraseNeeded) => {
            "repeat it at a terminal, which asks for the passphrase, or pipe it in with --passphrase-stdin; nothing was changed"
        }
        (StoreKind::Vault, StoreError::WrongPassphrase) => "try again with the right passphrase; nothing was changed",
        (StoreKind::Keychain, StoreError::Locked) => "open it in its own window, then repeat; nothing was changed",
        _ => NOTHING_CHANGED,
    };
    let message = format!("the {}: {error}", kind.as_str());
    ErrorBody::new(ErrorBody::from(error.clone()).kind, message).hint(hint)
}

/// Copies of the secrets that change while they are copied.
const MAX_COPIES: usize = 5;
const ROTATION_POLL: Duration = Duration::from_millis(20);
const NOTHING_CHANGED: &str = "nothing was changed; the secrets are where they were";
