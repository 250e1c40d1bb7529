//! What the stages decide by: the sites we intercept, and which registry covers which path on them.
//!
//! A [`Routes`] is never changed: the control side builds another and puts it in place, so a request sees one state.

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
use crate::registry::{Registry, Scope, Writes};

/// A registry in service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: RegistryName,
    /// As configured.
    pub registry: Registry,
    /// Its credential, as its requests carry it.
    pub(crate) credential: Arc<RegistryCredential>,
    /// Its verified, pooled connections.
    pub upstream: Arc<Upstream>,
    /// What is wrong with its certificates.
    pub trouble: Option<String>,
    /// How it is being used.
    pub usage: Arc<Usage>,
}

/// How a registry is being used; outlives a reload.
#[derive(Debug, Default)]
pub struct Usage {
    requests: AtomicU64,
    last_used: AtomicI64,
    last_status: AtomicU16,
    writes_open_until: AtomicI64,
}

impl Usage {
    /// Notes a request that carried the credential, and the registry's answer.
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

    /// When the last one did.
    pub fn last_used(&self) -> Option<OffsetDateTime> {
        moment(self.last_used.load(Ordering::Relaxed))
    }

    /// The registry's last status code.
    pub fn last_status(&self) -> Option<u16> {
        Some(self.last_status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// Opens writes until a moment; `None` closes them at once.
    pub fn open_writes(&self, until: Option<OffsetDateTime>) {
        self.writes_open_until
            .store(until.map_or(0, OffsetDateTime::unix_timestamp), Ordering::Relaxed);
    }

    /// Until when writes are open, if they are.
    pub fn writes_open_until(&self) -> Option<OffsetDateTime> {
        moment(self.writes_open_until.load(Ordering::Relaxed)).filter(|until| *until > OffsetDateTime::now_utc())
    }
}

fn moment(seconds: i64) -> Option<OffsetDateTime> {
    Some(seconds)
        .filter(|seconds| *seconds != 0)
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
}

impl Service {
    /// Whether a write may pass now.
    pub fn writes_are_open(&self) -> bool {
        self.registry.writes == Writes::Allow || self.usage.writes_open_until().is_some()
    }
}

/// A host and port that we intercept, because a scope of some registry is on it.
#[derive(Debug)]
pub struct InterceptedHost {
    /// The host and port.
    pub origin: Origin,
    /// The same, as upstream requests name it.
    pub authority: Authority,
    /// Plain HTTP, for a registry on loopback: its requests come in absolute form.
    pub plain: bool,
    /// How we speak TLS as this host; absent while the key of its authority is not at hand.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where requests outside every scope go, without a credential of any kind.
    pub upstream: Arc<Upstream>,
    /// Longest path first.
    scopes: Vec<(Scope, Arc<Service>)>,
}

impl InterceptedHost {
    /// The registry that covers a path, if one does: the longest matching scope wins.
    ///
    /// # Errors
    /// [`ProxyError::BadRequest`] when another reading of the path would fall to another registry.
    pub fn covering(&self, raw: &str) -> Result<Option<&Arc<Service>>, ProxyError> {
        let canonical = path::canonical(raw).ok_or(ProxyError::BadRequest)?;
        let (scope, service) = match self.longest(raw) {
            Some((scope, service)) => (Some(scope), Some(service)),
            None => (None, None),
        };
        if self.longest(&canonical).map(|(scope, _)| scope) != scope {
            return Err(ProxyError::BadRequest);
        }
        Ok(service)
    }

    /// Sees to it that a worker has a connection to the registry that was used last.
    pub(crate) fn warm(&self, worker: usize) {
        if let Some(service) = self.services().max_by_key(|service| service.usage.last_used()) {
            service.upstream.warm(worker, &UriScheme::HTTPS, &self.authority);
        }
    }

    /// The registries that have a scope here.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.scopes.iter().map(|(_, service)| service)
    }

    /// A host and port that one registry names with TLS and another without has one of them only: a credential goes to its
    /// own scope's scheme.
    fn longest(&self, path: &str) -> Option<(&Scope, &Arc<Service>)> {
        self.scopes
            .iter()
            .find(|(scope, _)| scope.plain == self.plain && scope.covers_path(path))
            .map(|(scope, service)| (scope, service))
    }
}

/// All sites. Cheap to ask, replaced whole.
#[derive(Debug, Default)]
pub struct Routes {
    sites: HashMap<Origin, Arc<InterceptedHost>>,
}

impl Routes {
    /// Groups the scopes of all services by site. `tls` says how we speak as a host.
    pub fn new(services: &[Arc<Service>], tls: impl Fn(&Origin) -> Option<Arc<rustls::ServerConfig>>) -> Self {
        let mut sites: HashMap<Origin, InterceptedHost> = HashMap::new();
        for service in services {
            for scope in &service.registry.scopes {
                let site = sites.entry(scope.origin.clone()).or_insert_with(|| InterceptedHost {
                    authority: authority_of(&scope.origin, scope.plain),
                    origin: scope.origin.clone(),
                    plain: scope.plain,
                    tls: if scope.plain { None } else { tls(&scope.origin) },
                    upstream: service.upstream.anonymous(),
                    scopes: Vec::new(),
                });
                site.scopes.push((scope.clone(), Arc::clone(service)));
            }
        }
        for site in sites.values_mut() {
            site.scopes
                .sort_by_key(|(scope, _)| std::cmp::Reverse(scope.path().len()));
        }
        Self {
            sites: sites
                .into_iter()
                .map(|(origin, site)| (origin, Arc::new(site)))
                .collect(),
        }
    }

