//! One decrypted request, from its checks to its response.
//!
//! [`serve`] checks the SNI. [`handle`] does the rest: framing, authority, method, scope, rewrite, operation, authorization,
//! a lease of the credential. [`send`] takes it from there. Each check that needs no credential comes before the lease.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Scheme as UriScheme;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::Either;
use hyper::body::Incoming;

use crate::credential::Lease;
use crate::credential::header::replace_header;
use crate::host::Origin;
use crate::policy::header_name::is_alias_of;
use crate::policy::{Classification, Operation, RequestHead, path};
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::downstream::limits::RequestPermit;
use crate::proxy::exchange::body::{ClientBody, MinRateBody, RequestBody};
use crate::proxy::exchange::denial_review::{self};
use crate::proxy::exchange::error::{BodyFormat, ProxyError};
use crate::proxy::exchange::recording::{RecordedBody, Recording};
use crate::proxy::exchange::request_problem::RequestProblem;
use crate::proxy::exchange::send::{self, ResponseBody};
use crate::proxy::exchange::{answer, failure_log, inspect, rewrite};
use crate::proxy::read_ahead::{Reader, WriteGuard};
use crate::proxy::routes::{InterceptedHost, RegistryRoute};
use crate::proxy::state::Worker;
use crate::registry::{Kind, Source};

/// Client connection whose TLS regauthd has terminated.
#[derive(Debug)]
pub(crate) struct InterceptedConnection {
    pub(crate) worker: Worker,
    /// Client that sent the CONNECT.
    pub(crate) client: Client,
    /// Host and port of the CONNECT: the only identity (invariant 1).
    pub(crate) host: Arc<InterceptedHost>,
    /// True if the SNI named that host or was absent.
    pub(crate) sni_matches: bool,
}

/// Serves one request of an intercepted connection; an error becomes a response.
pub(crate) async fn serve(
    connection: Arc<InterceptedConnection>,
    request: Request<Incoming>,
) -> Result<Response<RecordedBody>, Infallible> {
    let InterceptedConnection {
        worker, client, host, ..
    } = &*connection;
    let mut recording = Recording::begin(worker, client.caller());
    recording.note_client(client);
    recording.note_head(&request);
    let format = BodyFormat::of(request.uri(), request.headers());
    let (head, body) = request.into_parts();
    let body = ClientBody::new(body, head.version, &worker.state.tasks);
    let request = Request::from_parts(head, body);
    let result = if connection.sni_matches {
        handle(worker, client, host, request, &mut recording).await
    } else {
        recording.note_host(&host.authority);
        Err(ProxyError::AuthorityMismatch)
    };
    Ok(recording.finish(result, format).await)
}

