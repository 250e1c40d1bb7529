//! Review of a denied request: the token may be bad, or only the path closed.
//!
//! [`review`] has the registry asked about the token, unless that was done a moment ago, and decides what the client gets:
//! the registry's own answer, the answer to a second attempt with a refreshed token, or `token-rejected`. The check runs
//! on the control side (`control/token_check.rs`), which takes no lock for it.

use std::sync::Arc;

use http::header::{HeaderMap, USER_AGENT, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};

use crate::credential::Lease;
use crate::credential::circuit_breaker::{CircuitBreaker, NextStep, Verdict};
use crate::credential::refresher::RefreshReason;
use crate::policy::denial::is_bearer_challenge;
use crate::policy::{Denial, Operation};
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::recording::Recording;
use crate::proxy::exchange::send::{self, ResponseBody};
use crate::proxy::routes::RegistryRoute;
use crate::proxy::state::Worker;
use crate::registry::Kind;

/// Denial of a request, and the generation that the request carried.
#[derive(Debug)]
pub(crate) struct Denied {
    denial: Denial,
    breaker: Arc<CircuitBreaker>,
    number: u64,
    /// True if the token's known end passed while the request was under way.
    is_expired: bool,
}

impl Denied {
    /// Denial of a request with this lease.
    pub(crate) fn new(denial: Denial, lease: &Lease) -> Self {
        let generation = lease.generation();
        Self {
            denial,
            breaker: Arc::clone(&generation.breaker),
            number: generation.value.number,
            is_expired: generation.value.has_expired(),
        }
    }
}

/// Reaction of the client's program to a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnUnauthorized {
    /// It reports the status, or acts on it as its user has configured.
    Reports,
    /// It asks a person for a password or for a login, which cannot help.
    AsksPerson,
}

impl OnUnauthorized {
    /// Reaction of the program that sent these headers to a registry of this kind.
    pub(crate) fn of(kind: Kind, headers: &HeaderMap) -> Self {
        let agent = headers.get(USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
        if kind == Kind::Git || ASKING_PROGRAMS.iter().any(|name| agent.starts_with(name)) {
            Self::AsksPerson
        } else {
            Self::Reports
        }
    }
}

/// Decides what the client gets after a denial. `copy` is sent again if the token turns out to be bad and can be
/// refreshed; a client repeats any other request itself.
///
/// # Errors
/// [`ProxyError::TokenRejected`] if the token is bad, [`ProxyError::AccessDenied`] if only the path is closed and the
/// client's program would ask for a password, [`ProxyError::WriteDenied`] or [`ProxyError::GrantDenied`] if the client may
/// not send the request any more.
pub(crate) async fn review(
    worker: &Worker,
    (client, operation): (&Client, Operation),
    registry: &Arc<RegistryRoute>,
    program: OnUnauthorized,
    first: (Response<ResponseBody>, Denied),
    copy: Option<Request<RequestBody>>,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    let (response, denied) = first;
    let credential = &registry.credential.shared;
    let (finding, reason) = if denied.is_expired && credential.can_refresh() {
        // Registries answer an expired token with 403 or 404 as well, so there is nothing to ask.
        (Finding::TokenSuspect, RefreshReason::Missing)
    } else {
        let finding = examine(worker, client, registry, response.status(), &denied).await;
        (finding, RefreshReason::Rejected)
    };
    if finding == Finding::PathClosed {
        return pass_on(registry, program, response);
    }
    let refreshed = credential.can_refresh() && credential.refresh(denied.number, reason).await;
    match (copy.filter(|_| refreshed), finding) {
        (Some(copy), _) => {
            drop(response);
            let lease = send::lease(registry).await?;
            // Again: a `deny` or `revoke` may have come while the registry and the source were asked.
            client.authorize(registry, operation)?;
            let permit = client.begin_request()?;
            match send::send_once(worker, client, registry, lease, copy, permit, recording).await? {
                (response, None) => Ok(response),
                (response, Some(denied)) => {
                    let finding = examine(worker, client, registry, response.status(), &denied).await;
                    finish(registry, program, response, finding)
                }
            }
        }
        (None, finding) => finish(registry, program, response, finding),
    }
}

/// Error of a request whose credential a token service has rejected. The token is checked first.
pub(super) async fn rejection(
    worker: &Worker,
    client: &Client,
    registry: &Arc<RegistryRoute>,
    denied: &Denied,
) -> ProxyError {
    match examine(worker, client, registry, StatusCode::UNAUTHORIZED, denied).await {
        Finding::PathClosed => ProxyError::AccessDenied(registry.name.clone()),
        Finding::TokenSuspect | Finding::TokenBad => ProxyError::TokenRejected(registry.name.clone()),
    }
}

/// Cause of a denial, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// The token is good, or nothing says otherwise.
    PathClosed,
    /// The token may be bad; a source is worth asking.
    TokenSuspect,
    /// The token is bad.
    TokenBad,
}

