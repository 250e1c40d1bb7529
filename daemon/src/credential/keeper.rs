//! One credential and the registries that use it.
//!
//! A [`Keeper`] holds the present value and puts it into the [`Slot`] of each registry, under that registry's scheme. A
//! credential that comes from a file or a program has a [`renewer`](super::renewer) besides: a task that alone asks the
//! source, so that it is asked once however many requests wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::generation::{Generation, Value};
use super::lifetime::{Lifetime, Moment};
use super::mark::Known;
use super::origin::{Failure, Minted, Origin};
use super::renewer::Renewer;
use super::slot::{Holding, Slot, handover};
use crate::proxy::upstream::Upstream;
use crate::registry::Scheme;

/// One credential in memory.
#[derive(Debug)]
pub struct Keeper {
    shelf: Arc<Shelf>,
    renewal: Option<Renewal>,
}

#[derive(Debug)]
struct Renewal {
    asks: mpsc::UnboundedSender<Ask>,
    /// Ends the task, and a program that it runs, with the keeper.
    _end: DropGuard,
}

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

/// Why a request wants another value than the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is none, or it has expired.
    Missing,
    /// The registry has rejected it.
    Rejected,
}

/// What came of a value from a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The generation from now on.
    pub number: u64,
    /// Whether it is another token than before.
    pub is_new: bool,
}

/// How a source has been doing.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// When it is going to be asked next.
    pub renews: Option<OffsetDateTime>,
    /// What went wrong last, and when, if it has not gone right since.
    pub failure: Option<(Failure, OffsetDateTime)>,
}

/// What is asked of a renewer.
#[derive(Debug)]
pub(super) enum Ask {
    /// A newer value than number `than`.
    Renew {
        than: u64,
        cause: Cause,
        done: oneshot::Sender<bool>,
    },
    /// What the source gives now, for someone who puts it in place himself.
    Fetch {
        done: oneshot::Sender<Result<Minted, Failure>>,
    },
    /// Someone has put a value in place.
    LookAgain,
}

impl Keeper {
    /// A credential that changes only when a person changes it.
    pub fn fixed() -> Self {
        Self {
            shelf: Arc::default(),
            renewal: None,
        }
    }

    /// A credential that comes from `origin`, which is asked whenever that is due; at once if it did not give a `first`
    /// value already. Its numbers go on from the generation that is `known`.
    pub fn renewing(origin: Origin, first: Option<Minted>, known: Option<Known>, tasks: &TaskTracker) -> Self {
        let shelf = Arc::new(Shelf::going_on_from(known));
        if let Some(first) = first {
            shelf.take(first, Moment::now());
        }
        let (asks, questions) = mpsc::unbounded_channel();
        let end = CancellationToken::new();
        let renewer = Renewer::new(origin, Arc::clone(&shelf), questions, tasks.clone());
        tasks.spawn(end.clone().run_until_cancelled_owned(renewer.run()));
        let renewal = Renewal {
            asks,
            _end: end.drop_guard(),
        };
        Self {
            shelf,
            renewal: Some(renewal),
        }
    }

    /// Whether its source can be asked for a new value.
    pub fn renews(&self) -> bool {
        self.renewal.is_some()
    }

    /// What is in memory.
    pub fn present(&self) -> Present {
        self.shelf.lock().present.clone()
    }

    /// How its source has been doing.
    pub fn news(&self) -> News {
        self.shelf.lock().news.clone()
    }

    /// From now on exactly these registries use it. Those that are new get the present value.
    pub fn serve(&self, outlets: Vec<Outlet>) {
        let mut inner = self.shelf.lock();
        for outlet in &outlets {
            let known = inner.outlets.iter().any(|known| Arc::ptr_eq(&known.slot, &outlet.slot));
            if !known {
                outlet.slot.swap(inner.present.holding(outlet));
            }
        }
        inner.outlets = outlets;
    }

    /// Puts a value, or the lack of one, in place and waits until no request holds the one before.
    pub async fn replace(&self, present: Present) {
        self.shelf.put(present).leave().await;
    }

    /// Puts what its source gave in place; as [`Keeper::replace`].
    pub async fn take(&self, minted: Minted) -> Taken {
        let (taken, replaced) = self.shelf.take(minted, Moment::now());
        replaced.leave().await;
        if let Some(renewal) = &self.renewal {
            let _ = renewal.asks.send(Ask::LookAgain);
        }
        taken
    }

