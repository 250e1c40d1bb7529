//! The copies that a move leaves in the store that is not the store: what was taken over, or what was not committed.
//!
//! A copy is deleted only where the present store has the secret itself, the same or a newer one, or nobody knows of it any
//! more.

use std::sync::Arc;

use crate::control::controller::Controller;
use crate::control::state::State;
use crate::credential::store::select::OpenStore;
use crate::credential::store::{Item, StoreError, StoreKind};
use crate::journal::Moving;

impl Controller {
    /// At the start: a move that a kill interrupted is finished where the configuration names the new store, and undone
    /// where it names the old one.
    pub(in crate::control) async fn settle_move(&self, state: &mut State) {
        let Some(moving) = &state.journal.moving else { return };
        let present = self.store().kind;
        let other = match present {
            kind if kind == moving.from => moving.to,
            // Somebody has named it in the file by hand, before it had everything.
            kind if kind == moving.to && !moving.whole => return,
            kind if kind == moving.to => moving.from,
            _ => return,
        };
        self.stores
            .note_other(Some(Arc::new(OpenStore::new(&self.folders, other))));
        self.clear_other_store(state).await;
    }

    /// Tries again to delete what a move left in the other store, once that can be used.
    pub(crate) async fn retry_other_store(&self) {
        let Some(other) = self.stores.other() else { return };
        // Not while the verbs wait: either of them may take its time.
        if other.thread.check().await.is_ok() && self.store().thread.check().await.is_ok() {
            let Ok(mut state) = self.lock_state().await else { return };
            self.clear_other_store(&mut state).await;
            self.publish(&state);
        }
    }

    /// Deletes from the other store what the present one has. What cannot be deleted now stays noted.
    pub(in crate::control) async fn clear_other_store(&self, state: &mut State) {
        let (Some(other), Some(moving)) = (self.stores.other(), state.journal.moving.clone()) else {
            return;
        };
        let present = self.store();
        for item in &moving.items {
            if let Err(error) = clear(&present, &other, item, Why::of(state, &moving, present.kind, item)).await {
                tracing::warn!(store = other.kind.as_str(), %error, "its copies are deleted when it opens");
                return;
            }
            if let Some(progress) = self.stores.progress() {
                progress.step();
            }
        }
        state.journal.moving = None;
        self.stores.note_other(None);
        if let Err(error) = self.write_journal(&state.journal) {
            tracing::warn!(
                error = error.message,
                "the move is over, and noted as such at the next start"
            );
        }
    }
}

/// Deletes a copy, unless it is the only one, or may be newer than the present store's.
async fn clear(present: &OpenStore, other: &OpenStore, item: &Item, why: Why) -> Result<(), StoreError> {
    if why != Why::NobodyKnowsIt {
        let ours = present.thread.read(item).await?;
        let spare = match (&ours, other.thread.read(item).await) {
            (_, Ok(None)) => return Ok(()),
            (Some(ours), Ok(Some(theirs))) => why == Why::ItIsOld || ours.is_same(&theirs),
            // A write that a kill cut short; there is nothing in it to lose.
            (Some(_), Err(StoreError::Unusable(_))) => true,
            (None, Ok(Some(_)) | Err(StoreError::Unusable(_))) => false,
            (_, Err(error)) => return Err(error),
        };
        if !spare {
            tracing::warn!(%item, store = other.kind.as_str(), "the present store does not have it so, and it stays there");
            return Ok(());
        }
    }
    other.thread.delete(item).await
}

/// Why a copy may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Its registry or host is gone.
    NobodyKnowsIt,
    /// The present store has had its own since.
    ItIsOld,
    /// The present store has the same. Where the new store had everything and the configuration names the old one, a kill
    /// came before it was written, or somebody has written it back by hand long after.
    ItIsTheSame,
}

impl Why {
    fn of(state: &State, moving: &Moving, present: StoreKind, item: &Item) -> Self {
        if !is_known(state, item) {
            Self::NobodyKnowsIt
        } else if moving.whole && present == moving.from {
            Self::ItIsTheSame
        } else {
            Self::ItIsOld
        }
    }
}

fn is_known(state: &State, item: &Item) -> bool {
    match item {
        Item::Credential(name) => state.journal.registries.contains_key(name) || state.registries.contains_key(name),
        Item::AuthorityKey(host) => state.journal.authorities.contains_key(&host.to_string()),
    }
}

/// What a person should know of a store that still has copies.
pub(crate) fn left_over(kind: StoreKind) -> String {
    format!(
        "the {0} still has copies from a move; they are deleted as soon as it opens",
        kind.as_str()
    )
}
