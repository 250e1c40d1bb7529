//! What requests use: each registry's credential in memory, one generation at a time.
//!
//! A request takes the present [`Generation`] once and keeps it until the registry has answered (invariant 11). A
//! rotation puts the next one in, then waits until nobody holds the last: after that no request uses the old token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use regauth_shared::Secret;
use time::OffsetDateTime;

use crate::proxy::rewrite::Attachment;
use crate::registry::Scheme;

/// One value of a credential, between two rotations.
#[derive(Debug)]
pub struct Generation {
    /// Counts up at every rotation, from 1.
    pub number: u64,
    /// When it was stored.
    pub since: OffsetDateTime,
    attachment: Attachment,
    secret: Secret,
    rejections: AtomicU32,
}

impl Generation {
    /// A generation and the header it becomes under `scheme`.
    pub fn new(number: u64, since: OffsetDateTime, scheme: &Scheme, secret: Secret) -> Self {
        Self {
            number,
            since,
            attachment: Attachment::new(scheme, &secret),
            secret,
            rejections: AtomicU32::new(0),
        }
    }

    /// The header to send.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// The secret itself, for asking the registry about it.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Notes what the registry said to a request that carried this generation.
    pub fn note(&self, accepted: bool) {
        if accepted {
            self.rejections.store(0, Ordering::Relaxed);
        } else {
            self.rejections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the registry's last word on it was no.
    pub fn is_rejected(&self) -> bool {
        self.rejections.load(Ordering::Relaxed) > 0
    }
}

/// What is in memory for a registry.
#[derive(Clone, Debug)]
pub enum Holding {
    /// A credential.
    Ready(Arc<Generation>),
    /// The store has it and is locked.
    Locked,
    /// The store or source does not have it, or failed; why, for `show`.
    Missing(String),
}

/// A registry's place for its credential: read by every request, replaced by a rotation.
#[derive(Debug)]
pub struct Slot(ArcSwap<Holding>);

impl Slot {
    /// A slot that holds `holding`.
    pub fn new(holding: Holding) -> Self {
        Self(ArcSwap::from_pointee(holding))
    }

    /// What it holds now.
    pub fn load(&self) -> Arc<Holding> {
        self.0.load_full()
    }

    /// The present generation, if there is one.
    pub fn generation(&self) -> Option<Arc<Generation>> {
        match &**self.0.load() {
            Holding::Ready(generation) => Some(Arc::clone(generation)),
            Holding::Locked | Holding::Missing(_) => None,
        }
    }

    /// Puts `holding` in and waits until no request holds what was there before, at most [`HANDOVER`].
    pub async fn replace(&self, holding: Holding) {
        let old = self.0.swap(Arc::new(holding));
        let deadline = tokio::time::Instant::now() + HANDOVER;
        let Holding::Ready(generation) = &*old else { return };
        // `old` itself is one holder.
        while Arc::strong_count(generation) > 1 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// How long a rotation waits for requests that took the old generation and have not been answered yet.
const HANDOVER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64) -> Holding {
        let secret = Secret::parse("tok").unwrap();
        Holding::Ready(Arc::new(Generation::new(
            number,
            OffsetDateTime::UNIX_EPOCH,
            &Scheme::Raw,
            secret,
        )))
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_waits_for_those_who_hold_the_old_generation() {
        let slot = Arc::new(Slot::new(generation(1)));
        let held = slot.generation().unwrap();
        let mut rotation = std::pin::pin!(slot.replace(generation(2)));
        let early = tokio::time::timeout(Duration::from_millis(50), rotation.as_mut()).await;
        assert!(early.is_err(), "a request still holds generation 1");
        assert_eq!(
            slot.generation().unwrap().number,
            2,
            "new requests use the new one at once"
        );
        drop(held);
        rotation.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_does_not_hold_up_a_rotation_for_ever() {
        let slot = Slot::new(generation(1));
        let _held = slot.generation();
        slot.replace(generation(2)).await;
    }
}
