//! One credential and the registries that use it.
//!
//! A [`Keeper`] has a [`Shelf`] for the present value, from which it goes into each registry's
//! [`slot`](crate::credential::slot). A credential that comes from a file or a program has a [`refresher`](crate::credential::refresher) besides: a task that alone asks the
//! source, so that it is asked once however many requests wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::credential::fingerprint::Known;
use crate::credential::lifetime::Moment;
use crate::credential::refresher::Refresher;
use crate::credential::shelf::{News, Outlet, Present, Shelf, Taken};
use crate::credential::source::{Failure, FetchedToken, Origin};

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

/// Why a request wants another value than the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is none, or it has expired.
    Missing,
    /// The registry has rejected it.
    Rejected,
}

/// What is asked of a refresher.
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
        done: oneshot::Sender<Result<FetchedToken, Failure>>,
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
    pub fn renewing(origin: Origin, first: Option<FetchedToken>, known: Option<Known>, tasks: &TaskTracker) -> Self {
        let shelf = Arc::new(Shelf::going_on_from(known));
        if let Some(first) = first {
            shelf.take(first, Moment::now());
        }
        let (asks, questions) = mpsc::unbounded_channel();
        let end = CancellationToken::new();
        let refresher = Refresher::new(origin, Arc::clone(&shelf), questions, tasks.clone());
        tasks.spawn(end.clone().run_until_cancelled_owned(refresher.run()));
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
        self.shelf.serve(outlets);
    }

    /// Puts a value, or the lack of one, in place and waits until no request holds the one before.
    pub async fn replace(&self, present: Present) {
        self.shelf.put(present).leave().await;
    }

    /// Puts what its source gave in place; as [`Keeper::replace`].
    pub async fn take(&self, minted: FetchedToken) -> Taken {
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
    pub async fn fetch(&self) -> Result<FetchedToken, Failure> {
        let ended = || Failure::new("its source cannot be asked");
        let renewal = self.renewal.as_ref().ok_or_else(ended)?;
        let (done, fetched) = oneshot::channel();
        renewal.asks.send(Ask::Fetch { done }).map_err(|_| ended())?;
        fetched.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// How long a request waits for a renewal; cargo gives up after 30 s.
const PATIENCE: Duration = Duration::from_secs(25);

#[cfg(test)]
pub(crate) mod tests {
    use regauth_shared::Secret;
    use time::OffsetDateTime;

    use super::*;
    use crate::config::UpstreamSettings;
    use crate::credential::fingerprint::Fingerprint;
    use crate::credential::slot::{Holding, Slot};
    use crate::proxy::upstream::dial::Dialer;
    use crate::proxy::upstream::{Trust, Upstream};
    use crate::registry::Scheme;

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

    fn minted(token: &str, ttl: u64) -> FetchedToken {
        FetchedToken {
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
            generation.header().attach(&mut headers);
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
        let mark = Fingerprint::of(&minted("first", 60).secret, since);
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
