//! Routing: the decision for a CONNECT, and the registry that a request path belongs to.
//!
//! [`Routes`] is immutable. When a registry is added, changed or removed, the control side builds new routes and swaps them
//! in whole, so each request sees one consistent state. A rotation does not touch them: a new token goes into the
//! registry's credential, which its route shares.
//!
//! Everything here is pure. A CONNECT that is intercepted continues in [`intercept`](crate::proxy::downstream::intercept).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};

use http::uri::{Authority, Scheme as UriScheme};
use regauth_shared::RegistryName;
use time::OffsetDateTime;

use crate::credential::RegistryCredential;
use crate::host::Origin;
use crate::policy::path;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::opening::Opening;
use crate::registry::{Registry, Scope, Writes};

/// Decision for a CONNECT.
#[derive(Debug)]
pub(crate) enum Decision {
    /// No registry is on the host: relay bytes without reading them.
    Tunnel,
    /// A registry is on the host: terminate TLS.
    Intercept(Arc<InterceptedHost>, Arc<rustls::ServerConfig>),
    /// Answer with an error.
    Refuse(ProxyError),
}

/// All intercepted hosts, by host and port.
#[derive(Debug, Default)]
pub struct Routes {
    hosts: HashMap<Origin, Arc<InterceptedHost>>,
}

impl Routes {
    /// Groups the scopes of all registries by host. `tls` gives the TLS settings with which we answer as a host.
    pub fn new(registries: &[Arc<RegistryRoute>], tls: impl Fn(&Origin) -> Option<Arc<rustls::ServerConfig>>) -> Self {
        let mut hosts: HashMap<Origin, InterceptedHost> = HashMap::new();
        for registry in registries {
            for scope in &registry.registry.scopes {
                let host = hosts.entry(scope.origin.clone()).or_insert_with(|| InterceptedHost {
                    authority: authority_of(&scope.origin, scope.plain),
                    origin: scope.origin.clone(),
                    plain: scope.plain,
                    tls: if scope.plain { None } else { tls(&scope.origin) },
                    upstream: registry.upstream.anonymous(),
                    scopes: Vec::new(),
                });
                host.scopes.push((scope.clone(), Arc::clone(registry)));
            }
        }
        for host in hosts.values_mut() {
            let others: Vec<_> = host
                .registries()
                .map(|registry| Arc::clone(&registry.upstream))
                .collect();
            if let Some(first) = others.first() {
                host.upstream = first.anonymous_among(&others);
            }
            host.scopes
                .sort_by_key(|(scope, _)| std::cmp::Reverse(scope.path().len()));
        }
        Self {
            hosts: hosts
                .into_iter()
                .map(|(origin, host)| (origin, Arc::new(host)))
                .collect(),
        }
    }

    /// Decides what happens to a CONNECT to `target`.
    pub(crate) fn decide(&self, target: &Origin) -> Decision {
        match self.host(target) {
            None => Decision::Tunnel,
            Some(host) if host.plain => Decision::Tunnel,
            Some(host) => match &host.tls {
                Some(tls) => Decision::Intercept(Arc::clone(host), Arc::clone(tls)),
                // Without the authority's key we cannot answer inside TLS. A tunnel would hide why requests fail.
                None => Decision::Refuse(ProxyError::StoreLocked),
            },
        }
    }

    /// The intercepted host at `origin`, if a registry has a scope there.
    pub fn host(&self, origin: &Origin) -> Option<&Arc<InterceptedHost>> {
        self.hosts.get(origin)
    }
}

/// Host and port that a scope of at least one registry is on.
#[derive(Debug)]
pub struct InterceptedHost {
    /// Host and port.
    pub origin: Origin,
    /// Host and port as upstream URLs spell them.
    pub authority: Authority,
    /// Plain HTTP, for a registry on loopback: clients send its requests in absolute form.
    pub plain: bool,
    /// TLS settings with which we answer as this host; `None` while the key of its authority is not available.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Upstream for requests outside every scope. It carries no credential, also no client certificate.
    pub upstream: Arc<Upstream>,
    /// Longest path first.
    scopes: Vec<(Scope, Arc<RegistryRoute>)>,
}

impl InterceptedHost {
    /// The registry whose scope matches a request path; the longest scope wins.
    ///
    /// # Errors
    /// [`ProxyError::BadRequest`] when the path has another reading that belongs to another registry.
    pub fn match_scope(&self, raw_path: &str) -> Result<Option<&Arc<RegistryRoute>>, ProxyError> {
        let canonical = path::canonical(raw_path).ok_or(ProxyError::BadRequest)?;
        let (scope, registry) = match self.longest_scope(raw_path) {
            Some((scope, registry)) => (Some(scope), Some(registry)),
            None => (None, None),
        };
        if self.longest_scope(&canonical).map(|(scope, _)| scope) != scope {
            return Err(ProxyError::BadRequest);
        }
        Ok(registry)
    }

