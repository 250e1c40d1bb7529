//! Routing: the decision for a CONNECT, and the registry that a request path belongs to.
//!
//! [`Routes`] is immutable. When a registry is added, changed or removed, the control side builds new routes and swaps them
//! in whole, so each request sees one consistent state. A rotation does not touch them: a new token goes into the
//! registry's credential, which its route shares.
//!
//! [`Routes::decide`] and [`InterceptedHost::match_scope`] are pure. `warm`, which opens a connection early, is not. A CONNECT that is intercepted continues in [`intercept`](crate::proxy::downstream::intercept).

use std::collections::HashMap;
use std::sync::Arc;

use http::uri::{Authority, Scheme as UriScheme, Uri};
use regauth_shared::RegistryName;
use url::Url;

use crate::credential::RegistryCredential;
use crate::host::Origin;
use crate::policy::binding::{TokenUse, Wider};
use crate::policy::path::{self, PathProblem};
use crate::proxy::exchange::action_seal::ActionSeal;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::token_flow::TokenFlow;
use crate::proxy::read_ahead::ReadAhead;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::opening::Opening;
use crate::proxy::usage::Usage;
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
    /// Groups the scopes of all registries by host. `keys` gives what we need to answer as a host.
    pub fn new(registries: &[Arc<RegistryRoute>], keys: impl Fn(&Origin) -> Option<HostKeys>) -> Self {
        let mut hosts: HashMap<Origin, InterceptedHost> = HashMap::new();
        for registry in registries {
            for scope in &registry.registry.scopes {
                let host = hosts.entry(scope.origin.clone()).or_insert_with(|| {
                    let keys = (!scope.plain).then(|| keys(&scope.origin)).flatten();
                    InterceptedHost {
                        authority: authority_of(&scope.origin, scope.plain),
                        origin: scope.origin.clone(),
                        plain: scope.plain,
                        action_seal: keys.as_ref().and_then(|keys| keys.action_seal.clone()),
                        tls: keys.map(|keys| keys.tls),
                        upstream: registry.upstream.anonymous(),
                        scopes: Vec::new(),
                    }
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

/// Keys of an intercepted host.
#[derive(Clone, Debug)]
pub struct HostKeys {
    /// TLS settings with which we answer as the host.
    pub tls: Arc<rustls::ServerConfig>,
    /// Seal that other daemons share, for tokens of Git LFS.
    pub(crate) action_seal: Option<Arc<ActionSeal>>,
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
    /// Seal for tokens of Git LFS that other daemons share. `None`: the one of this process counts.
    pub(crate) action_seal: Option<Arc<ActionSeal>>,
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
    /// Configuration, as far as it is served.
    pub registry: Registry,
    /// Configuration that goes beyond the binding of the stored token.
    pub(crate) unconfirmed: Option<Unconfirmed>,
    /// True if the credential has no value and never gets one: the next routes have another credential.
    pub(crate) is_placeholder: bool,
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
    /// Token flow of a container registry with a token service.
    pub(crate) token_flow: Option<Arc<TokenFlow>>,
}

/// Configuration of a registry that says more than its token was given for. A person confirms it.
#[derive(Clone, Debug)]
pub(crate) struct Unconfirmed {
    /// The configuration as it is.
    pub(crate) configured: Registry,
    /// Use of the token that was compared. Its roots are those that `ca_file` had then.
    pub(crate) compared: TokenUse,
    /// Uses that it adds to the binding; never empty.
    pub(crate) changes: Vec<Wider>,
    /// True if nothing of it is served.
    pub(crate) is_withheld: bool,
}

impl Unconfirmed {
    /// Message with the changes and the next command.
    pub(crate) fn message(&self, name: &RegistryName) -> String {
        let changes: Vec<String> = self.changes.iter().map(ToString::to_string).collect();
        format!(
            "{name} has changed: {}; `regauthctl confirm {name}` takes it in",
            changes.join("; ")
        )
    }
}

impl RegistryRoute {
    /// True if nothing of the configuration is covered by what the token was given for.
    pub(crate) fn is_withheld(&self) -> bool {
        self.unconfirmed
            .as_ref()
            .is_some_and(|unconfirmed| unconfirmed.is_withheld)
    }

    /// The configuration as it is, also beyond what is served.
    pub(crate) fn configured(&self) -> &Registry {
        let unconfirmed = self.unconfirmed.as_ref();
        unconfirmed.map_or(&self.registry, |unconfirmed| &unconfirmed.configured)
    }

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
pub(super) mod tests;
