//! What a registry's requests read: its credential in memory, under its own scheme, one generation at a time.
//!
//! A request takes a [`Lease`] on the present generation and keeps it until the registry has answered (invariant 11).
//! Whoever puts another generation in can then wait until nobody holds the last: [`handover`].

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::credential::circuit_breaker::Admission;
use crate::credential::generation::{Generation, Lease};
use crate::credential::keeper::{Cause, Keeper};

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

impl Holding {
    fn generation(&self) -> Option<&Generation> {
        match self {
            Self::Ready(generation) => Some(generation),
            Self::Locked | Self::Missing(_) => None,
        }
    }
}

/// Why there is no credential for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The store is locked.
    Locked,
    /// The store or source does not have it, or it has expired and cannot be renewed.
    Missing,
    /// The registry has rejected it often enough.
    Rejected,
}

/// A registry's place for its credential: read by every request, replaced by a rotation.
#[derive(Debug)]
pub struct Slot(ArcSwap<Holding>);

/// Nothing yet.
impl Default for Slot {
    fn default() -> Self {
        Self::new(Holding::Missing(String::new()))
    }
}

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

    /// Puts `holding` in and gives what was there; requests use the new one at once.
    pub fn swap(&self, holding: Holding) -> Arc<Holding> {
        let next = Arc::new(holding);
        let old = self.0.swap(Arc::clone(&next));
        if let Some(generation) = old.generation() {
            generation.give_way_to(next.generation());
        }
        old
    }

    /// The present generation if nothing speaks against it: the way that nearly all requests go. No lock, and no clock
    /// unless the generation expires.
    pub fn ready(&self) -> Option<Lease> {
        let Holding::Ready(generation) = &**self.0.load() else {
            return None;
        };
        // Held first, then looked at: whoever retires a generation looks for holders after that.
        let lease = Lease::new(Arc::clone(generation), false);
        (generation.guard().is_trusted() && !generation.is_over()).then_some(lease)
    }

    /// A generation for one request, where need be after a renewal or after what other requests hear from the registry.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none to use.
    pub async fn lease(&self, keeper: &Keeper) -> Result<Lease, Unavailable> {
        let mut trouble = Unavailable::Missing;
        for _ in 0..ROUNDS {
            let present = self.load();
            let (number, cause) = match &*present {
                Holding::Locked => return Err(Unavailable::Locked),
                Holding::Missing(_) => (0, Cause::Missing),
                Holding::Ready(generation) if generation.is_over() => (generation.number, Cause::Missing),
                Holding::Ready(generation) => {
                    let held = Arc::clone(generation);
                    match generation.guard().admit().await {
                        Admission::Free => return Ok(Lease::new(held, false)),
                        Admission::Scout => return Ok(Lease::new(held, true)),
                        Admission::Retired => continue,
                        Admission::Refused => (generation.number, Cause::Rejected),
                    }
                }
            };
            drop(present);
            trouble = match cause {
                Cause::Missing => Unavailable::Missing,
                Cause::Rejected => Unavailable::Rejected,
            };
            if !keeper.renew(number, cause).await {
                break;
            }
        }
        Err(trouble)
    }
}

/// Waits until no request holds what was in the slots before, at most [`HANDOVER`].
pub(crate) async fn handover(replaced: Vec<Arc<Holding>>) {
    let deadline = tokio::time::Instant::now() + HANDOVER;
    for old in replaced {
        let Holding::Ready(generation) = &*old else { continue };
        // `old` itself is one holder.
        while Arc::strong_count(generation) > 1 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// How long a rotation waits for requests that took the old generation and have not been answered yet.
const HANDOVER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);
/// More than any good source needs; one whose tokens are over as soon as they come must not keep a request for ever.
const ROUNDS: usize = 8;

#[cfg(test)]
mod tests {
    use regauth_shared::Secret;
    use time::OffsetDateTime;

    use super::*;
    use crate::credential::generation::Value;
    use crate::registry::Scheme;

    fn generation(number: u64) -> Holding {
        let value = Value {
            number,
            since: OffsetDateTime::UNIX_EPOCH,
            secret: Secret::parse("tok").unwrap(),
            lifetime: None,
        };
        Holding::Ready(Arc::new(Generation::new(&value, &Scheme::Raw, None)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_waits_for_those_who_hold_the_old_generation() {
        let slot = Slot::new(generation(1));
        let keeper = Keeper::fixed();
        let held = slot.lease(&keeper).await.unwrap();
        let old = slot.swap(generation(2));
        let mut rotation = std::pin::pin!(handover(vec![old]));
        let early = tokio::time::timeout(Duration::from_millis(50), rotation.as_mut()).await;
        assert!(early.is_err(), "a request still holds generation 1");
        let fresh = slot.lease(&keeper).await.unwrap();
        assert_eq!(fresh.generation().number, 2, "new requests use the new one at once");
        drop(held);
        rotation.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_does_not_hold_up_a_rotation_for_ever() {
        let slot = Slot::new(generation(1));
        let _held = slot.generation();
        handover(vec![slot.swap(generation(2))]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_accepted_generation_is_ready_and_a_new_one_is_asked_about() {
        let slot = Slot::new(generation(1));
        assert!(slot.ready().is_none());
        slot.generation().unwrap().guard().note(true);
        assert!(slot.ready().is_some());
        slot.swap(generation(2));
        assert!(slot.ready().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_has_a_reason() {
        let keeper = Keeper::fixed();
        for (holding, reason) in [
            (Holding::Locked, Unavailable::Locked),
            (Holding::Missing(String::new()), Unavailable::Missing),
        ] {
            assert_eq!(Slot::new(holding).lease(&keeper).await.unwrap_err(), reason);
        }
        let slot = Slot::new(generation(1));
        (0..3).for_each(|_| slot.generation().unwrap().guard().note(false));
        assert_eq!(slot.lease(&keeper).await.unwrap_err(), Unavailable::Rejected);
    }
}