async fn examine(
    worker: &Worker,
    client: &Client,
    registry: &Arc<RegistryRoute>,
    status: StatusCode,
    denied: &Denied,
) -> Finding {
    let can_refresh = registry.credential.shared.can_refresh();
    let is_unauthorized = status == StatusCode::UNAUTHORIZED;
    let breaker = &denied.breaker;
    let step = breaker.record_denial(denied.denial, can_refresh);
    if step == NextStep::Check {
        worker.state.token_checks.request(registry, breaker);
    }
    let verdict = match step {
        NextStep::Known(verdict) => verdict,
        // Another token would not follow, and the client gets the registry's own answer.
        _ if !can_refresh && !is_unauthorized => return Finding::PathClosed,
        NextStep::Check | NextStep::Wait => breaker.verdict().await,
    };
    match verdict {
        Verdict::Accepted => Finding::PathClosed,
        Verdict::Rejected => Finding::TokenBad,
        Verdict::Doubtful | Verdict::Unclear if breaker.was_accepted() => match verdict {
            Verdict::Doubtful => Finding::TokenSuspect,
            _ => Finding::PathClosed,
        },
        Verdict::Doubtful | Verdict::Unclear => {
            if denied.denial == Denial::Vague && verdict == Verdict::Unclear {
                return Finding::PathClosed;
            }
            // A bearer of a grant must not be able to end the service for others, also if all clients are bearers.
            if denied.denial == Denial::Clear && !client.bears_grant() {
                breaker.count_rejection();
            }
            if is_unauthorized {
                Finding::TokenBad
            } else {
                Finding::TokenSuspect
            }
        }
    }
}

fn finish(
    registry: &RegistryRoute,
    program: OnUnauthorized,
    response: Response<ResponseBody>,
    finding: Finding,
) -> Result<Response<ResponseBody>, ProxyError> {
    match finding {
        Finding::TokenBad => Err(ProxyError::TokenRejected(registry.name.clone())),
        Finding::TokenSuspect | Finding::PathClosed => pass_on(registry, program, response),
    }
}

/// Passes the registry's denial on. A 401 loses its challenges: the credential was sent, so a password cannot help.
/// A Bearer challenge stays, because no program prompts for it. A program that prompts at any 401 gets 403.
pub(super) fn pass_on(
    registry: &RegistryRoute,
    program: OnUnauthorized,
    mut response: Response<ResponseBody>,
) -> Result<Response<ResponseBody>, ProxyError> {
    if response.status() != StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    if program == OnUnauthorized::AsksPerson {
        return Err(ProxyError::AccessDenied(registry.name.clone()));
    }
    let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
    let kept: Vec<_> = challenges
        .filter(|challenge| is_bearer_challenge(challenge.as_bytes()))
        .cloned()
        .collect();
    response.headers_mut().remove(WWW_AUTHENTICATE);
    for challenge in kept {
        response.headers_mut().append(WWW_AUTHENTICATE, challenge);
    }
    Ok(response)
}

/// True if a cargo sent these headers.
pub(in crate::proxy) fn is_cargo(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
    CARGO.iter().any(|name| agent.starts_with(name))
}

/// Programs that ask for a user name, a password or a login after a 401 without a look at its challenge.
const ASKING_PROGRAMS: [&[u8]; 6] = [b"git/", b"git-lfs/", b"JGit/", b"pip/", CARGO[0], CARGO[1]];
const CARGO: [&[u8]; 2] = [b"cargo/", b"cargo "];
