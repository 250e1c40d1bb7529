//! How long a draining daemon waits for whom: nobody who was let in finds a closed door in front of an answer.
//!
//! A request in flight finishes. What is asked for in the moment of the end is answered too: a client that has connected is
//! about to say what it wants, one whose last answer has just come may be sending its next request. An idle connection is
//! told that it is the last (`Connection: close`, GOAWAY) and ended after a pause that is long for a busy client and short
//! for a person who waits. How long a tunnel has, it knows itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Response;
use http::header::{CONNECTION, HeaderValue};

use crate::proxy::worker::Plane;

/// Until who has connected and not said what it wants has had its time.
pub(crate) async fn undecided(plane: &Plane) {
    plane.drain.cancelled().await;
    tokio::time::sleep(UNDECIDED).await;
}

/// Until the next request of a busy client would have come; who has not asked for anything yet has its time first.
pub(crate) async fn between_requests(plane: &Plane, has_asked: &AtomicBool) {
    plane.drain.cancelled().await;
    tokio::time::sleep(BETWEEN_REQUESTS).await;
    if !has_asked.load(Ordering::Relaxed) {
        tokio::time::sleep(UNDECIDED - BETWEEN_REQUESTS).await;
    }
}

/// An answer of HTTP/1.1, the last on its connection when the daemon drains.
pub(crate) fn last<B>(plane: &Plane, mut answer: Response<B>) -> Response<B> {
    if plane.drain.is_cancelled() {
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// For a CONNECT's head, the handshake after it and the first request, each. They follow at once, but where a client opens
/// many connections and reads the bundle for each.
const UNDECIDED: Duration = Duration::from_secs(5);
const BETWEEN_REQUESTS: Duration = Duration::from_secs(1);
