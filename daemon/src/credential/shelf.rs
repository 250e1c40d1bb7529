//! What is in memory of one credential, and the slots of the registries that use it. A [`keeper`](crate::credential::keeper) and its
//! [`refresher`](crate::credential::refresher) share it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use crate::credential::fingerprint::Known;
use crate::credential::generation::{Generation, Value};
use crate::credential::lifetime::{Lifetime, Moment};
use crate::credential::slot::{Holding, Slot, handover};
use crate::credential::source::{Failure, FetchedToken};
use crate::proxy::upstream::Upstream;
use crate::registry::Scheme;

/// What is in memory of a credential.
#[derive(Clone, Debug)]
pub enum Present {
    /// Its value.
    Ready(Value),
    /// The store has it and is locked.
    Locked,
    /// The store or source does not have it, or failed; why, for `show`.
    Missing(String),
}

impl Present {
    /// The same for one registry. A generation that stays keeps what is known of it.
    fn holding(&self, outlet: &Outlet) -> Holding {
        match self {
            Self::Ready(value) => {
                let known = outlet.slot.generation().filter(|known| known.number == value.number);
                Holding::Ready(Arc::new(Generation::new(value, &outlet.scheme, known.as_deref())))
            }
            Self::Locked => Holding::Locked,
            Self::Missing(why) => Holding::Missing(why.clone()),
        }
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Ready(value) => Some(value),
            Self::Locked | Self::Missing(_) => None,
        }
    }
}

/// A registry that uses the credential.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// Where its requests look.
    pub slot: Arc<Slot>,
    /// How the secret becomes its header.
    pub scheme: Scheme,
    /// What its requests go out by.
    pub upstream: Arc<Upstream>,
}

/// How a source has been doing.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// When it is going to be asked next.
    pub renews: Option<OffsetDateTime>,
    /// What went wrong last, and when, if it has not gone right since.
    pub failure: Option<(Failure, OffsetDateTime)>,
}

/// What came of a value from a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The generation from now on.
    pub number: u64,
    /// Whether it is another token than before.
    pub is_new: bool,
}

/// What a keeper and its refresher share.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) present: Present,
    outlets: Vec<Outlet>,
    last_number: u64,
    /// What the source gave last before the daemon started, until it gives something.
    known: Option<Known>,
    pub(super) news: News,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            present: Present::Missing("it has not been asked for yet".to_owned()),
            outlets: Vec::new(),
            last_number: 0,
            known: None,
            news: News::default(),
        }
    }
}

impl Shelf {
    pub(super) fn going_on_from(known: Option<Known>) -> Self {
        let last_number = known.map_or(0, |known| known.number);
        Self {
            inner: Mutex::new(Inner {
                last_number,
                known,
                ..Inner::default()
            }),
        }
    }

    /// Never held for longer than it takes to look or to replace.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether some registry has accepted the present value.
    pub(super) fn was_accepted(&self) -> bool {
        let generations = |outlet: &Outlet| outlet.slot.generation();
        let inner = self.lock();
        let mut present = inner.outlets.iter().filter_map(generations);
        present.any(|generation| generation.guard().was_accepted())
    }

    /// From now on exactly these registries use it. Those that are new get the present value.
    pub(super) fn serve(&self, outlets: Vec<Outlet>) {
        let mut inner = self.lock();
        for outlet in &outlets {
            let known = inner.outlets.iter().any(|known| Arc::ptr_eq(&known.slot, &outlet.slot));
            if !known {
                outlet.slot.swap(inner.present.holding(outlet));
            }
        }
        inner.outlets = outlets;
    }

    /// Puts something in place of what was there before, in every slot.
    pub(super) fn put(&self, present: Present) -> Replaced {
        self.lock().put(present)
    }

    /// Puts what a source gave in place. The same token once more only lives longer: its generation goes on.
    pub(super) fn take(&self, minted: FetchedToken, now: Moment) -> (Taken, Replaced) {
        let mut inner = self.lock();
        inner.news.failure = None;
        let known = inner.known.take().filter(|known| known.is(&minted.secret));
        let (number, since) = match (&inner.present, known) {
            (Present::Ready(value), _) if value.secret.is_same(&minted.secret) => (value.number, value.since),
            (_, Some(known)) => (known.number, known.since),
            (_, None) => (inner.last_number + 1, now.wall),
        };
        let taken = Taken {
            number,
            is_new: number > inner.last_number,
        };
        let replaced = inner.put(Present::Ready(Value {
            number,
            since,
            lifetime: Lifetime::new(now, minted.expires, minted.ttl),
            secret: minted.secret,
        }));
        (taken, replaced)
    }
}

impl Inner {
    fn put(&mut self, present: Present) -> Replaced {
        if let Present::Ready(value) = &present {
            self.last_number = value.number;
        }
        let [old, new] = [&self.present, &present].map(|present| present.value().map(|value| value.number));
        self.present = present;
        let outlets = self.outlets.iter();
        let is_over = old.is_some() && old != new;
        Replaced {
            holdings: (outlets.clone())
                .map(|outlet| outlet.slot.swap(self.present.holding(outlet)))
                .collect(),
            upstreams: (outlets.filter(|_| is_over))
                .map(|outlet| Arc::clone(&outlet.upstream))
                .collect(),
        }
    }
}

/// What was in the slots before, and the connections that carried it if it is another token.
#[derive(Debug)]
pub(super) struct Replaced {
    holdings: Vec<Arc<Holding>>,
    upstreams: Vec<Arc<Upstream>>,
}

impl Replaced {
    /// Waits until no request holds it, then lets go of the connections whose buffers do.
    pub(super) async fn leave(self) {
        handover(self.holdings).await;
        self.upstreams.iter().for_each(|upstream| upstream.renew());
    }
}
