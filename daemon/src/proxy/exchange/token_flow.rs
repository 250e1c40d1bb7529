//! Token flow of a container registry: regauthd answers the registry's Bearer challenge itself.
//!
//! A registry with a `token-service` takes no password. Its token service gives a short token for the password, for one
//! scope. [`send`] gets the token that a request needs, sends the request with it, and fetches another one if the registry
//! does not accept it. The client sees neither the challenge nor the token, and the registry never sees the credential.
//! [`TokenFlow`] asks the registry for its name and the token service for tokens; the generation keeps them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use regauth_shared::Secret;
use serde::Deserialize;
use tokio::time::timeout;

use crate::credential::header::CredentialHeader;
use crate::credential::lifetime::ClockReading;
use crate::credential::refresher::RefreshReason;
use crate::credential::scoped_tokens::{NoScopedToken, ScopedToken};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::token_client::{ServiceRequest, TokenClient};
use crate::credential::{Generation, Lease, Rotations};
use crate::policy::challenge::Challenge;
use crate::policy::{Denial, Operation, repository};
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::downstream::limits::RequestPermit;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::carried::CarriedCredential;
use crate::proxy::exchange::denial_review::{self, Denied};
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::recording::Recording;
use crate::proxy::exchange::rewrite;
use crate::proxy::exchange::send::{self, ResponseBody};
use crate::proxy::routes::RegistryRoute;
use crate::proxy::state::Worker;
use crate::proxy::upstream::Upstream;
use crate::registry::Registry;

/// A registry's token service, and what is known about the registry's challenges.
#[derive(Debug)]
pub(crate) struct TokenFlow {
    service: Endpoint,
    client: TokenClient,
    /// Registry's name for the token service, by the URL of its API.
    names: Mutex<Vec<(Uri, Option<String>)>>,
}

/// Token that a request needs.
#[derive(Clone, Debug)]
pub(crate) struct NeededToken {
    /// URL of the registry's API.
    root: Uri,
    scopes: Vec<String>,
    /// Key of the token among those of a generation.
    key: String,
}

/// Answer of a token service (distribution, "Token Authentication Specification", section "Token Response Fields").
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(alias = "access_token")]
    token: String,
    /// Life in seconds.
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Result of a request for a token, with a text for a person.
#[derive(Debug)]
pub(crate) struct NoToken {
    /// Kind of the failure.
    pub(crate) kind: NoScopedToken,
    /// Reason, without secrets.
    pub(crate) message: String,
}

impl TokenFlow {
    /// Flow of a registry whose configuration names a token service.
    pub(crate) fn of(registry: &Registry, upstream: &Upstream, rotations: Rotations) -> Option<Self> {
        let service = registry.token_service.clone()?;
        Some(Self {
            service,
            client: TokenClient::over(upstream.for_token_service(rotations)),
            names: Mutex::default(),
        })
    }

    /// Asks the registry for its name, unless it is known, and the token service for a token.
    ///
    /// # Errors
    /// [`NoToken`] with the reason.
    pub(crate) async fn fetch(
        &self,
        (upstream, worker): (&Upstream, usize),
        credential: (&CredentialHeader, &Secret),
        root: &Uri,
        scopes: &[String],
    ) -> Result<ScopedToken, NoToken> {
        let name = self.name(upstream, worker, root).await?;
        let (header, secret) = credential;
        let service = name.iter().map(|name| ("service", name.as_str()));
        let scopes = scopes.iter().map(|scope| ("scope", scope.as_str()));
        let endpoint = self.service.with_query(service.chain(scopes));
        let asked = ClockReading::now();
        let request = ServiceRequest::get(&endpoint).credential(header, secret);
        let answer = self.client.send(request).await.map_err(|error| NoToken::of(&error))?;
        let tokens: TokenAnswer = answer.json().map_err(|error| NoToken::of(&error))?;
        let token = answer.token(&tokens.token).map_err(|error| NoToken::of(&error))?;
        if header.is_repeated_in(token.expose().as_bytes()) {
            return Err(NoToken::failed(
                "the token service gave out the credential itself".to_owned(),
            ));
        }
        let life = Duration::from_secs(tokens.expires_in.unwrap_or(USUAL_LIFE).min(LONGEST_LIFE));
        Ok(ScopedToken::new(&token, asked, life))
    }

