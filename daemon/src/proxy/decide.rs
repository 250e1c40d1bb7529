//! Tunnel, intercept or refuse: a pure decision from the target and the routes.

use std::sync::Arc;

use crate::host::Origin;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::routes::{InterceptedHost, Routes};

/// What happens to a CONNECT.
#[derive(Debug)]
pub(crate) enum Route {
    /// A host nobody configured: bytes both ways, never read.
    Tunnel,
    /// A registry's host: TLS ends here.
    Intercept(Arc<InterceptedHost>, Arc<rustls::ServerConfig>),
    /// An answer of our own.
    Refuse(ProxyError),
}

/// The route of a CONNECT to `target`.
pub(crate) fn decide(routes: &Routes, target: &Origin) -> Route {
    match routes.site(target) {
        None => Route::Tunnel,
        Some(site) if site.plain => Route::Tunnel,
        Some(site) => match &site.tls {
            Some(tls) => Route::Intercept(Arc::clone(site), Arc::clone(tls)),
            // Without the authority's key there is no TLS to answer in, and a tunnel would hide why requests fail.
            None => Route::Refuse(ProxyError::StoreLocked),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::routes::tests::routes;

    const CONFIGURED: &str = r#"
        registries.corp.scopes = ["https://corp.example/a/", "https://[::1]:8443/"]
        registries.local.scopes = ["http://127.0.0.1:8080/"]
    "#;

    fn is_ours(target: &Origin) -> bool {
        !matches!(decide(&routes(CONFIGURED), target), Route::Tunnel)
    }

    #[test]
    fn a_configured_host_is_never_a_tunnel_however_it_is_written() {
        for (target, ours) in [
            ("corp.example:443", true),
            ("CORP.example.:443", true),
            ("[0::1]:8443", true),
            ("corp.example:8443", false),
            ("www.corp.example:443", false),
            ("[::1]:443", false),
            ("127.0.0.1:8080", false),
        ] {
            assert_eq!(is_ours(&Origin::parse(target, None).unwrap()), ours, "{target}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_else_is_intercepted(host in "([a-z]{0,3}\\.)?corp\\.example[a-z.]{0,2}|\\[::[0-2]\\]|[a-z]{1,5}", port in 1_u16..9000) {
            if let Ok(target) = Origin::parse(&format!("{host}:{port}"), None) {
                let form = target.to_string();
                let configured = ["corp.example:443", "[::1]:8443"].contains(&form.as_str());
                proptest::prop_assert_eq!(is_ours(&target), configured, "{}", form);
            }
        }
    }
}