    /// Opens a connection from a worker to the registry that was used last, unless one is open. The opening ends with the
    /// returned value, unless a request waits for it too.
    pub(crate) fn warm(&self, worker: usize) -> Option<Arc<Opening>> {
        let registry = self.registries().max_by_key(|registry| registry.usage.last_used())?;
        registry.upstream.warm(worker, &UriScheme::HTTPS, &self.authority)
    }

    /// The registries with a scope on this host.
    pub fn registries(&self) -> impl Iterator<Item = &Arc<RegistryRoute>> {
        self.scopes.iter().map(|(_, registry)| registry)
    }

    /// Two registries may name one host and port with different URL schemes. Only scopes of this host's own URL scheme
    /// match, so that a credential for https is never sent in the clear.
    fn longest_scope(&self, path: &str) -> Option<(&Scope, &Arc<RegistryRoute>)> {
        self.scopes
            .iter()
            .find(|(scope, _)| scope.plain == self.plain && scope.covers_path(path))
            .map(|(scope, registry)| (scope, registry))
    }
}

/// Registry with all that its requests need.
#[derive(Debug)]
pub struct RegistryRoute {
    /// Name.
    pub name: RegistryName,
    /// Configuration.
    pub registry: Registry,
    /// Credential, in the form that this registry's requests carry.
    pub(crate) credential: Arc<RegistryCredential>,
    /// Verified, pooled connections to the registry.
    pub upstream: Arc<Upstream>,
    /// Problem with the registry's certificates, if there is one.
    pub trouble: Option<String>,
    /// Usage counters.
    pub usage: Arc<Usage>,
}

impl RegistryRoute {
    /// Returns true if clients without a grant may write now.
    pub fn writes_are_open(&self) -> bool {
        self.registry.writes == Writes::Allow || self.usage.writes_open_until().is_some()
    }
}

/// Usage counters of a registry, and its window for writes. Both outlive a reload.
#[derive(Debug, Default)]
pub struct Usage {
    requests: AtomicU64,
    last_used: AtomicI64,
    last_status: AtomicU16,
    writes_open_until: AtomicI64,
}