    /// Name of the registry, as its challenge gives it.
    async fn name(&self, upstream: &Upstream, worker: usize, root: &Uri) -> Result<Option<String>, NoToken> {
        let known = {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names
                .iter()
                .find(|(known, _)| known == root)
                .map(|(_, name)| name.clone())
        };
        if let Some(name) = known {
            return Ok(name);
        }
        let challenge = challenge(upstream, worker, root).await.map_err(|error| {
            let host = root.host().unwrap_or_default();
            let reason = error.log_reason().unwrap_or("gave no answer");
            NoToken::failed(format!("{host} {reason}"))
        })?;
        if let Some(challenge) = &challenge
            && !challenge.leads_to(self.service.url())
        {
            return Err(NoToken::failed(format!(
                "the registry sends its clients to the token service {}, and the configuration names {}",
                challenge.realm, self.service
            )));
        }
        let name = challenge.and_then(|challenge| challenge.service);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.push((root.clone(), name.clone()));
        Ok(name)
    }

    /// Forgets the registry's name: it may have changed.
    fn forget_name(&self, root: &Uri) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|(known, _)| known != root);
    }
}

impl NoToken {
    fn of(error: &crate::credential::source::FetchError) -> Self {
        let kind = match error.status {
            Some(401) => NoScopedToken::Rejected,
            Some(403 | 404) => NoScopedToken::Denied,
            _ => NoScopedToken::Failed,
        };
        Self {
            kind,
            message: error.message.clone(),
        }
    }

    fn failed(message: String) -> Self {
        Self {
            kind: NoScopedToken::Failed,
            message,
        }
    }
}

/// Asks a registry without a credential for its Bearer challenge; `None` if it has none.
///
/// # Errors
/// [`ProxyError`] if there is no answer.
pub(crate) async fn challenge(upstream: &Upstream, worker: usize, root: &Uri) -> Result<Option<Challenge>, ProxyError> {
    let mut request = Request::new(Either::Right(Full::new(Bytes::new())));
    *request.uri_mut() = root.clone();
    let (response, _) = timeout(CHALLENGE_TIMEOUT, upstream.send(worker, request))
        .await
        .map_err(|_| ProxyError::Upstream(crate::proxy::upstream::UpstreamFailure::NoAnswer))??;
    let is_asked = response.status() == StatusCode::UNAUTHORIZED;
    Ok(is_asked.then(|| Challenge::of(response.headers())).flatten())
}

impl NeededToken {
    /// Token that a request to a registry needs. The request's URI is absolute.
    fn of<B>(registry: &RegistryRoute, request: &Request<B>) -> Self {
        let uri = request.uri();
        let covers = |path: &str| registry.covers(&with_path(uri, path));
        let scopes = repository::needed_scopes(request.method(), uri.path(), uri.query(), covers);
        let root = with_path(uri, repository::api_root(uri.path()));
        let key = format!("{root} {}", scopes.join(" "));
        Self { root, scopes, key }
    }

    /// Gets the token with a generation of the registry's credential.
    ///
    /// # Errors
    /// [`NoScopedToken`]; the reason is logged.
    pub(crate) async fn get(
        &self,
        worker: usize,
        registry: &RegistryRoute,
        generation: &Generation,
    ) -> Result<Arc<ScopedToken>, NoScopedToken> {
        let fetch = async {
            let flow = registry.token_flow.as_ref().ok_or(NoScopedToken::Failed)?;
            let credential = (&*generation.header, &generation.value.secret);
            let fetched = flow.fetch((&registry.upstream, worker), credential, &self.root, &self.scopes);
            fetched.await.map_err(|NoToken { kind, message }| {
                tracing::warn!(registry = %registry.name, scopes = ?self.scopes, reason = message, "got no short token");
                kind
            })
        };
        generation.tokens.get(&self.key, fetch).await
    }
}

/// The URL of another path on the same host.
fn with_path(uri: &Uri, path: &str) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).unwrap_or_default()
}

