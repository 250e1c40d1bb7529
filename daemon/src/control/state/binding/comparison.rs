//! Comparison of a configuration with the binding of its token. Pure, apart from the certificates of a `ca-file`, which are
//! read once for each comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use regauth_shared::RegistryName;

use super::StoredToken;
use crate::config::Config;
use crate::config::serialize::source_record;
use crate::control::state::State;
use crate::policy::binding::{Binding, TokenUse, Wider};
use crate::proxy::upstream::root_digests;
use crate::registry::{Registry, Source};

/// Binding of a token to all that a configuration says; `None` if the registry is not in it.
pub(super) fn binding_of(config: &Config, owner: &RegistryName) -> Option<Binding> {
    let source = source_record(&config.registries.get(owner)?.source);
    let users = config.registries.iter().filter(|(name, _)| config.owner(name) == owner);
    Some(Binding {
        source,
        uses: users
            .map(|(name, registry)| (name.clone(), token_use(registry)))
            .collect(),
    })
}

/// Use of a token by a registry, as configured. The index is asked with the token, also outside of every scope. A
/// registry whose roots are bound trusts those alone; of another one, the `ca-file` is read.
pub(crate) fn token_use(registry: &Registry) -> TokenUse {
    let mut scopes = registry.scopes.clone();
    let index = registry.index.as_ref().and_then(|index| index.scope().ok());
    let is_outside = |index: &_| !registry.scopes.iter().any(|scope| scope.covers(index));
    scopes.extend(index.filter(is_outside));
    TokenUse {
        scopes,
        scheme: registry.scheme.clone(),
        roots: match (&registry.bound_roots, &registry.ca_file) {
            (Some(bound), _) => bound.clone(),
            (None, Some(file)) => root_digests(file),
            (None, None) => BTreeSet::new(),
        },
        token_service: registry.token_service.as_ref().map(ToString::to_string),
        writes: registry.writes,
    }
}

/// Use of a token by a registry, as configured, beside the binding of the token.
pub(super) struct Comparison {
    /// The use as configured.
    pub(super) compared: TokenUse,
    /// Uses that it adds to the binding.
    pub(super) changes: Vec<Wider>,
    /// The part of it that is served, if any is.
    pub(super) served: Option<TokenUse>,
}

/// Compares a registry's configuration with the binding of its token; `None` if no binding applies: the token is not stored,
/// or there is none.
pub(super) fn compare(
    state: &State,
    config: &Config,
    tokens: &BTreeMap<RegistryName, StoredToken>,
    name: &RegistryName,
) -> Option<Comparison> {
    let owner = config.owner(name);
    let token = tokens.get(owner)?;
    if matches!(token, StoredToken::Absent | StoredToken::Unread(_)) {
        return None;
    }
    let compared = token_use(config.registries.get(name)?);
    let source = &config.registries.get(owner)?.source;
    let reason = match (token, state.bindings.get(owner)) {
        (StoredToken::Unrecorded, _) | (_, None) => Wider::Unrecorded,
        (_, Some(binding)) if binding.source != source_record(source) => Wider::Source(source.to_string()),
        (_, Some(binding)) => {
            return Some(Comparison {
                changes: binding.wider(name, &compared),
                served: binding.served(name, &compared),
                compared,
            });
        }
    };
    Some(Comparison {
        changes: iter::once(reason).chain(compared.everything()).collect(),
        served: None,
        compared,
    })
}

/// Leaves what the token was given for. An index outside of it is not asked.
pub(super) fn restrict(registry: &mut Registry, given: TokenUse) {
    let is_configured = |scope: &_| registry.scopes.iter().any(|wide| wide.covers(scope));
    let scopes = given
        .scopes
        .iter()
        .filter(|scope| is_configured(scope))
        .cloned()
        .collect();
    let asked = registry.index.as_ref().and_then(|index| index.scope().ok());
    if !asked.is_some_and(|asked| given.scopes.iter().any(|scope| scope.covers(&asked))) {
        registry.index = None;
    }
    registry.scopes = scopes;
    registry.scheme = given.scheme;
    registry.token_service = given.token_service.and_then(|service| service.parse().ok());
    registry.writes = given.writes;
    registry.bound_roots = Some(given.roots);
}

/// Registry that owns the credential of `name`, among those in service.
pub(in crate::control) fn owner_in_service(state: &State, name: &RegistryName) -> RegistryName {
    let mut owner = name;
    // The configuration was checked, so no chain leads back to itself.
    while let Some(Source::Of(next)) = state.registries.get(owner).map(|route| &route.registry.source) {
        owner = next;
    }
    owner.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(ca_file: &std::path::Path) -> Registry {
        let text = format!("[registries.corp]\nscopes = [\"https://corp.example/\"]\nca-file = {ca_file:?}\n");
        let mut config = Config::read(&text).unwrap();
        config.registries.pop_first().unwrap().1
    }

    /// A self-signed certificate as PEM.
    fn certificate() -> String {
        let certified = rcgen::generate_simple_self_signed(["root.example".to_owned()]).unwrap();
        certified.cert.pem()
    }

    #[test]
    fn certificates_that_replace_the_compared_ones_are_not_bound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, certificate()).unwrap();
        let configured = registry(&file);
        let compared = token_use(&configured);
        assert_eq!(compared.roots.len(), 1);
        let checked = configured.with_bound_roots(compared.roots.clone());
        std::fs::write(&file, certificate()).unwrap();
        assert_eq!(token_use(&checked), compared);
        assert!(token_use(&configured).roots.is_disjoint(&compared.roots));
    }
}