    /// Sees to it that there is a newer value than `than`: waits for the source if it is asked already or may be asked
    /// again, at most [`PATIENCE`]. `false` when there is none.
    pub async fn renew(&self, than: u64, cause: Cause) -> bool {
        let Some(renewal) = &self.renewal else { return false };
        let (done, renewed) = oneshot::channel();
        let asked = renewal.asks.send(Ask::Renew { than, cause, done });
        asked.is_ok() && matches!(tokio::time::timeout(PATIENCE, renewed).await, Ok(Ok(true)))
    }

    /// Asks the source, without putting in place what it gives.
    ///
    /// # Errors
    /// [`Failure`] when it gives nothing.
    pub async fn fetch(&self) -> Result<Minted, Failure> {
        let ended = || Failure::new("its source cannot be asked");
        let renewal = self.renewal.as_ref().ok_or_else(ended)?;
        let (done, fetched) = oneshot::channel();
        renewal.asks.send(Ask::Fetch { done }).map_err(|_| ended())?;
        fetched.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// What a keeper and its renewer share.
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
    fn going_on_from(known: Option<Known>) -> Self {
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

    /// Puts something in place of what was there before, in every slot.
    pub(super) fn put(&self, present: Present) -> Replaced {
        self.lock().put(present)
    }

    /// Puts what a source gave in place. The same token once more only lives longer: its generation goes on.
    pub(super) fn take(&self, minted: Minted, now: Moment) -> (Taken, Replaced) {
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

/// How long a request waits for a renewal; cargo gives up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

#[cfg(test)]
pub(crate) mod tests {
    use regauth_shared::Secret;

    use super::*;
    use crate::config::UpstreamSettings;
    use crate::credential::mark::Mark;
    use crate::proxy::dial::Dialer;
    use crate::proxy::upstream::Trust;

    /// A registry that uses a credential, and has not connected yet.
    pub(crate) fn outlet(scheme: Scheme) -> Outlet {
        let dialer = Dialer::new(&UpstreamSettings::default(), ([127, 0, 0, 1], 1).into());
        let trust = Trust::new(&[], None, None).unwrap();
        Outlet {
            slot: Arc::new(Slot::new(Holding::Locked)),
            scheme,
            upstream: Arc::new(Upstream::new(&dialer, trust, 1).unwrap()),
        }
    }

    fn minted(token: &str, ttl: u64) -> Minted {
        Minted {
            secret: Secret::parse(token).unwrap(),
            expires: None,
            ttl: Some(Duration::from_secs(ttl)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn registries_that_share_a_credential_rotate_together_each_by_its_scheme() {
        let (keeper, [one, two]) = (Keeper::fixed(), [outlet(Scheme::Bearer), outlet(Scheme::Raw)]);
        keeper.take(minted("first", 60)).await;
        keeper.serve(vec![one.clone(), two.clone()]);
        keeper.take(minted("second", 60)).await;
        for (outlet, line) in [(&one, "Bearer second"), (&two, "second")] {
            let generation = outlet.slot.generation().unwrap();
            let mut headers = http::HeaderMap::new();
            generation.attachment().attach(&mut headers);
            assert_eq!(
                (generation.number, headers["authorization"].as_bytes()),
                (2, line.as_bytes())
            );
        }
        keeper.serve(vec![one.clone()]);
        keeper.take(minted("third", 60)).await;
        assert_eq!(
            two.slot.generation().unwrap().number,
            2,
            "it is served by another keeper now"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_token_again_lives_longer_and_stays_what_it_is() {
        let (keeper, outlet) = (Keeper::fixed(), outlet(Scheme::Raw));
        keeper.serve(vec![outlet.clone()]);
        assert!(keeper.take(minted("first", 60)).await.is_new);
        let generation = outlet.slot.generation().unwrap();
        generation.guard().note(true);
        drop(generation);
        tokio::time::advance(Duration::from_secs(50)).await;
        let taken = keeper.take(minted("first", 60)).await;
        assert_eq!((taken.number, taken.is_new), (1, false));
        tokio::time::advance(Duration::from_secs(50)).await;
        assert!(outlet.slot.ready().is_some(), "neither over nor distrusted");
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_go_on_after_a_restart() {
        let since = OffsetDateTime::UNIX_EPOCH;
        let mark = Mark::of(&minted("first", 60).secret, since);
        for (token, number) in [("first", 7), ("second", 8)] {
            let shelf = Shelf::going_on_from(Some(Known { number: 7, since, mark }));
            let (taken, _) = shelf.take(minted(token, 60), Moment::now());
            assert_eq!((taken.number, taken.is_new), (number, number == 8));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_go_on_after_a_time_without() {
        let keeper = Keeper::fixed();
        keeper.take(minted("first", 60)).await;
        keeper.replace(Present::Missing("gone".to_owned())).await;
        assert_eq!(keeper.take(minted("second", 60)).await.number, 2);
    }
}
