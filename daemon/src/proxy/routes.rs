//! Routing: the decision for a CONNECT, and the registry that a request path belongs to.
//!
//! [`Routes`] is immutable. When a registry is added, changed or removed, the control side builds new routes and swaps them
//! in whole, so each request sees one consistent state. A rotation does not touch them: a new token goes into the
//! registry's credential, which its route shares.
//!
//! [`Routes::decide`] and [`InterceptedHost::match_scope`] are pure. The usage counters and `warm`, which opens a connection
//! early, are not. A CONNECT that is intercepted continues in [`intercept`](crate::proxy::downstream::intercept).

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use http::uri::{Authority, Scheme as UriScheme, Uri};
use regauth_shared::RegistryName;
use time::OffsetDateTime;
use url::Url;

use crate::credential::RegistryCredential;
use crate::deadline::Deadline;
use crate::host::Origin;
use crate::policy::path::{self, PathProblem};
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::failure_log::FailureLog;
use crate::proxy::read_ahead::ReadAhead;
use crate::proxy::trouble::{LastTrouble, Trouble};
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
#[derive(Debug)]
pub struct Routes {
    hosts: HashMap<Origin, Arc<InterceptedHost>>,
    /// Answer for a host while the key of its authority is not available.
    without_authority: ProxyError,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new(&[], |_| None)
    }
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
        }
        Self {
            hosts: hosts
                .into_iter()
                .map(|(origin, host)| (origin, Arc::new(host)))
                .collect(),
            without_authority: ProxyError::StoreLocked,
        }
    }

    /// Sets the answer for a host while the key of its authority is not available.
    #[must_use]
    pub fn refusing_with(self, without_authority: ProxyError) -> Self {
        Self {
            without_authority,
            ..self
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
                None => Decision::Refuse(self.without_authority.clone()),
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
    scopes: Vec<(Scope, Arc<RegistryRoute>)>,
}

/// Scope and its registry.
type ScopedRegistry<'a> = (&'a Scope, &'a Arc<RegistryRoute>);

impl InterceptedHost {
    /// The registry whose scope matches a request path; the longest scope wins.
    ///
    /// # Errors
    /// [`PathProblem`] when no reading of the path is safe, or another reading belongs to another registry.
    pub fn match_scope(&self, raw_path: &str) -> Result<Option<&Arc<RegistryRoute>>, PathProblem> {
        let readings = path::readings(raw_path)?;
        let literal = readings.literal();
        let matched = self.longest_scope(|scope| scope.covers_path(literal), Scope::path);
        for reading in readings.lenient_or_literal() {
            let lenient = self.longest_scope(|scope| scope.covers_lenient(reading), Scope::lenient_path);
            if !self.is_one_registry(matched, lenient)
                || matched.is_some_and(|matched| self.has_rival(matched, reading))
            {
                return Err(PathProblem::DifferentScopes);
            }
        }
        Ok(matched.map(|(_, registry)| registry))
    }

    /// Do two readings of a path, and all readings between them, belong to the same registry or to none?
    ///
    /// If the readings are in different scopes of one registry, one scope must cover the other, and all scopes inside the
    /// wider one must belong to that registry: a reading between the two may match any of them.
    fn is_one_registry(&self, one: Option<ScopedRegistry<'_>>, other: Option<ScopedRegistry<'_>>) -> bool {
        let (Some((scope, registry)), Some((other_scope, other_registry))) = (one, other) else {
            return one.is_none() && other.is_none();
        };
        if scope == other_scope {
            return true;
        }
        let wider = if scope.covers(other_scope) { scope } else { other_scope };
        let mut inside = self.scopes.iter().filter(|(scope, _)| wider.covers_leniently(scope));
        Arc::ptr_eq(registry, other_registry)
            && wider.covers(scope)
            && wider.covers(other_scope)
            && inside.all(|(_, owner)| Arc::ptr_eq(owner, registry))
    }

    /// Could a server mean a scope of another registry by this reading? One that ignores the case of letters may find a
    /// longer scope. One that decodes slashes cannot tell `/team%2Fapp/` from `/team/app/`.
    fn has_rival(&self, (scope, registry): ScopedRegistry<'_>, reading: &str) -> bool {
        let length = scope.lenient_path().len();
        let is_rival = |other: &Scope| {
            let is_longer = other.lenient_path().len() > length && other.covers_in_any_case(reading);
            other.plain == self.plain && (is_longer || (other.lenient_path() == scope.lenient_path() && other != scope))
        };
        let mut others = self.scopes.iter().filter(|(_, owner)| !Arc::ptr_eq(owner, registry));
        others.any(|(other, _)| is_rival(other))
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

    /// Counts a request outside of every scope that the host refused, at the registry whose scope is nearest to its path.
    pub(crate) fn note_refusal_outside_scopes(&self, path: &str) {
        let scopes = self.scopes.iter().filter(|(scope, _)| scope.plain == self.plain);
        let nearest = scopes.map(|(scope, registry)| (scope.common_parent(path), scope, registry));
        if let Some((parent, scope, registry)) = nearest.max_by_key(|(parent, ..)| parent.len()) {
            registry.usage.note_outside(&scope.with_path(parent));
        }
    }

    /// Two registries may name one host and port with different URL schemes. Only scopes of this host's own URL scheme
    /// match, so that a credential for https is never sent in the clear.
    fn longest_scope(
        &self,
        covers: impl Fn(&Scope) -> bool,
        form: impl Fn(&Scope) -> &str,
    ) -> Option<ScopedRegistry<'_>> {
        let covering = self
            .scopes
            .iter()
            .filter(|(scope, _)| scope.plain == self.plain && covers(scope));
        covering
            .max_by_key(|(scope, _)| form(scope).len())
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
    /// Index entries that are asked for ahead of cargo, unless it is off.
    pub(crate) read_ahead: Option<Arc<ReadAhead>>,
}

impl RegistryRoute {
    /// True if a scope of the registry covers the URL of a request.
    pub(crate) fn covers(&self, uri: &Uri) -> bool {
        let url = uri.to_string().parse::<Url>();
        url.is_ok_and(|url| self.registry.covers_url(&url))
    }

    /// Returns true if clients without a grant may write now.
    pub fn writes_are_open(&self) -> bool {
        self.registry.writes == Writes::Allow || self.usage.writes_open_until().is_some()
    }
}

/// Usage counters of a registry, and its window for writes. Both outlive a reload.
#[derive(Debug, Default)]
pub struct Usage {
    requests: AtomicU64,
    in_flight: AtomicU64,
    last_used: AtomicI64,
    last_status: AtomicU16,
    last_worked: AtomicI64,
    /// Last trouble.
    pub trouble: LastTrouble,
    /// Log lines about failed requests.
    pub(crate) failures: FailureLog,
    writes_open_until: ArcSwapOption<Deadline>,
    outside: Mutex<OutsideScopes>,
}

/// Guard that counts one request of a registry as in flight.
#[derive(Debug)]
pub(crate) struct RequestInFlight(Arc<Usage>);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests to a registry's hosts that were outside of every scope, and that the host refused.
#[derive(Clone, Debug, Default)]
pub struct OutsideScopes {
    /// Their number.
    pub requests: u64,
    /// The smallest scope that covers them and the registry's own.
    pub covering: Option<Scope>,
}

impl Usage {
    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> RequestInFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        RequestInFlight(Arc::clone(self))
    }

    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Records a request that carried the credential, and the registry's status code. Returns the trouble that its answer
    /// has ended.
    pub fn note(&self, status: u16) -> Option<Trouble> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.last_used.store(now, Ordering::Relaxed);
        self.last_status.store(status, Ordering::Relaxed);
        let is_denial = matches!(status, 401 | 403);
        if !is_denial && status < 500 {
            self.last_worked.store(now, Ordering::Relaxed);
        }
        self.trouble.end(is_denial)
    }

    /// Time of the registry's last answer that was neither a denial nor an error of its own.
    pub fn last_worked(&self) -> Option<OffsetDateTime> {
        from_unix_timestamp(self.last_worked.load(Ordering::Relaxed))
    }

    /// Counts a refused request outside of every scope, which `covering` would cover.
    fn note_outside(&self, covering: &Scope) {
        let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        outside.requests += 1;
        let is_wider = |before: &Scope| before.covers(covering);
        if !outside.covering.as_ref().is_some_and(is_wider) {
            outside.covering = Some(covering.clone());
        }
    }

    /// Refused requests outside of every scope. Those that a scope covers by now do not count.
    pub fn outside(&self, scopes: &[Scope]) -> OutsideScopes {
        let outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        let is_covered = |covering: &Scope| scopes.iter().any(|scope| scope.covers(covering));
        if outside.covering.as_ref().is_some_and(is_covered) {
            return OutsideScopes::default();
        }
        outside.clone()
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

    /// Opens writes until a deadline; `None` closes them at once.
    pub fn open_writes(&self, until: Option<Deadline>) {
        self.writes_open_until.store(until.map(Arc::new));
    }

    /// End of the window for writes, if one is open.
    pub fn writes_open_until(&self) -> Option<OffsetDateTime> {
        let until = self.writes_open_until.load();
        until
            .as_ref()
            .filter(|until| !until.has_passed())
            .map(|until| until.wall)
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
    use crate::config::Config;
    use crate::credential::Credential;
    use crate::policy::path::tests::Server;
    use crate::proxy::upstream::Trust;
    use crate::proxy::upstream::dial::Dialer;
    use crate::proxy::upstream::proxy_rules::ProxyRules;

    /// Routes of a configuration's registries, without authorities.
    pub(in crate::proxy) fn routes(text: &str) -> Routes {
        let config = Config::read(text).unwrap();
        let dialer = Dialer::new(ProxyRules::direct(), Trust::nobody()).unwrap();
        let route = |(name, registry): (RegistryName, Registry)| {
            let trust = Trust::system(&[]);
            Arc::new(RegistryRoute {
                name,
                credential: Credential::fixed().attach(registry.scheme.clone()),
                read_ahead: None,
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

    const OVERLAPPING: &str = r#"
        registries.cargo.scopes = ["https://corp.example/cargo/", "https://corp.example/cargo/inner/cargo/"]
        registries.inner.scopes = ["https://corp.example/cargo/inner/", "https://corp.example/a@b/"]
        registries.team.scopes = ["https://corp.example/a/team%2Fapp/"]
        registries.app.scopes = ["https://corp.example/a/team/", "https://corp.example/a/"]
    "#;

    const NESTED: &str = r#"
        registries.all.scopes = ["https://corp.example/"]
        registries.cargo.scopes = ["https://corp.example/cargo/", "https://corp.example:8443/"]
        registries.inner.scopes = ["https://corp.example/cargo/inner/"]
    "#;

    fn matched(routes: &Routes, path: &str) -> Result<String, PathProblem> {
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
            ("/cargo/inne%72/x", "inner"),
        ] {
            assert_eq!(matched(&routes, path).as_deref(), Ok(name), "{path}");
        }
        for path in [
            "/cargo//inner/x",
            "/x/../cargo/y",
            "/cargo/inner%2fx",
            "/cargo;x/inner/",
        ] {
            assert!(matched(&routes, path).is_err(), "{path}");
        }
    }

    #[test]
    fn equivalent_spellings_match_a_scope() {
        let routes = routes(
            r#"
                registries.devpi.scopes = ["https://corp.example/root/dev/+f/"]
                registries.azure.scopes = ["https://corp.example/My%20Project/feed%40Release/"]
                registries.gitlab.scopes = ["https://corp.example/projects/team%2Fapp/"]
                registries.other.scopes = ["https://corp.example/projects/team/apps/"]
            "#,
        );
        for (path, name) in [
            ("/root/dev/%2Bf/x", "devpi"),
            ("/root/dev/+f/x", "devpi"),
            ("/My%20Project/feed@Release/x", "azure"),
            ("/My%20Project/feed%40Release/%40s%2fp", "azure"),
            ("/projects/team%2Fapp/x", "gitlab"),
            ("/projects/team%2fapp", "gitlab"),
            ("/projects/team/apps/x", "other"),
            ("/projects/team/ap", ""),
        ] {
            assert_eq!(matched(&routes, path).as_deref(), Ok(name), "{path}");
        }
        for path in [
            "/projects/team/app/x",
            "/projects/team%2Fapp%2Fx",
            "/projects/team%2Fapps/x",
        ] {
            assert_eq!(matched(&routes, path), Err(PathProblem::DifferentScopes), "{path}");
        }
    }

    #[test]
    fn matrix_parameters_stay_in_the_scope_before_them() {
        let routes = routes(NESTED);
        for (path, name) in [
            (
                "/artifactory/a.jar;vcs.url=https%3A%2F%2Fgit.example%2Fx.git",
                Some("all"),
            ),
            ("/cargo/a.jar;vcs.branch=feature%2Ffoo", Some("cargo")),
            // After the parameter is cut, or decoded, a deeper scope may be meant.
            ("/cargo/;x=%2Finner", None),
            ("/cargo;vcs.branch=feature%2Ffoo", None),
            ("/x;v=%2F..%2Fcargo", None),
        ] {
            assert_eq!(matched(&routes, path).ok().as_deref(), name, "{path}");
        }
    }

    #[test]
    fn a_request_with_a_credential_may_not_mean_a_longer_scope_in_another_case() {
        let routes = routes(NESTED);
        for (path, name) in [
            ("/Cargo/x", None),
            ("/cargo/INNER/x", None),
            ("/cargo/Inne", Some("cargo")),
        ] {
            assert_eq!(matched(&routes, path).ok().as_deref(), name, "{path}");
        }
        let routes = self::routes(r#"registries.team.scopes = ["https://corp.example/Team/"]"#);
        assert_eq!(matched(&routes, "/team/x").as_deref(), Ok(""), "no credential is sent");
    }

    #[test]
    fn readings_in_scopes_of_one_registry_match() {
        let routes = routes(OVERLAPPING);
        assert_eq!(matched(&routes, "/a/x//y").as_deref(), Ok("app"));
        assert_eq!(
            matched(&routes, "/a//team/x").ok(),
            None,
            "team%2Fapp is inside as well"
        );
        // Between `/cargo/` and `/cargo/inner/cargo/` lies another registry's scope.
        assert_eq!(matched(&routes, "/cargo/inner%2fcargo/x").ok(), None);
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

        /// A path matches by its literal form or not at all: no server interprets it into a scope of another registry.
        #[test]
        fn no_server_finds_another_registry(
            path in "(/cargo|/inner|/team%2fapp|/team/app|/a%40b|/[a-c]|//|/\\.|/\\.\\.|;|%2f|%69|%2e|%3f|%20|\\.|-){0,8}"
        ) {
            let routes = routes(OVERLAPPING);
            let host = routes.host(&Origin::parse("corp.example:443", None).unwrap()).unwrap();
            if let Ok(registry) = host.match_scope(&path) {
                for server in Server::all() {
                    let covering = host.scopes.iter().filter(|(scope, _)| server.covers(scope, &path));
                    let found = covering.max_by_key(|(scope, _)| server.interpret(scope.path()).len());
                    let names = [registry, found.map(|(_, registry)| registry)]
                        .map(|registry| registry.map(|registry| &registry.name));
                    proptest::prop_assert_eq!(names[0], names[1], "{:?} {}", server, path);
                }
            }
        }
    }
}