impl Usage {
    /// Records a request that carried the credential, and the registry's status code.
    pub fn note(&self, status: u16) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.last_used
            .store(OffsetDateTime::now_utc().unix_timestamp(), Ordering::Relaxed);
        self.last_status.store(status, Ordering::Relaxed);
    }

    /// Requests that carried the credential.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Time of the last request that carried the credential.
    pub fn last_used(&self) -> Option<OffsetDateTime> {
        from_unix_timestamp(self.last_used.load(Ordering::Relaxed))
    }

    /// Status code of the registry's last response.
    pub fn last_status(&self) -> Option<u16> {
        Some(self.last_status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// Opens writes until the given time; `None` closes them at once.
    pub fn open_writes(&self, until: Option<OffsetDateTime>) {
        self.writes_open_until
            .store(until.map_or(0, OffsetDateTime::unix_timestamp), Ordering::Relaxed);
    }

    /// End of the window for writes, if one is open.
    pub fn writes_open_until(&self) -> Option<OffsetDateTime> {
        from_unix_timestamp(self.writes_open_until.load(Ordering::Relaxed))
            .filter(|until| *until > OffsetDateTime::now_utc())
    }
}

/// Zero stands for no time.
fn from_unix_timestamp(seconds: i64) -> Option<OffsetDateTime> {
    Some(seconds)
        .filter(|seconds| *seconds != 0)
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
}

/// Spells an authority without the scheme's default port: some servers compare Host byte by byte.
fn authority_of(origin: &Origin, plain: bool) -> Authority {
    let default_port = if plain { 80 } else { 443 };
    let text = if origin.port == default_port {
        origin.host.to_string()
    } else {
        origin.to_string()
    };
    // A Host consists of letters, digits, dots, hyphens, colons and brackets, so it is always an authority.
    Authority::try_from(text).unwrap_or(Authority::from_static("invalid"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Config, UpstreamSettings};
    use crate::credential::Credential;
    use crate::proxy::upstream::Trust;
    use crate::proxy::upstream::dial::Dialer;

    /// Routes of a configuration's registries, without authorities.
    pub(in crate::proxy) fn routes(text: &str) -> Routes {
        let config = Config::read(text).unwrap();
        let dialer = Dialer::new(&UpstreamSettings::default(), ([127, 0, 0, 1], 1).into());
        let route = |(name, registry): (RegistryName, Registry)| {
            let trust = Trust::new(&[], None, None).unwrap();
            Arc::new(RegistryRoute {
                name,
                credential: Credential::fixed().attach(registry.scheme.clone()),
                registry,
                upstream: Arc::new(Upstream::new(&dialer, trust, 1).unwrap()),
                trouble: None,
                usage: Arc::default(),
            })
        };
        let registries: Vec<_> = config.registries.into_iter().map(route).collect();
        Routes::new(&registries, |_| None)
    }

    const CONFIGURED: &str = r#"
        registries.corp.scopes = ["https://corp.example/a/", "https://[::1]:8443/"]
        registries.local.scopes = ["http://127.0.0.1:8080/"]
    "#;

    fn is_intercepted(target: &Origin) -> bool {
        !matches!(routes(CONFIGURED).decide(target), Decision::Tunnel)
    }

    #[test]
    fn a_configured_host_is_intercepted_in_every_spelling() {
        for (target, intercepted) in [
            ("corp.example:443", true),
            ("CORP.example.:443", true),
            ("[0::1]:8443", true),
            ("corp.example:8443", false),
            ("www.corp.example:443", false),
            ("[::1]:443", false),
            ("127.0.0.1:8080", false),
        ] {
            let origin = Origin::parse(target, None).unwrap();
            assert_eq!(is_intercepted(&origin), intercepted, "{target}");
        }
    }

    const NESTED: &str = r#"
        registries.all.scopes = ["https://corp.example/"]
        registries.cargo.scopes = ["https://corp.example/cargo/", "https://corp.example:8443/"]
        registries.inner.scopes = ["https://corp.example/cargo/inner/"]
    "#;

    fn matched(routes: &Routes, path: &str) -> Result<String, ProxyError> {
        let host = routes.host(&Origin::parse("corp.example:443", None).unwrap()).unwrap();
        let registry = host.match_scope(path)?;
        Ok(registry.map_or_else(String::new, |registry| registry.name.to_string()))
    }

    #[test]
    fn the_longest_scope_wins() {
        let routes = routes(NESTED);
        for (path, name) in [
            ("/", "all"),
            ("/cargo-evil/x", "all"),
            ("/cargo", "cargo"),
            ("/cargo/x%20y", "cargo"),
            ("/cargo/innermost", "cargo"),
            ("/cargo/inner/x", "inner"),
        ] {
            assert_eq!(matched(&routes, path).as_deref(), Ok(name), "{path}");
        }
        for path in [
            "/cargo/inne%72/x",
            "/cargo//inner/x",
            "/x/../cargo/y",
            "/cargo/inner%2fx",
            "/cargo;x/inner/",
        ] {
            assert_eq!(matched(&routes, path), Err(ProxyError::BadRequest), "{path}");
        }
    }

    #[test]
    fn a_credential_for_https_is_never_sent_in_the_clear() {
        let routes = routes(
            r#"
                registries.clear.scopes = ["http://localhost:8080/"]
                registries.secret.scopes = ["https://localhost:8080/secret/"]
            "#,
        );
        let host = routes.host(&Origin::parse("localhost:8080", None).unwrap()).unwrap();
        let registry = host.match_scope("/secret/x").unwrap().unwrap();
        assert_eq!((host.plain, registry.name.as_str()), (true, "clear"));
    }

    proptest::proptest! {
        #[test]
        fn no_other_host_is_intercepted(host in "([a-z]{0,3}\\.)?corp\\.example[a-z.]{0,2}|\\[::[0-2]\\]|[a-z]{1,5}", port in 1_u16..9000) {
            if let Ok(target) = Origin::parse(&format!("{host}:{port}"), None) {
                let text = target.to_string();
                let configured = ["corp.example:443", "[::1]:8443"].contains(&text.as_str());
                proptest::prop_assert_eq!(is_intercepted(&target), configured, "{}", text);
            }
        }

        /// A path matches by its literal text or not at all: no other reading of it selects a registry.
        #[test]
        fn a_path_matches_by_its_literal_text(
            path in "(/cargo|/inner|/[a-c]|//|/\\.|/\\.\\.|;|%2f|%69|%2e|\\\\|-){0,8}"
        ) {
            let routes = routes(NESTED);
            if let Ok(name) = matched(&routes, &path) {
                let begins = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
                let expected = match () {
                    () if begins("/cargo/inner") => "inner",
                    () if begins("/cargo") => "cargo",
                    () => "all",
                };
                proptest::prop_assert_eq!(name, expected);
            }
        }
    }
}