/// Sends a request with the short token that it needs. A token that the registry does not accept is replaced once, for a
/// request that is safe to repeat.
///
/// # Errors
/// [`ProxyError::TokenRejected`] if the token service rejects the credential, [`ProxyError::AccessDenied`] if the token does
/// not open the path, [`ProxyError::TokenService`] if there is no token.
pub(super) async fn send(
    worker: &Worker,
    (client, operation): (&Client, Operation),
    registry: &Arc<RegistryRoute>,
    lease: Lease,
    request: Request<RequestBody>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    let needed = NeededToken::of(registry, &request);
    let copy = rewrite::repeatable_copy(&request);
    let carried = carry(worker, (client, operation), registry, lease, needed.clone()).await?;
    let (response, token) = send_once(worker, client, registry, carried, request, permit, recording).await?;
    if response.status() != StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    drop(response);
    forget(registry, &needed, &token);
    let denied = || ProxyError::AccessDenied(registry.name.clone());
    let copy = copy.ok_or_else(denied)?;
    let lease = send::lease(registry).await?;
    let carried = carry(worker, (client, operation), registry, lease, needed.clone()).await?;
    // Again: a `deny` or `revoke` may have come meanwhile.
    client.authorize(registry, operation)?;
    let permit = client.begin_request()?;
    let (response, token) = send_once(worker, client, registry, carried, copy, permit, recording).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        forget(registry, &needed, &token);
        return Err(denied());
    }
    Ok(response)
}

async fn send_once(
    worker: &Worker,
    client: &Client,
    registry: &Arc<RegistryRoute>,
    carried: CarriedCredential<'_>,
    request: Request<RequestBody>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<(Response<ResponseBody>, Option<Arc<ScopedToken>>), ProxyError> {
    let token = carried.token();
    let sent = send::send_carried(worker, client, registry, carried, request, permit, recording).await?;
    let (mut response, _) = sent;
    // A client that saw a challenge would ask the token service itself.
    response.headers_mut().remove(WWW_AUTHENTICATE);
    Ok((response, token))
}

fn forget(registry: &RegistryRoute, needed: &NeededToken, token: &Option<Arc<ScopedToken>>) {
    if let Some(flow) = &registry.token_flow {
        flow.forget_name(&needed.root);
    }
    if let (Some(generation), Some(token)) = (registry.credential.generation(), token) {
        generation.tokens.forget(&needed.key, token);
    }
}

/// Gets the token before the request takes a connection. A credential that the token service rejects is refreshed once, if
/// it comes from a source.
async fn carry<'a>(
    worker: &Worker,
    (client, operation): (&Client, Operation),
    registry: &'a Arc<RegistryRoute>,
    mut lease: Lease,
    needed: NeededToken,
) -> Result<CarriedCredential<'a>, ProxyError> {
    let mut problem = needed.get(worker.index, registry, lease.generation()).await;
    let credential = &registry.credential.shared;
    if problem
        .as_ref()
        .is_err_and(|problem| *problem == NoScopedToken::Rejected)
        && credential.can_refresh()
    {
        let number = lease.generation().value.number;
        drop(lease);
        credential.refresh(number, RefreshReason::Rejected).await;
        lease = send::lease(registry).await?;
        client.authorize(registry, operation)?;
        problem = needed.get(worker.index, registry, lease.generation()).await;
    }
    match problem {
        Ok(token) => Ok(CarriedCredential::with_token(
            registry,
            lease,
            (token, needed),
            worker.index,
        )),
        Err(NoScopedToken::Rejected) => {
            let denied = Denied::new(Denial::Clear, &lease);
            Err(denial_review::rejection(worker, client, registry, &denied).await)
        }
        Err(other) => Err(no_token(registry, other)),
    }
}

/// Error of a request that gets no token.
pub(super) fn no_token(registry: &RegistryRoute, problem: NoScopedToken) -> ProxyError {
    let name = registry.name.clone();
    match problem {
        NoScopedToken::Rejected => ProxyError::TokenRejected(name),
        NoScopedToken::Denied => ProxyError::AccessDenied(name),
        NoScopedToken::Failed => ProxyError::TokenService(name),
    }
}

/// Life of a token whose answer names none, in seconds.
const USUAL_LIFE: u64 = 60;
/// Longest life that is believed, in seconds.
const LONGEST_LIFE: u64 = 24 * 3600;
/// A registry has one API on each of its hosts.
const MAX_NAMES: usize = 16;
const CHALLENGE_TIMEOUT: Duration = Duration::from_secs(15);
