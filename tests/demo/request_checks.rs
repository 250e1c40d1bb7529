//! Output and checks of the requests that the registry received.

use anyhow::ensure;

use crate::registry::{RecordedRequest, Registry};
use crate::terminal::Terminal;
use crate::tokens::Tokens;

/// Prints the requests that the registry received since the last call: request, credential, status.
pub(crate) fn show_requests(
    terminal: Terminal,
    registry: &Registry,
    tokens: &Tokens,
) -> anyhow::Result<Vec<RecordedRequest>> {
    let requests = registry.take_requests();
    for request in &requests {
        let (token, status) = (tokens.describe_credential(request), request.status.to_string());
        terminal.verdict(&request.line, token, &status, request.status == 200)?;
    }
    Ok(requests)
}

/// Removes regauthd's one request without a token, by which it checks that the registry does not serve everybody.
pub(crate) fn remove_unauthenticated_probe(requests: Vec<RecordedRequest>) -> anyhow::Result<Vec<RecordedRequest>> {
    let (authenticated, unauthenticated): (Vec<_>, Vec<_>) = requests
        .into_iter()
        .partition(|request| request.authorization.is_some());
    let statuses: Vec<u16> = unauthenticated.iter().map(|request| request.status).collect();
    ensure!(
        statuses == [401],
        "expected one request without a token and the answer 401, got {statuses:?}"
    );
    Ok(authenticated)
}

/// Returns whether there was a request, and each had this `Authorization` and was answered with 200.
pub(crate) fn all_served_with(requests: &[RecordedRequest], authorization: &str) -> bool {
    let served =
        |request: &RecordedRequest| request.authorization.as_deref() == Some(authorization) && request.status == 200;
    !requests.is_empty() && requests.iter().all(served)
}
