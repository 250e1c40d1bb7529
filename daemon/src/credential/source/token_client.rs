//! HTTP client for token services: the identity providers of CI systems, and exchanges.
//!
//! It opens connections as a registry's upstream does: verified TLS with the system's roots and the registry's `ca-file`,
//! through the corporate proxy, before the connector's deadlines. It follows no redirect, and an answer is limited in
//! size and time. It logs nothing, because both directions carry secrets.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request};
use http_body_util::{BodyExt, Either, Full, Limited};
use regauth_shared::Secret;
use serde_json::Value;

use crate::credential::header::CredentialHeader;
use crate::credential::source::FetchError;
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::service_answer::ServiceAnswer;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::{Trust, Upstream, UpstreamFailure};

/// Client for the token services of one registry.
#[derive(Debug)]
pub(crate) struct TokenClient {
    /// `None` if rustls does not take the roots.
    upstream: Option<Upstream>,
    /// True if it asks no service without TLS.
    needs_tls: bool,
}

impl TokenClient {
    /// Client over the connections of this upstream.
    pub(crate) fn over(upstream: Upstream) -> Self {
        Self {
            upstream: Some(upstream),
            needs_tls: false,
        }
    }

    /// Client that dials with `dialer` and trusts only `trust`, which must have no client certificate: that is a
    /// credential for the registry.
    pub(crate) fn new(dialer: &Dialer, trust: Trust) -> Self {
        Self {
            upstream: Upstream::new(dialer, trust, 1).ok(),
            needs_tls: false,
        }
    }

    /// The client without plain HTTP on loopback if `needs_tls`: every program of the machine can listen there.
    #[must_use]
    pub(crate) fn needing_tls(self, needs_tls: bool) -> Self {
        Self { needs_tls, ..self }
    }