    /// The site at an origin, if a registry has a scope there.
    pub fn site(&self, origin: &Origin) -> Option<&Arc<InterceptedHost>> {
        self.sites.get(origin)
    }
}

/// The authority as a URL has it: without the scheme's own port, since some servers compare Host to the letter.
fn authority_of(origin: &Origin, plain: bool) -> Authority {
    let usual = if plain { 80 } else { 443 };
    let text = if origin.port == usual {
        origin.host.to_string()
    } else {
        origin.to_string()
    };
    // A Host is made of letters, digits, dots, hyphens, colons and brackets: always an authority.
    Authority::try_from(text).unwrap_or(Authority::from_static("invalid"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Config, UpstreamSettings};
    use crate::credential::Credential;
    use crate::proxy::upstream::Trust;
    use crate::proxy::upstream::dial::Dialer;

    /// The routes of a configuration's registries, without authorities.
    pub(in crate::proxy) fn routes(text: &str) -> Routes {
        let config = Config::read(text).unwrap();
        let dialer = Dialer::new(&UpstreamSettings::default(), ([127, 0, 0, 1], 1).into());
        let service = |(name, registry): (RegistryName, Registry)| {
            let trust = Trust::new(&[], None, None).unwrap();
            Arc::new(Service {
                name,
                credential: Credential::fixed().attach(registry.scheme.clone()),
                registry,
                upstream: Arc::new(Upstream::new(&dialer, trust, 1).unwrap()),
                trouble: None,
                usage: Arc::default(),
            })
        };
        let services: Vec<_> = config.registries.into_iter().map(service).collect();
        Routes::new(&services, |_| None)
    }

    const NESTED: &str = r#"
        registries.all.scopes = ["https://corp.example/"]
        registries.cargo.scopes = ["https://corp.example/cargo/", "https://corp.example:8443/"]
        registries.inner.scopes = ["https://corp.example/cargo/inner/"]
    "#;

    fn covering(routes: &Routes, path: &str) -> Result<String, ProxyError> {
        let site = routes.site(&Origin::parse("corp.example:443", None).unwrap()).unwrap();
        let service = site.covering(path)?;
        Ok(service.map_or_else(String::new, |service| service.name.to_string()))
    }

    #[test]
    fn the_longest_scope_covers_a_path() {
        let routes = routes(NESTED);
        for (path, name) in [
            ("/", "all"),
            ("/cargo-evil/x", "all"),
            ("/cargo", "cargo"),
            ("/cargo/x%20y", "cargo"),
            ("/cargo/innermost", "cargo"),
            ("/cargo/inner/x", "inner"),
        ] {
            assert_eq!(covering(&routes, path).as_deref(), Ok(name), "{path}");
        }
        for path in [
            "/cargo/inne%72/x",
            "/cargo//inner/x",
            "/x/../cargo/y",
            "/cargo/inner%2fx",
            "/cargo;x/inner/",
        ] {
            assert_eq!(covering(&routes, path), Err(ProxyError::BadRequest), "{path}");
        }
    }

    #[test]
    fn a_credential_for_https_never_goes_in_the_clear() {
        let routes = routes(
            r#"
                registries.clear.scopes = ["http://localhost:8080/"]
                registries.secret.scopes = ["https://localhost:8080/secret/"]
            "#,
        );
        let site = routes.site(&Origin::parse("localhost:8080", None).unwrap()).unwrap();
        let service = site.covering("/secret/x").unwrap().unwrap();
        assert_eq!((site.plain, service.name.as_str()), (true, "clear"));
    }

    proptest::proptest! {
        /// What the letters say, or nothing: never what another reading would make of them.
        #[test]
        fn a_path_falls_to_the_registry_that_its_letters_name(
            path in "(/cargo|/inner|/[a-c]|//|/\\.|/\\.\\.|;|%2f|%69|%2e|\\\\|-){0,8}"
        ) {
            let routes = routes(NESTED);
            if let Ok(name) = covering(&routes, &path) {
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
