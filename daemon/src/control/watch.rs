//! `watch`: streams events over a control connection.
//!
//! A viewer is a subscriber with a bounded queue. One that reads slowly, or not at all, loses events and is sent their
//! number. It holds up nobody else.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{SinkExt, StreamExt};
use regauth_shared::event::{Event, EventKind, Lost};
use regauth_shared::frame::Answer;
use regauth_shared::request::Watch;
use regauth_shared::response::Watching;
use regauth_shared::{ErrorBody, ErrorKind};
use tokio::net::UnixStream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

use crate::control::controller::Controller;
use crate::events::{Events, Published, unix_milliseconds};

/// Viewer that was admitted. Its subscription has begun.
pub(crate) struct Viewer {
    filters: Watch,
    /// True without filters: then no event is looked at.
    passes_all: bool,
    events: Arc<Events>,
    feed: Receiver<Arc<Published>>,
    /// Number of the last event that it got.
    last: u64,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    /// Checks the filters and takes one of the places.
    ///
    /// # Errors
    /// `not-found` for an unknown registry or grant, `refused` when [`MAX_VIEWERS`](crate::events::MAX_VIEWERS) watch.
    pub(crate) fn admit(controller: &Controller, filters: Watch) -> Result<Self, ErrorBody> {
        let snapshot = controller.snapshot();
        for name in &filters.registries {
            snapshot.registry(name)?;
        }
        let grants = controller.proxy.grants.load();
        let is_known = |id: &String| grants.valid().any(|grant| grant.terms.id == *id);
        if filters.grant.as_ref().is_some_and(|id| !is_known(id)) {
            let error = ErrorBody::new(ErrorKind::NotFound, "there is no such grant");
            return Err(error.hint("`regauthctl grants` lists them"));
        }
        let events = Arc::clone(&controller.proxy.events);
        let place = events.admit_viewer().map_err(|_: TryAcquireError| {
            let message = format!("{} viewers watch already", crate::events::MAX_VIEWERS);
            ErrorBody::new(ErrorKind::Refused, message).hint("end another `regauthctl watch`, then repeat")
        })?;
        Ok(Self {
            passes_all: filters == Watch::default(),
            filters,
            // Its place says that it wants every request.
            feed: events.subscribe_to_news(),
            events,
            last: 0,
            _place: place,
        })
    }

    /// Sends events until the viewer leaves or the daemon ends.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) async fn stream(mut self, mut lines: Framed<UnixStream, LinesCodec>) -> Result<(), LinesCodecError> {
        let watching = Answer::Ok(Watching {
            pid: std::process::id(),
        });
        lines.send(serde_json::to_string(&watching).unwrap_or_default()).await?;
        lines.set_backpressure_boundary(BATCH);
        loop {
            let received = tokio::select! {
                // In this order: the last events come before the end.
                biased;
                received = self.feed.recv() => received,
                () = self.events.ended() => return Ok(()),
                // The viewer has left, or sends what no viewer sends.
                _ = lines.next() => return Ok(()),
            };
            self.feed_line(&mut lines, received).await?;
            // One system call for all that wait.
            loop {
                let received = match self.feed.try_recv() {
                    Ok(published) => Ok(published),
                    Err(TryRecvError::Lagged(lost)) => Err(RecvError::Lagged(lost)),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                };
                self.feed_line(&mut lines, received).await?;
            }
            SinkExt::<&str>::flush(&mut lines).await?;
        }
    }

    async fn feed_line(
        &mut self,
        lines: &mut Framed<UnixStream, LinesCodec>,
        received: Result<Arc<Published>, RecvError>,
    ) -> Result<(), LinesCodecError> {
        match received {
            Ok(published) => {
                self.last = published.sequence;
                if self.passes_all || self.filters.passes(published.event()) {
                    lines.feed(published.line()).await?;
                }
                Ok(())
            }
            Err(RecvError::Lagged(lost)) => {
                lines
                    .feed(serde_json::to_string(&self.lost(lost)).unwrap_or_default())
                    .await
            }
            // The sender lives as long as the daemon.
            Err(RecvError::Closed) => Ok(()),
        }
    }

    /// Event that stands for those that were lost.
    fn lost(&self, events: u64) -> Event {
        Event {
            time: unix_milliseconds(SystemTime::now()),
            sequence: self.last + 1,
            kind: EventKind::Lost(Lost { events }),
        }
    }
}

/// Bytes of events that are sent together.
const BATCH: usize = 64 * 1024;
