//! Requests whose body tells reads from writes. Such a body is read whole, within limits, and then sent on as it was.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt, Either, Full, Limited};

use crate::policy::Operation;
use crate::policy::operation::BodyFormat;
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::routes::RegistryRoute;

/// Finds the operation of a request by its body. A client that may write needs no look at it.
///
/// # Errors
/// The refusal of a write, if the body is no read, is too long or does not arrive in time.
pub(super) async fn classify(
    client: &Client,
    registry: &RegistryRoute,
    format: BodyFormat,
    body: RequestBody,
) -> Result<(Operation, RequestBody), ProxyError> {
    let Err(refusal) = client.authorize(registry, Operation::Write) else {
        return Ok((Operation::Write, body));
    };
    match read_whole(body).await {
        Some(bytes) if format.is_read(&bytes) => Ok((Operation::Read, Either::Right(Full::new(bytes)))),
        _ => Err(refusal),
    }
}

async fn read_whole(body: RequestBody) -> Option<Bytes> {
    if body.size_hint().lower() > MAX_BYTES as u64 {
        return None;
    }
    let reading = Limited::new(body, MAX_BYTES).collect();
    let read = tokio::time::timeout(TIMEOUT, reading).await.ok()?;
    Some(read.ok()?.to_bytes())
}

/// git-lfs asks for 100 objects at once, with about 100 bytes each.
const MAX_BYTES: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(20);
