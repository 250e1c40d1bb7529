//! Tunnel, intercept or refuse: a pure decision from the target and the routes.

use std::sync::Arc;

use crate::host::Origin;
use crate::proxy::refuse::Refusal;
use crate::proxy::routes::{Routes, Site};

/// What happens to a CONNECT.
#[derive(Debug)]
pub enum Route {
    /// A host nobody configured: bytes both ways, never read.
    Tunnel,
    /// A registry's host: TLS ends here.
    Intercept(Arc<Site>, Arc<rustls::ServerConfig>),
    /// An answer of our own.
    Refuse(Refusal),
}

/// The route of a CONNECT to `target`.
pub fn decide(routes: &Routes, target: &Origin) -> Route {
    match routes.site(target) {
        None => Route::Tunnel,
        Some(site) if site.plain => Route::Tunnel,
        Some(site) => match &site.tls {
            Some(tls) => Route::Intercept(Arc::clone(site), Arc::clone(tls)),
            // Without the authority's key there is no TLS to answer in, and a tunnel would hide why requests fail.
            None => Route::Refuse(Refusal::StoreLocked),
        },
    }
}
