//! End of HTTP/2 responses that a client does not read.
//!
//! A client can close the window of a response and keep its connection alive. The response then holds a stream of the
//! registry and up to a window of memory. hyper does not poll such a body, so the body cannot notice. Its stream's task
//! does: it ends when the client takes too little for too long, which resets the stream. A response that waits for the
//! registry has other limits ([`MinRateBody`](crate::proxy::exchange::body::MinRateBody)).

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, Sleep};

/// Executor for the streams of an HTTP/2 server.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor;

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        TokioExecutor::new().execute(async move {
            let mut stream = pin!(stream);
            let mut reading = Reading::default();
            poll_fn(|context| {
                LAST_POLL.set(None);
                match stream.as_mut().poll(context) {
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending => reading.poll_stopped(LAST_POLL.take(), context),
                }
            })
            .await;
        });
    }
}

/// Notes that a response body begins, or gave bytes to the client's stream. For the task that is polled now.
pub(super) fn note_given(bytes: usize) {
    let before = match LAST_POLL.get() {
        Some(BodyPoll::Gave(before)) => before,
        _ => 0,
    };
    LAST_POLL.set(Some(BodyPoll::Gave(before + bytes)));
}

/// Notes that a response body waits for the registry.
pub(super) fn note_waiting() {
    LAST_POLL.set(Some(BodyPoll::Waits));
}

/// Last result of a response body while its stream was polled.
#[derive(Clone, Copy, Debug)]
enum BodyPoll {
    /// It waits for the registry.
    Waits,
    /// It gave so many bytes. If the stream does not go on, it waits for the client.
    Gave(usize),
}

thread_local! {
    /// Written by the body of the stream that this thread polls.
    static LAST_POLL: Cell<Option<BodyPoll>> = const { Cell::new(None) };
}

/// A client's reading of one response. Costs nothing while the client keeps up.
#[derive(Debug, Default)]
struct Reading {
    /// Window of time in which the client has to take [`MIN_BYTES`]; `None` while it keeps up.
    window: Option<Pin<Box<Sleep>>>,
    taken: usize,
}

impl Reading {
    /// Ready when the client has taken too little. `last` is the body's last result, if it was polled.
    fn poll_stopped(&mut self, last: Option<BodyPoll>, context: &mut Context<'_>) -> Poll<()> {
        match last {
            Some(BodyPoll::Waits) => self.window = None,
            Some(BodyPoll::Gave(bytes)) => {
                self.taken += bytes;
                if self.window.is_none() {
                    self.taken = 0;
                    self.window = Some(Box::pin(tokio::time::sleep(WINDOW)));
                }
            }
            None => {}
        }
        let Some(window) = &mut self.window else {
            return Poll::Pending;
        };
        loop {
            ready!(window.as_mut().poll(context));
            if self.taken < MIN_BYTES {
                tracing::debug!("ended a response that the client does not read");
                return Poll::Ready(());
            }
            self.taken = 0;
            window.as_mut().reset(Instant::now() + WINDOW);
        }
    }
}

/// Generous: a build that is stopped for a moment, or a program that unpacks before it reads on, comes back in time.
const WINDOW: Duration = Duration::from_secs(600);
const MIN_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until the response ends after these results of its body, one at each time; `None` if it does not.
    async fn ends_after(results: &[(u64, BodyPoll)]) -> Option<u64> {
        let (begin, mut reading) = (Instant::now(), Reading::default());
        let mut results = results.iter().copied().peekable();
        for second in 0..4000 {
            let next = results.next_if(|(at, _)| *at == second).map(|(_, result)| result);
            let polled = poll_fn(|context| Poll::Ready(reading.poll_stopped(next, context))).await;
            if polled.is_ready() {
                return Some(begin.elapsed().as_secs());
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_ends_if_the_client_takes_too_little() {
        use BodyPoll::{Gave, Waits};
        for (results, end) in [
            (&[(0, Gave(0))][..], Some(600)),
            (&[(0, Gave(1 << 20)), (500, Gave(10))], Some(600)),
            (&[(0, Gave(0)), (500, Gave(MIN_BYTES))], Some(1200)),
            (&[(0, Gave(0)), (500, Waits)], None),
            (&[(0, Gave(0)), (500, Waits), (900, Gave(0))], Some(1500)),
            (&[(0, Waits)], None),
            (&[], None),
        ] {
            assert_eq!(ends_after(results).await, end, "{results:?}");
        }
    }
}
