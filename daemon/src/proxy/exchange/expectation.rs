//! `Expect: 100-continue` (RFC 9110, section 10.1.1): a client waits with a body until the registry wants it.
//!
//! Over HTTP/1.1 the expectation goes to the registry, and the body waits: for the registry's 100, or for a second, since
//! some servers send none. If the registry answers with an error instead, the body is not sent. hyper sends our own 100 to
//! the client when the body is first read. HTTP/2 needs no expectation, because its flow control lets only a part of the
//! body out before the answer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{EXPECT, HeaderMap};
use http::{Request, StatusCode};
use tokio::sync::watch;

/// Does the client wait for a 100?
pub(super) fn is_expected(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(EXPECT).iter();
    let is_continue = values
        .next()
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(CONTINUE));
    is_continue && values.next().is_none()
}

/// Expectation of one request, held until its response has ended.
#[derive(Debug)]
pub(crate) struct Expectation(Arc<watch::Sender<Decision>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Wait,
    Send,
    /// The upstream's response is an error. While its body streams, the connection must not fail.
    Withhold,
    /// The response has ended. Without the body, the connection cannot be used again.
    End,
}

impl Expectation {
    /// Watches for the upstream's 100 to `request`. Returns the expectation, and the hold for the request's body.
    pub(super) fn begin<B>(request: &mut Request<B>) -> (Self, BodyHold) {
        let (sender, receiver) = watch::channel(Decision::Wait);
        let sender = Arc::new(sender);
        let on_continue = Arc::clone(&sender);
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                on_continue.send_replace(Decision::Send);
            }
        });
        (Self(sender), BodyHold(Box::pin(decided(receiver))))
    }

    /// The upstream has answered: an error means that it does not want the body.
    pub(super) fn answered(&self, status: StatusCode) {
        let decision = if status.is_success() {
            Decision::Send
        } else {
            Decision::Withhold
        };
        self.0.send_if_modified(|current| {
            let is_open = *current == Decision::Wait;
            if is_open {
                *current = decision;
            }
            is_open
        });
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        self.0.send_replace(Decision::End);
    }
}

/// Hold of a request body. Ready when the body may be sent.
pub(crate) struct BodyHold(Pin<Box<dyn Future<Output = Result<(), WithheldBody>> + Send + Sync>>);

impl BodyHold {
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WithheldBody>> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for BodyHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyHold")
    }
}

async fn decided(mut decision: watch::Receiver<Decision>) -> Result<(), WithheldBody> {
    let waited = tokio::time::timeout(
        CONTINUE_TIMEOUT,
        decision.wait_for(|decision| *decision != Decision::Wait),
    );
    match waited.await.map(|decision| decision.map(|decision| *decision)) {
        Err(_) | Ok(Ok(Decision::Send)) => return Ok(()),
        Ok(_) => {}
    }
    let _ = decision.wait_for(|decision| *decision == Decision::End).await;
    Err(WithheldBody)
}

/// The upstream answered with an error before it asked for the body.
#[derive(Debug, thiserror::Error)]
#[error("the upstream did not want the body")]
pub(super) struct WithheldBody;

const CONTINUE: &[u8] = b"100-continue";
/// The limit of curl.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Outcome for a body, and the seconds until it.
    async fn outcome(act: impl FnOnce(&Expectation)) -> (bool, u64) {
        let begin = Instant::now();
        let (expectation, mut hold) = Expectation::begin(&mut Request::new(()));
        act(&expectation);
        let sent = std::future::poll_fn(|context| hold.poll(context));
        let sent = tokio::time::timeout(Duration::from_secs(60), sent).await;
        (matches!(sent, Ok(Ok(()))), begin.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_waits_for_100_or_a_second() {
        assert_eq!(
            outcome(|expectation| {
                expectation.0.send_replace(Decision::Send);
            })
            .await,
            (true, 0)
        );
        assert_eq!(outcome(|_| {}).await, (true, 1));
        assert_eq!(
            outcome(|expectation| expectation.answered(StatusCode::CREATED)).await,
            (true, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_withheld_after_an_error_and_fails_when_the_response_has_ended() {
        let answered = outcome(|expectation| expectation.answered(StatusCode::PAYLOAD_TOO_LARGE)).await;
        assert_eq!(answered, (false, 60));
        let (expectation, mut hold) = Expectation::begin(&mut Request::new(()));
        expectation.answered(StatusCode::UNAUTHORIZED);
        drop(expectation);
        assert!(std::future::poll_fn(|context| hold.poll(context)).await.is_err());
    }

    #[test]
    fn only_one_100_continue_is_an_expectation() {
        for (values, expected) in [
            (&["100-Continue"][..], true),
            (&[], false),
            (&["200-ok"], false),
            (&["100-continue", "x"], false),
        ] {
            let lines = values.iter().map(|value| (EXPECT, value.parse().unwrap()));
            assert_eq!(is_expected(&lines.collect()), expected, "{values:?}");
        }
    }
}