/// Checks a request to `host`, and sends it with or without the credential of a registry.
pub(crate) async fn handle(
    worker: &Worker,
    client: &Client,
    host: &InterceptedHost,
    request: Request<ClientBody>,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    worker.state.counters.count_request();
    recording.note_host(&host.authority);
    let (mut parts, body) = request.into_parts();
    rewrite::framing(&mut parts.headers).map_err(|_| RequestProblem::Framing)?;
    check_authority(&parts, host)?;
    check_method(&parts.method)?;
    let permit = client.begin_request()?;
    let body = Either::Left(MinRateBody::request(parts.version, body));
    let current = current_host(worker, host);
    let matched = current.as_ref().map(|current| current.match_scope(parts.uri.path()));
    let registry = matched.transpose().map_err(RequestProblem::Path)?.flatten();
    let scheme = if host.plain { UriScheme::HTTP } else { UriScheme::HTTPS };
    // Before the policy checks, so that they see what is sent: a client can drop headers by naming them in Connection.
    rewrite::request(&mut parts, &scheme, &host.authority);
    let action_authorization = parts.headers.remove(answer::ACTION_AUTHORIZATION);
    let Some(registry) = registry else {
        client.authorize_passthrough(current.as_deref())?;
        let request = Request::from_parts(parts, body);
        let response = send::pass_through(worker, host, current.as_deref(), request, permit, recording).await;
        return response.inspect_err(|error| worker.state.failures.host_failed(&host.origin, error));
    };
    recording.note_registry(registry);
    if !registry.registry.programs.is_empty() {
        // Boxed, since it is rare.
        Box::pin(client.authorize_program(&worker.state, registry)).await?;
    }
    check_path_overrides(&parts)?;
    let (operation, body) = match classify(registry, &parts, &body)? {
        Classification::Known(operation) => (operation, body),
        // Boxed, since it is rare.
        Classification::ByBody(format) => Box::pin(inspect::classify(client, registry, format, body)).await?,
    };
    recording.note_operation(operation);
    authorize(worker, client, registry, operation)?;
    let failed = |error: &ProxyError| failure_log::registry_failed(registry, &host.origin, error);
    let may_be_lfs = matches!(registry.registry.kind, Kind::Git | Kind::Generic);
    if let Some(sealed) = action_authorization.filter(|_| may_be_lfs) {
        let seal = host.action_seal.as_deref().unwrap_or(&worker.state.action_seal);
        let token = seal.open(&registry.name, &host.origin, &sealed);
        let token = token.ok_or(RequestProblem::ActionToken)?;
        replace_header(&mut parts.headers, &registry.registry.scheme.header(), token);
        let request = Request::from_parts(parts, body);
        let response = send::send_without_credential(worker, registry, request, permit, recording).await;
        return response.inspect_err(failed);
    }
    let lease = lease_or_login(client, registry, &parts).await.inspect_err(failed)?;
    // Again: writes may have been closed while the request waited for the lease.
    client.authorize(registry, operation)?;
    let request = Request::from_parts(parts, body);
    let (client, registry) = ((client, operation), (registry, host));
    let response = send_or_answer(worker, client, registry, lease, request, permit, recording).await;
    response.inspect_err(failed)
}

/// Sends an authorized request, or answers it with an index entry that was asked for ahead.
async fn send_or_answer(
    worker: &Worker,
    (client, operation): (&Client, Operation),
    (registry, host): (&Arc<RegistryRoute>, &InterceptedHost),
    lease: Lease,
    request: Request<RequestBody>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    // A GET can be a write, by a header that overrides its method.
    if operation == Operation::Read
        && let Some(reader) = Reader::of(worker, client, registry, host, &request)
    {
        // Boxed, since most requests are not for an index.
        return Box::pin(reader.serve(lease, request, permit, recording)).await;
    }
    let _write = WriteGuard::begin(registry, operation);
    send::send_with_credential(worker, (client, operation), registry, lease, request, permit, recording).await
}

/// Authorizes a request, as far as the audit record can be written if it must.
fn authorize(
    worker: &Worker,
    client: &Client,
    registry: &RegistryRoute,
    operation: Operation,
) -> Result<(), ProxyError> {
    client.authorize(registry, operation)?;
    // Before anything is sent: a registry must not carry out what cannot be recorded.
    Ok(worker.state.audit.check_writable()?)
}

/// The host in the current routes, not in those of the CONNECT: since then, the registry may have been removed or changed to
/// or from plain HTTP. Then the request gets no credential.
fn current_host(worker: &Worker, host: &InterceptedHost) -> Option<Arc<InterceptedHost>> {
    let routes = worker.state.routes.load();
    let current = routes.host(&host.origin).filter(|current| current.plain == host.plain);
    current.map(Arc::clone)
}

