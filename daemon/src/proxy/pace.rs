//! A body on its way through: it streams as it comes, and a peer that stops moving is cut.
//!
//! A body that moves costs nothing here but an addition a frame; one that keeps us waiting costs one timer, looked at when
//! its window is over. Trailers are dropped: cargo, git, pip and npm have none, and a trailer is a header that nobody checked.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::proxy::census::InFlight;
use crate::proxy::upstream::pool::Place;

/// A body with its peer's pace.
#[derive(Debug)]
pub struct Paced {
    body: Incoming,
    pace: Pace,
    moved: u64,
    window: Option<Pin<Box<Sleep>>>,
    _counted: Option<(InFlight, Place)>,
}

/// What is expected of the peer that a body comes from.
#[derive(Clone, Copy, Debug)]
struct Pace {
    least: u64,
    within: Duration,
}

impl Paced {
    /// A client's request: ten bytes a second, as cargo and curl call it slow.
    pub fn request(body: Incoming) -> Self {
        Self::new(body, CLIENT, None)
    }

    /// A registry's answer, which counts as in flight until it ends. A registry may think: git hosts send five bytes every
    /// five seconds while they do.
    pub fn response(body: Incoming, counted: (InFlight, Place)) -> Self {
        Self::new(body, REGISTRY, Some(counted))
    }

    fn new(body: Incoming, pace: Pace, counted: Option<(InFlight, Place)>) -> Self {
        Self {
            body,
            pace,
            moved: 0,
            window: None,
            _counted: counted,
        }
    }

    /// Called while the peer keeps us waiting.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<TooSlow> {
        let pace = self.pace;
        let window = self.window.get_or_insert_with(|| {
            self.moved = 0;
            Box::pin(tokio::time::sleep(pace.within))
        });
        loop {
            ready!(window.as_mut().poll(context));
            let now = Instant::now();
            // Long over: nobody asked in between, so the other side was the slow one.
            let was_watched = now < window.deadline() + SLACK;
            if was_watched && self.moved < pace.least {
                return Poll::Ready(TooSlow);
            }
            self.moved = 0;
            window.as_mut().reset(now + pace.within);
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            return match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                    Some(data) => {
                        self.moved += data.len() as u64;
                        Poll::Ready(Some(Ok(frame)))
                    }
                    None => continue,
                },
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => self.poll_patience(context).map(|too_slow| Some(Err(too_slow.into()))),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The peer does not move.
#[derive(Debug, thiserror::Error)]
#[error("the body has stopped coming")]
struct TooSlow;

const CLIENT: Pace = Pace {
    least: 600,
    within: Duration::from_secs(60),
};
const REGISTRY: Pace = Pace {
    least: 1,
    within: Duration::from_secs(300),
};
const SLACK: Duration = Duration::from_secs(5);