    /// Client for Google's metadata server, which it asks without TLS. It reaches nothing else.
    pub(crate) fn for_metadata_server(dialer: &Dialer) -> Self {
        Self::new(&dialer.for_metadata_server(), Trust::system(&[]))
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`FetchError`] if the service gives no answer, redirects, or answers with an error; the message has the service's
    /// own reason without secrets.
    pub(crate) async fn send(&self, request: ServiceRequest) -> Result<ServiceAnswer, FetchError> {
        let ServiceRequest { request, host, secrets } = request;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.answer(request, &host, MAX_ANSWER_BYTES));
        let late = || FetchError::new(format!("{host} gave no answer within {} s", ANSWER_TIMEOUT.as_secs()));
        let answer = answer.await.map_err(|_| late())??;
        answer.check(&secrets)?;
        Ok(answer)
    }

    /// Reads a public document of at most `limit` bytes.
    ///
    /// # Errors
    /// [`FetchError`] if the server gives none, redirects, or answers with an error.
    pub(crate) async fn document(&self, url: &Endpoint, limit: usize) -> Result<Bytes, FetchError> {
        let ServiceRequest { request, host, .. } = ServiceRequest::get(url);
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.answer(request, &host, limit));
        let late = || FetchError::new(format!("{host} gave no answer within {} s", ANSWER_TIMEOUT.as_secs()));
        let answer = answer.await.map_err(|_| late())??;
        answer.check(&[])?;
        Ok(answer.body)
    }

    async fn answer(
        &self,
        request: Request<Full<Bytes>>,
        host: &str,
        limit: usize,
    ) -> Result<ServiceAnswer, FetchError> {
        if self.needs_tls && request.uri().scheme() == Some(&Scheme::HTTP) {
            let message =
                format!("a guarded regauthd does not ask {host} over plain HTTP: every program can listen there");
            return Err(FetchError::new(message).hint("let the service speak TLS, and use https://"));
        }
        let unusable = ProxyError::Upstream(UpstreamFailure::CertificatesUnreadable);
        let sent = match &self.upstream {
            Some(upstream) => upstream.send(0, request.map(Either::Right)).await,
            None => Err(unusable),
        };
        // The connection is in use until the body has been read.
        let (response, _connection) = sent.map_err(|error| no_answer(host, &error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|_| FetchError::new(format!("the answer of {host} was cut, or is too long")))?;
        Ok(ServiceAnswer {
            host: host.to_owned(),
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}

fn no_answer(host: &str, error: &ProxyError) -> FetchError {
    match error {
        ProxyError::Upstream(failure) | ProxyError::Unconnected { failure, .. } => {
            FetchError::new(format!("{host}{} {}", error.addresses(), failure.predicate())).hint(failure.remedy())
        }
        ProxyError::CorporateProxy(error) => {
            FetchError::new(format!("{host} cannot be reached: {error}")).hint(error.advice().trim_end_matches('.'))
        }
        _ => FetchError::new(format!("{host} was not asked: {}", error.code())),
    }
}

/// Request to a token service, and the secrets in it, which are cut out of the service's error messages.
#[derive(Debug)]
pub(crate) struct ServiceRequest {
    request: Request<Full<Bytes>>,
    host: String,
    secrets: Vec<Secret>,
}

impl ServiceRequest {
    /// GET.
    pub(crate) fn get(endpoint: &Endpoint) -> Self {
        Self::new(Method::GET, endpoint, Bytes::new())
    }

    /// POST without a body.
    pub(super) fn post(endpoint: &Endpoint) -> Self {
        Self::new(Method::POST, endpoint, Bytes::new())
    }

    /// POST with a JSON document.
    pub(super) fn post_json(endpoint: &Endpoint, document: &Value) -> Self {
        Self::new(Method::POST, endpoint, document.to_string().into())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// POST with a form.
    pub(super) fn post_form(endpoint: &Endpoint, pairs: &[(&str, &str)]) -> Self {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        Self::new(Method::POST, endpoint, form.into()).header(header::CONTENT_TYPE, form_type)
    }

    fn new(method: Method, endpoint: &Endpoint, body: Bytes) -> Self {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // A parsed URL is a valid URI; an invalid one is refused by the upstream.
        *request.uri_mut() = endpoint.url().as_str().parse().unwrap_or_default();
        let service = Self {
            request,
            host: endpoint.host(),
            secrets: Vec::new(),
        };
        let accept = HeaderValue::from_static("application/json");
        service
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, accept)
    }

    /// Sets a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.request.headers_mut().insert(name, value);
        self
    }

    /// Sets `Authorization: Bearer`.
    pub(super) fn bearer(self, secret: &Secret) -> Self {
        self.secret_header(header::AUTHORIZATION, &format!("Bearer {}", secret.expose()), secret)
    }

    /// Sets `Authorization: Basic`. The caller has percent-encoded both texts if its protocol says so.
    pub(super) fn basic(self, user: &str, password: &str, secret: &Secret) -> Self {
        let login = STANDARD.encode(format!("{user}:{password}"));
        self.secret_header(header::AUTHORIZATION, &format!("Basic {login}"), secret)
    }

    /// Sets the header of a registry's credential.
    pub(crate) fn credential(mut self, header: &CredentialHeader, secret: &Secret) -> Self {
        header.attach(self.request.headers_mut());
        self.hiding(secret)
    }

    /// Sets a header whose value contains a secret.
    pub(super) fn secret_header(self, name: HeaderName, text: &str, secret: &Secret) -> Self {
        // A secret with characters beyond ASCII gives no header, and the service answers 401.
        let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        self.header(name, value).hiding(secret)
    }

    /// Names a secret in the request.
    pub(super) fn hiding(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.clone());
        self
    }
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("regauth/", env!("CARGO_PKG_VERSION")));
/// Time for a whole exchange of one request and its answer. It is shorter than a request's wait for a refresh.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer that is read: tokens with many claims take up to 16 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::proxy::upstream::proxy_rules::ProxyRules;

    #[tokio::test]
    async fn a_client_that_needs_tls_sends_nothing_in_the_clear() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint: Endpoint = format!("http://{}/token", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let dialer = Dialer::new(ProxyRules::direct(), Trust::system(&[])).unwrap();
        let client = |needs_tls| TokenClient::new(&dialer.for_registries(), Trust::system(&[])).needing_tls(needs_tls);
        let refused = client(true).send(ServiceRequest::get(&endpoint)).await.err().unwrap();
        assert!(refused.to_string().contains("over plain HTTP"), "{refused}");
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "a connection");
        listener.set_nonblocking(false).unwrap();
        let service = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 4096]).unwrap();
            connection
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .unwrap();
        });
        client(false).send(ServiceRequest::get(&endpoint)).await.unwrap();
        service.join().unwrap();
    }
}