/// Checks invariant 1: Host, `:authority` and the absolute form name the CONNECT's host and port, or are absent.
fn check_authority(parts: &Parts, host: &InterceptedHost) -> Result<(), ProxyError> {
    let expected = if host.plain {
        &UriScheme::HTTP
    } else {
        &UriScheme::HTTPS
    };
    if parts.uri.scheme().is_some_and(|scheme| scheme != expected) {
        return Err(ProxyError::AuthorityMismatch);
    }
    let mut is_named = false;
    if let Some(authority) = parts.uri.authority() {
        check_origin(authority.as_str(), host)?;
        is_named = true;
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    if let Some(name) = hosts.next() {
        check_origin(name.to_str().map_err(|_| RequestProblem::Host)?, host)?;
        is_named = true;
    }
    // RFC 9112, section 3.2: a second Host is invalid, and so is HTTP/1.1 without one. HTTP/1.0 may omit it.
    if hosts.next().is_some() || (!is_named && parts.version != Version::HTTP_10) {
        return Err(RequestProblem::Host.into());
    }
    // Without `:authority`, hyper does not tell the `:scheme`, which may be another.
    if parts.version == Version::HTTP_2 && parts.uri.authority().is_none() {
        return Err(RequestProblem::Host.into());
    }
    Ok(())
}

fn check_origin(text: &str, host: &InterceptedHost) -> Result<(), ProxyError> {
    if text == host.authority.as_str() {
        return Ok(());
    }
    // git2-curl omits the port in Host: then it is the CONNECT's.
    let named = Origin::parse(text, Some(host.origin.port)).map_err(|_| RequestProblem::Host)?;
    if named == host.origin {
        Ok(())
    } else {
        Err(ProxyError::AuthorityMismatch)
    }
}

/// Refuses methods that echo the request to its sender, or that open a channel we cannot inspect.
fn check_method(method: &Method) -> Result<(), ProxyError> {
    let refused = ["TRACE", "TRACK", "CONNECT"];
    if refused.iter().any(|name| method.as_str().eq_ignore_ascii_case(name)) {
        return Err(ProxyError::MethodRefused);
    }
    Ok(())
}

/// Classifies a request as read or write. It is a write if any reading of its path is one, or if a header overrides its
/// method: some frameworks obey that header.
fn classify(registry: &RegistryRoute, parts: &Parts, body: &RequestBody) -> Result<Classification, ProxyError> {
    const WRITE: Classification = Classification::Known(Operation::Write);
    if parts.headers.keys().any(|name| is_among(&METHOD_OVERRIDES, name)) {
        return Ok(WRITE);
    }
    let raw = parts.uri.path();
    let readings = path::readings(raw).map_err(RequestProblem::Path)?;
    let mut types = parts.headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    // Servers disagree on which of two counts, so two count as none.
    let content_type = types.next().filter(|_| types.next().is_none());
    let of = |path: &str| {
        let head = RequestHead {
            method: &parts.method,
            path,
            query: parts.uri.query(),
            content_type,
            has_body: !body.is_end_stream(),
        };
        Classification::of(registry.registry.kind, &head)
    };
    let classification = of(raw);
    // A compressed body is not looked into.
    let is_unreadable =
        matches!(classification, Classification::ByBody(_)) && parts.headers.contains_key(CONTENT_ENCODING);
    let mut spellings = std::iter::once(readings.literal()).chain(readings.lenient());
    if is_unreadable || spellings.any(|path| of(path) != classification) {
        return Ok(WRITE);
    }
    Ok(classification)
}

/// Refuses headers that override the path: some frameworks obey them, and the scope matched another path.
fn check_path_overrides(parts: &Parts) -> Result<(), ProxyError> {
    if parts.headers.keys().any(|name| is_among(&PATH_OVERRIDES, name)) {
        return Err(RequestProblem::PathOverride.into());
    }
    Ok(())
}

/// Returns true if a header has one of these names. `_` equals `-`, as for servers that pass headers on in environment variables
/// (RFC 3875, section 4.1.18).
fn is_among(names: &[&str], name: &HeaderName) -> bool {
    names.iter().any(|known| is_alias_of(name.as_str(), known))
}

/// A lease for a client's request. Tells a cargo that a token is missing as registries do, if `cargo login` can store one: a
/// cargo that does not know yet that its index needs a token could not log in otherwise, because it reads the index first.
async fn lease_or_login(client: &Client, registry: &RegistryRoute, parts: &Parts) -> Result<Lease, ProxyError> {
    let may_log_in = !client.bears_grant() && registry.registry.source == Source::Store;
    let is_cargo = registry.registry.kind == Kind::Cargo && denial_review::is_cargo(&parts.headers);
    send::lease(registry).await.map_err(|error| match error {
        ProxyError::CredentialUnavailable(name) if is_cargo && may_log_in => ProxyError::LoggedOut(name),
        error => error,
    })
}

const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
const PATH_OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];
