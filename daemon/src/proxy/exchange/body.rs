//! A body on its way through: it streams as it comes, and a peer that stops moving is cut.
//!
//! A body that moves costs nothing here but an addition a frame; one that keeps us waiting costs one timer, looked at when
//! its window is over. Trailers are dropped: cargo, git, pip and npm have none, and a trailer is a header that nobody checked.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::proxy::downstream::limits::InFlight;
use crate::proxy::upstream::pool::PooledConnection;

/// A body with its peer's pace.
#[derive(Debug)]
pub struct MinRateBody<B = Incoming> {
    body: B,
    pace: Pace,
    moved: u64,
    window: Option<Pin<Box<Sleep>>>,
    progress: Option<Progress>,
    _counted: Option<(InFlight, PooledConnection)>,
}

/// How many bytes of a body have passed.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// So far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// There are more.
    pub(in crate::proxy) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What is expected of the peer that a body comes from.
#[derive(Clone, Copy, Debug)]
struct Pace {
    least: u64,
    within: Duration,
}

impl MinRateBody {
    /// A client's request: ten bytes a second, as cargo and curl call it slow.
    pub fn request(body: Incoming) -> Self {
        Self::new(body, CLIENT, None)
    }

    /// A registry's answer, which counts as in flight until it ends. A registry may think: git hosts send five bytes every
    /// five seconds while they do.
    pub fn response(body: Incoming, counted: (InFlight, PooledConnection)) -> Self {
        Self::new(body, REGISTRY, Some(counted))
    }
}

impl<B> MinRateBody<B> {
    /// Tells from now on how far it has come.
    pub fn progress(&mut self) -> Progress {
        self.progress.get_or_insert_default().clone()
    }

    fn new(body: B, pace: Pace, counted: Option<(InFlight, PooledConnection)>) -> Self {
        Self {
            body,
            pace,
            moved: 0,
            window: None,
            progress: None,
            _counted: counted,
        }
    }

    /// Called while the peer keeps us waiting.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<StalledBody> {
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
                return Poll::Ready(StalledBody);
            }
            self.moved = 0;
            window.as_mut().reset(now + pace.within);
        }
    }
}

impl<B> Body for MinRateBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
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
                        let length = data.len() as u64;
                        self.moved += length;
                        if let Some(progress) = &self.progress {
                            progress.add(length);
                        }
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
struct StalledBody;

const CLIENT: Pace = Pace {
    least: 600,
    within: Duration::from_secs(60),
};
const REGISTRY: Pace = Pace {
    least: 1,
    within: Duration::from_secs(300),
};
const SLACK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

    /// A peer, and the body that comes from it.
    fn body(
        pace: Pace,
    ) -> (
        Frames,
        MinRateBody<impl Body<Data = Bytes, Error = std::io::Error> + Unpin>,
    ) {
        let (peer, mut frames) = mpsc::unbounded_channel();
        let body = StreamBody::new(stream::poll_fn(move |context| frames.poll_recv(context)));
        (peer, MinRateBody::new(body, pace, None))
    }

    fn data(length: usize) -> Result<Frame<Bytes>, std::io::Error> {
        Ok(Frame::data(Bytes::from(vec![0; length])))
    }

    /// Sends so many bytes every so often; how much arrived in which time before it was cut, at most an hour's worth.
    async fn arrives(pace: Pace, length: usize, every: u64) -> (usize, Duration) {
        let (peer, mut body) = body(pace);
        let begin = Instant::now();
        let mut arrived = 0;
        let sending = async {
            for _ in 0..3600 / every {
                if peer.send(data(length)).is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(every)).await;
            }
            drop(peer);
            std::future::pending::<()>().await;
        };
        let receiving = async {
            while let Some(Ok(frame)) = body.frame().await {
                arrived += frame.data_ref().unwrap().len();
            }
        };
        tokio::select! {
            () = sending => {}
            () = receiving => {}
        }
        (arrived, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_keeps_its_pace_passes_however_long_it_takes() {
        for (pace, length, every) in [(CLIENT, 11, 1), (CLIENT, 400, 20), (REGISTRY, 5, 5), (REGISTRY, 1, 240)] {
            let (arrived, _) = arrives(pace, length, every).await;
            assert_eq!(
                arrived as u64,
                3600 / every * length as u64,
                "{pace:?} {length} {every}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_cut_after_one_window() {
        for (pace, length, every, seconds) in [(CLIENT, 9, 1, 60), (CLIENT, 0, 1, 60), (REGISTRY, 0, 1, 300)] {
            let (_, took) = arrives(pace, length, every).await;
            assert_eq!(took.as_secs(), seconds, "{pace:?} {length} {every}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_cut_and_says_why() {
        for (pace, seconds) in [(CLIENT, 60), (REGISTRY, 300)] {
            let (peer, mut body) = body(pace);
            peer.send(data(1 << 20)).unwrap();
            assert!(body.frame().await.unwrap().is_ok());
            let begin = Instant::now();
            let cut = body.frame().await.unwrap().unwrap_err();
            assert!(cut.is::<StalledBody>(), "{cut}");
            assert_eq!(begin.elapsed().as_secs(), seconds);
        }
    }

    /// Who does not read is not the peer whose pace this is.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_asked_for_is_not_cut() {
        let (peer, mut body) = body(CLIENT);
        let early = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
        assert!(early.is_err(), "nothing has come yet");
        tokio::time::advance(Duration::from_secs(3600)).await;
        let late = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
        assert!(late.is_err(), "it has another minute");
        peer.send(data(1)).unwrap();
        assert!(body.frame().await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_are_dropped_and_errors_are_passed_on() {
        let (peer, mut body) = body(REGISTRY);
        peer.send(Ok(Frame::trailers(http::HeaderMap::new()))).unwrap();
        peer.send(data(3)).unwrap();
        peer.send(Err(std::io::ErrorKind::ConnectionReset.into())).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 3);
        assert!(body.frame().await.unwrap().is_err());
        drop(peer);
        assert!(body.frame().await.is_none());
    }
}
