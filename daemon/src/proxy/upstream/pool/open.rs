//! Opens a pool's connections: one for everybody who waits, one for a request with a slot, one to have it ready.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;

use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::connection_load::ConnectionLoad;
use crate::proxy::upstream::connector::NewConnection;
use crate::proxy::upstream::destination::RequestSender;
use crate::proxy::upstream::opening::{Opening, Outcome, first_result};
use crate::proxy::upstream::pool::Pool;

impl Pool {
    /// Waits until a connection that others may use too is open.
    pub(super) async fn wait_for_opening(self: &Arc<Self>) -> Result<(), ProxyError> {
        match self.join_opening().outcome().await {
            Outcome::Opened | Outcome::Abandoned => Ok(()),
            Outcome::Failed(error) => Err(error),
        }
    }

    /// Starts to open a connection, or joins the opening in progress.
    pub(super) fn join_opening(self: &Arc<Self>) -> Arc<Opening> {
        let mut state = self.state();
        if let Some(opening) = state.opening.upgrade().filter(|opening| opening.is_pending()) {
            return opening;
        }
        let pool = Arc::clone(self);
        let opening = Opening::start(async move {
            let opened = pool.open().await;
            let mut state = pool.state();
            state.retired.clear();
            match opened {
                // The credential was rotated meanwhile, so a waiting request may have an old token.
                Ok((_, load)) if load.retirements != state.retirements => Outcome::Abandoned,
                Ok((sender, load)) => {
                    state.put(sender, load);
                    Outcome::Opened
                }
                Err(error) => Outcome::Failed(error),
            }
        });
        state.opening = Arc::downgrade(&opening);
        opening
    }

    pub(super) async fn open(self: &Arc<Self>) -> Result<(RequestSender, Arc<ConnectionLoad>), ProxyError> {
        let (NewConnection { sender, driver }, load) = first_result(|| self.attempt()).await?;
        self.speaks_h1
            .store(matches!(sender, RequestSender::H1(_)), Ordering::Relaxed);
        TokioExecutor::new().execute(drive_and_reopen(Arc::downgrade(self), driver, Arc::clone(&load)));
        Ok((sender, load))
    }

    async fn attempt(&self) -> Result<(NewConnection, Arc<ConnectionLoad>), ProxyError> {
        let (is_first, load) = {
            let state = self.state();
            (state.h2.is_empty(), ConnectionLoad::after(state.retirements))
        };
        let opened = self.connector.clone().open(&self.destination, is_first, &load).await?;
        Ok((opened, load))
    }

    /// Puts a connection that one request has opened in the pool if other requests can use it too.
    pub(super) fn share(&self, sender: &RequestSender, load: &Arc<ConnectionLoad>) {
        let RequestSender::H2(sender) = sender else { return };
        let mut state = self.state();
        if load.retirements == state.retirements {
            state.put(RequestSender::H2(sender.clone()), Arc::clone(load));
        }
    }

    /// Opens a connection unless one is open. The opening ends with its last holder.
    #[must_use]
    pub(in crate::proxy::upstream) fn warm(self: &Arc<Self>) -> Option<Arc<Opening>> {
        let mut state = self.state();
        state.forget_closed();
        let is_cold = !self.is_closed.load(Ordering::Relaxed)
            && state.h2.is_empty()
            && state.idle_h1.is_empty()
            && state.slots.taken() == 0;
        drop(state);
        is_cold.then(|| self.join_opening())
    }
}

/// Drives a connection to its end. If the pool was used lately, opens another, so that the next build finds it open.
async fn drive_and_reopen(pool: Weak<Pool>, driver: impl Future<Output = ()>, load: Arc<ConnectionLoad>) {
    let opened = Instant::now();
    driver.await;
    let Some(pool) = pool.upgrade() else { return };
    let (was_used, closed_silently) = {
        let state = pool.state();
        let mut idle = state.idle_h1.iter();
        let own = idle.find(|connection| Arc::ptr_eq(&connection.load, &load));
        let closed_silently = own.is_some_and(|own| load.active() == 0 && own.since.elapsed() < SILENT_CLOSE);
        let was_used = state.last_used.is_some_and(|last| last.elapsed() < KEEP_WARM);
        (was_used, closed_silently && load.has_carried_requests())
    };
    if closed_silently {
        pool.closes_silently.store(true, Ordering::Relaxed);
    }
    if was_used && opened.elapsed() > MIN_LIFETIME {
        let warm = pool.warm();
        drop(pool);
        if let Some(opening) = warm {
            opening.outcome().await;
        }
    }
}

/// An idle connection that the upstream closes within this time was closed with its last response.
const SILENT_CLOSE: Duration = Duration::from_secs(1);

/// Time after the last request during which a closed connection is replaced.
const KEEP_WARM: Duration = Duration::from_secs(300);
/// An upstream that closes a connection sooner does not want it, so it is not replaced.
const MIN_LIFETIME: Duration = Duration::from_secs(10);
