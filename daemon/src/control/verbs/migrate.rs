//! `store` and `store move`: what keeps the secrets, and taking all of them to another keeper.
//!
//! The configuration's write is the moment at which the other store is the store. Before it the old one has everything, and
//! what was copied is taken back on failure or at the next start; by then the new one has everything, each secret read
//! back and compared, and only then the old one loses its [`copies`](crate::control::state::cleanup). Requests go on all the while: they need
//! no store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regauth_shared::request::StoreMove;
use regauth_shared::response::{StoreMoved, StoreMoving, StoreShown};
use regauth_shared::{ErrorBody, ErrorKind, Secret};

use crate::control::controller::Controller;
use crate::control::state::State;
use crate::control::state::cleanup::left_over;
use crate::control::verbs::show;
use crate::credential::store::select::OpenStore;
use crate::credential::store::{Item, StoreError, StoreKind};
use crate::journal::{Journal, Moving};
use crate::registry::Source;

/// How far a move is: in steps, of which each secret takes three.
#[derive(Debug)]
pub(crate) struct Progress {
    to: StoreKind,
    done: AtomicU64,
    of: u64,
}

impl Progress {
    pub(in crate::control) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// What keeps the secrets, and whether they are on their way to another keeper.
pub(crate) async fn store(controller: &Controller) -> StoreShown {
    let moving = controller.stores.progress().map(|progress| StoreMoving {
        to: progress.to.as_str().to_owned(),
        done: progress.done.load(Ordering::Relaxed),
        of: progress.of,
    });
    let left = controller.stores.other();
    StoreShown {
        store: show::present_store(controller).await,
        moving,
        notes: left.map(|other| left_over(other.kind)).into_iter().collect(),
    }
}

/// Takes every secret to another store. Asked for the store that it is already, deletes what an earlier move left in the
/// other.
pub(crate) async fn store_move(controller: &Controller, request: StoreMove) -> Result<StoreMoved, ErrorBody> {
    let to = target(controller, &request)?;
    let mut state = controller.lock_state().await?;
    let from = controller.store();
    let mut notes = Vec::new();
    let mut moved = 0;
    if from.kind == to {
        let message = format!("the secrets are in the {} already", to.as_str());
        notes.push(message);
        if let Some(other) = controller.stores.other() {
            let opened = opened(&other, request.passphrase.as_ref()).await;
            opened.map_err(|error| trouble(other.kind, &error))?;
        }
    } else {
        let next = Arc::new(OpenStore::new(&controller.folders, to));
        let stores = [(&*from, None), (&*next, request.passphrase.as_ref())];
        for (store, passphrase) in stores {
            let opened = opened(store, passphrase).await;
            opened.map_err(|error| trouble(store.kind, &error))?;
        }
        clear_before(controller, &mut state, &next).await?;
        moved = carry_over(controller, &mut state, &from, &next).await?;
    }
    controller.clear_other_store(&mut state).await;
    controller.publish(&state);
    controller.stores.note_progress(None);
    notes.extend(controller.stores.other().map(|other| left_over(other.kind)));
    Ok(StoreMoved {
        from: from.kind.as_str().to_owned(),
        store: show::present_store(controller).await,
        moved,
        notes,
    })
}

/// What an earlier move left in a store goes before another move begins, which could not tell it from its own.
async fn clear_before(controller: &Controller, state: &mut State, next: &Arc<OpenStore>) -> Result<(), ErrorBody> {
    let Some(other) = controller.stores.other() else {
        return Ok(());
    };
    if other.kind == next.kind {
        controller.stores.note_other(Some(Arc::clone(next)));
    }
    controller.clear_other_store(state).await;
    match controller.stores.other() {
        Some(other) => Err(trouble(other.kind, &StoreError::Failed(left_over(other.kind)))),
        None => Ok(()),
    }
}

/// Copies, compares, and makes the other store the store; how many secrets it has now.
async fn carry_over(
    controller: &Controller,
    state: &mut State,
    from: &Arc<OpenStore>,
    next: &Arc<OpenStore>,
) -> Result<usize, ErrorBody> {
    let items = kept(state);
    let progress = Arc::new(Progress {
        to: next.kind,
        done: AtomicU64::new(0),
        of: 3 * items.len() as u64,
    });
    controller.stores.note_progress(Some(Arc::clone(&progress)));
    state.journal.moving = Some(Moving {
        from: from.kind,
        to: next.kind,
        whole: false,
        items: items.clone(),
    });
    let carried = match controller.write_journal(&state.journal) {
        Ok(()) => copied(from, next, &items, &progress).await,
        Err(error) => Err(error),
    };
    let committed = carried.and_then(|moved| commit(controller, &mut state.journal, next.kind).map(|()| moved));
    match &committed {
        Ok(moved) => {
            controller.stores.switch(Arc::clone(next));
            state.store_trouble = None;
            tracing::info!(
                from = from.kind.as_str(),
                to = next.kind.as_str(),
                moved,
                "moved the secrets"
            );
        }
        Err(_) => {
            controller.stores.note_other(Some(Arc::clone(next)));
            controller.clear_other_store(state).await;
            controller.publish(state);
            controller.stores.note_progress(None);
        }
    }
    committed
}

/// Writes each secret to the next store, then reads each back: how many there are.
async fn copied(
    from: &OpenStore,
    next: &OpenStore,
    items: &BTreeSet<Item>,
    progress: &Progress,
) -> Result<usize, ErrorBody> {
    for item in items {
        if let Some(secret) = held(from, item).await? {
            let written = next.thread.write(item, &secret).await;
            written.map_err(|error| trouble(next.kind, &error))?;
        }
        progress.step();
    }
    let mut number = 0;
    for item in items {
        if let Some(secret) = held(from, item).await? {
            let arrived = held(next, item).await?;
            if !arrived.is_some_and(|arrived| arrived.is_same(&secret)) {
                let message = format!("the {} did not give back what was written to it", next.kind.as_str());
                return Err(ErrorBody::new(ErrorKind::StoreUnavailable, message).hint(NOTHING_CHANGED));
            }
            number += 1;
        }
        progress.step();
    }
    Ok(number)
}

/// The configuration's write is the move. Where it is not known whether it was written, the file tells.
fn commit(controller: &Controller, journal: &mut Journal, to: StoreKind) -> Result<(), ErrorBody> {
    if let Some(moving) = &mut journal.moving {
        moving.whole = true;
    }
    controller.write_journal(journal)?;
    match controller.edit_config(|config| config.set_store(to)) {
        Err(_) if controller.read_config().is_ok_and(|config| config.store == Some(to)) => Ok(()),
        outcome => outcome,
    }
}

/// Everything that the store keeps; the ledger and the registries know it all.
fn kept(state: &State) -> BTreeSet<Item> {
    let journal = &state.journal;
    let stored = state
        .registries
        .values()
        .filter(|route| route.registry.source == Source::Store);
    let names = stored.map(|route| &route.name).chain(&journal.pending);
    let names = names.chain(journal.registries.keys()).chain(journal.rotations.keys());
    let with_authority = journal.authorities.keys().filter_map(|host| host.parse().ok());
    let keys = with_authority.chain(state.hosts()).map(Item::AuthorityKey);
    names.cloned().map(Item::Credential).chain(keys).collect()
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

/// Makes sure that a store can be used; a person may be asked to open it.
async fn opened(store: &OpenStore, passphrase: Option<&Secret>) -> Result<(), StoreError> {
    match store.thread.check().await {
        Err(StoreError::Locked) if store.kind == StoreKind::Keychain || passphrase.is_some() => {
            store.thread.unlock(passphrase).await
        }
        outcome => outcome,
    }
}

async fn held(store: &OpenStore, item: &Item) -> Result<Option<Secret>, ErrorBody> {
    let read = store.thread.read(item).await;
    read.map_err(|error| trouble(store.kind, &error))
}

/// Which of the two it was, and what to do.
fn trouble(kind: StoreKind, error: &StoreError) -> ErrorBody {
    let hint = match (kind, error) {
        (StoreKind::Vault, StoreError::Locked) => {
            "a vault under a passphrase opens with --passphrase-stdin; nothing was changed"
        }
        (StoreKind::Vault, StoreError::WrongPassphrase) => "try again with the right passphrase; nothing was changed",
        (StoreKind::Keychain, StoreError::Locked) => "open it in its own window, then repeat; nothing was changed",
        _ => NOTHING_CHANGED,
    };
    let message = format!("the {}: {error}", kind.as_str());
    ErrorBody::new(ErrorBody::from(error.clone()).kind, message).hint(hint)
}

const NOTHING_CHANGED: &str = "nothing was changed; the secrets are where they were";
