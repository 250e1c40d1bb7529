//! Destination of a pool's connections, and the form that its requests take on them.

use std::fmt;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme as UriScheme, Uri};
use http::{HeaderValue, Method, Request, Response};
use http_body::Body as _;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};

use crate::proxy::exchange::body::RequestBody;
use crate::proxy::upstream::connector::Connector;
use crate::proxy::upstream::proxy_rules::CorporateProxy;

/// URL scheme, host and port that a pool's connections lead to.
pub(super) struct Destination {
    pub(super) uri: Uri,
    scheme: UriScheme,
    authority: Authority,
    host: HeaderValue,
    /// Corporate proxy that the connections lead to instead: it takes plain requests in absolute form.
    corporate_proxy: Option<Arc<CorporateProxy>>,
}

impl Destination {
    pub(super) fn new(scheme: UriScheme, authority: Authority) -> Self {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme.clone());
        parts.authority = Some(authority.clone());
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        Self {
            // A scheme, an authority and a path make a URI, and an authority's characters are valid in a header.
            uri: Uri::from_parts(parts).unwrap_or_default(),
            host: HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static("")),
            scheme,
            authority,
            corporate_proxy: None,
        }
    }

    /// The destination by the way that the connector takes: plain requests may go to a corporate proxy.
    pub(super) fn through(self, connector: &Connector) -> Self {
        Self {
            corporate_proxy: connector.forwarding_proxy(&self.scheme, &self.authority),
            ..self
        }
    }

    pub(super) fn corporate_proxy(&self) -> Option<&CorporateProxy> {
        self.corporate_proxy.as_deref()
    }

    /// Host and port.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn is(&self, scheme: &UriScheme, authority: &Authority) -> bool {
        self.scheme == *scheme && self.authority == *authority
    }

    /// Turns a request into the form that HTTP/1.1 wants: for an origin a path and a Host (RFC 9112, section 3.2.1), for a
    /// corporate proxy the absolute form, a Host and the proxy's login.
    fn set_h1_form(&self, request: &mut Request<RequestBody>) {
        if let Some(proxy) = &self.corporate_proxy {
            // A connection to the proxy exists, so its login is known.
            if let Ok(login) = proxy.login()
                && let Some(authorization) = &login.authorization
            {
                (request.headers_mut()).insert(PROXY_AUTHORIZATION, authorization.clone());
            }
        } else if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = path.into();
        }
        request.headers_mut().insert(HOST, self.host.clone());
        // hyper drops the body of a GET or HEAD that has no length, unless the request itself says that one follows.
        let may_lose_body = matches!(*request.method(), Method::GET | Method::HEAD);
        if may_lose_body && !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
    }

    /// Turns a request that was not sent back into absolute form.
    pub(super) fn set_absolute_form(&self, request: &mut Request<RequestBody>) {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(TRANSFER_ENCODING);
        request.headers_mut().remove(PROXY_AUTHORIZATION);
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Handle that sends requests on a connection.
#[derive(Debug)]
pub(crate) enum RequestSender {
    /// One request at a time.
    H1(http1::SendRequest<RequestBody>),
    /// Many requests at a time.
    H2(http2::SendRequest<RequestBody>),
}

impl RequestSender {
    /// Sends a request in absolute form.
    ///
    /// # Errors
    /// The error holds the request if none of its bytes were sent.
    pub(super) async fn send(
        &mut self,
        destination: &Destination,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::H1(sender) => {
                destination.set_h1_form(&mut request);
                sender.try_send_request(request).await
            }
            Self::H2(sender) => {
                // See `expectation`.
                request.headers_mut().remove(EXPECT);
                if let Either::Left(body) = request.body_mut() {
                    body.release();
                }
                sender.try_send_request(request).await
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::H1(sender) => sender.is_closed(),
            Self::H2(sender) => sender.is_closed(),
        }
    }

    /// The sender of an HTTP/1.1 connection, to be returned to the pool after its request.
    pub(super) fn into_h1(self) -> Option<http1::SendRequest<RequestBody>> {
        match self {
            Self::H1(sender) => Some(sender),
            Self::H2(_) => None,
        }
    }
}
