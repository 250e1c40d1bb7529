//! Binding of a token: what a person gave it for, and how far a configuration may go.
//!
//! [`Binding::wider`] lists what a configuration adds, and [`Binding::served`] cuts it down to what was given. A
//! configuration that says less is covered. `record` is the form in the store, beside the token.

mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regauth_shared::RegistryName;

use crate::registry::{Scheme, Scope, Writes};

/// Record of the uses that a token was given for: its source, and one use for each registry that sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Source of the token, with a digest of its settings.
    pub(crate) source: String,
    /// Use by each registry.
    pub(crate) uses: BTreeMap<RegistryName, TokenUse>,
}

/// Destination and form of a token, as one registry sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenUse {
    /// URLs that the token is sent to.
    pub(crate) scopes: Vec<Scope>,
    /// Scheme, whose header carries it. Other schemes with that header, and other user names, are the same use.
    pub(crate) scheme: Scheme,
    /// Root certificates that verify the registry besides the system's.
    pub(crate) roots: BTreeSet<RootDigest>,
    /// Token service of a container registry, which gets the token in place of the registry.
    pub(crate) token_service: Option<String>,
    /// Writes without `regauthctl allow`.
    pub(crate) writes: Writes,
}

/// SHA-256 of a root certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RootDigest(pub(crate) [u8; 32]);

/// One thing that a configuration adds to what a token was given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wider {
    /// The token is sent to more URLs.
    Scope(Scope),
    /// The token is sent in another header, by this scheme.
    Header(Scheme),
    /// The token is sent to a token service.
    TokenService(String),
    /// A certificate that verifies the registry.
    Root(RootDigest),
    /// Writes are open for good.
    Writes,
    /// The stored secret is used by another source.
    Source(String),
    /// The store has no record of what the token was given for.
    Unrecorded,
}

impl Binding {
    /// Changes by which `now` goes beyond the binding for the registry `name`; empty if there are none.
    pub(crate) fn wider(&self, name: &RegistryName, now: &TokenUse) -> Vec<Wider> {
        if self.covers(now) {
            return Vec::new();
        }
        let Some(given) = self.uses.get(name) else {
            return now.everything();
        };
        let scopes = now.scopes.iter().filter(|scope| !given.covers_scope(scope));
        let mut wider: Vec<Wider> = scopes.cloned().map(Wider::Scope).collect();
        if given.scheme.header() != now.scheme.header() {
            wider.push(Wider::Header(now.scheme.clone()));
        }
        if !given.covers_token_service(now) {
            wider.extend(now.token_service.clone().map(Wider::TokenService));
        }
        wider.extend(now.roots.difference(&given.roots).copied().map(Wider::Root));
        if !given.allows(now.writes) {
            wider.push(Wider::Writes);
        }
        wider
    }

    /// The part of `now` that the token was given for; `None` if there is none. It is as large as possible, so that
    /// requests that worked before a change go on.
    pub(crate) fn served(&self, name: &RegistryName, now: &TokenUse) -> Option<TokenUse> {
        if self.covers(now) {
            return Some(now.clone());
        }
        let given = self.uses.get(name)?;
        let mut scopes: Vec<Scope> = Vec::new();
        for scope in &now.scopes {
            let inside = given.scopes.iter().filter(|given| scope.covers(given));
            let common = if given.covers_scope(scope) {
                vec![scope]
            } else {
                inside.collect()
            };
            let common: Vec<Scope> = common
                .into_iter()
                .filter(|scope| !scopes.contains(scope))
                .cloned()
                .collect();
            scopes.extend(common);
        }
        (!scopes.is_empty()).then(|| TokenUse {
            scopes,
            scheme: given.in_header_of(now).clone(),
            roots: now.roots.intersection(&given.roots).copied().collect(),
            token_service: match given.covers_token_service(now) {
                true => now.token_service.clone(),
                false => given.token_service.clone(),
            },
            writes: if given.allows(now.writes) {
                now.writes
            } else {
                Writes::Deny
            },
        })
    }

    /// Takes in what a change of the registry `name` adds, and nothing that was changed and not confirmed before. Without
    /// `before`, takes in everything. A registry without a use of its own keeps what another use covers.
    pub(crate) fn take_in(&mut self, name: &RegistryName, before: Option<&TokenUse>, after: &TokenUse) {
        let Some(before) = before else {
            self.uses.insert(name.clone(), after.clone());
            return;
        };
        let covered = self.covers(before).then(|| before.clone());
        let given = self.uses.entry(name.clone()).or_insert_with(|| {
            covered.unwrap_or_else(|| TokenUse {
                scopes: Vec::new(),
                scheme: after.scheme.clone(),
                roots: BTreeSet::new(),
                token_service: None,
                writes: Writes::Deny,
            })
        });
        for scope in &after.scopes {
            if !before.covers_scope(scope) && !given.covers_scope(scope) {
                given.scopes.push(scope.clone());
            }
        }
        given.roots.extend(after.roots.difference(&before.roots));
        if after.scheme != before.scheme {
            given.scheme.clone_from(&after.scheme);
        }
        if after.token_service != before.token_service {
            given.token_service.clone_from(&after.token_service);
        }
        if after.writes != before.writes {
            given.writes = after.writes;
        }
    }

    fn covers(&self, now: &TokenUse) -> bool {
        self.uses.values().any(|given| given.covers(now))
    }
}

impl TokenUse {
    /// All parts of the use, for a person who is to confirm the whole.
    pub(crate) fn everything(&self) -> Vec<Wider> {
        let mut parts: Vec<Wider> = self.scopes.iter().cloned().map(Wider::Scope).collect();
        parts.push(Wider::Header(self.scheme.clone()));
        parts.extend(self.token_service.clone().map(Wider::TokenService));
        parts.extend(self.roots.iter().copied().map(Wider::Root));
        parts.extend((self.writes == Writes::Allow).then_some(Wider::Writes));
        parts
    }

    fn covers(&self, now: &Self) -> bool {
        self.scheme.header() == now.scheme.header()
            && now.scopes.iter().all(|scope| self.covers_scope(scope))
            && now.roots.is_subset(&self.roots)
            && self.covers_token_service(now)
            && self.allows(now.writes)
    }

    fn covers_token_service(&self, now: &Self) -> bool {
        now.token_service.is_none() || now.token_service == self.token_service
    }

    /// The scheme of `now` if its header is this one's.
    fn in_header_of<'a>(&'a self, now: &'a Self) -> &'a Scheme {
        match self.scheme.header() == now.scheme.header() {
            true => &now.scheme,
            false => &self.scheme,
        }
    }

    fn covers_scope(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|given| given.covers(scope))
    }

    fn allows(&self, writes: Writes) -> bool {
        writes == Writes::Deny || self.writes == Writes::Allow
    }
}

/// Sentence part for a person: "corp has changed: it sends its token to …".
impl fmt::Display for Wider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => write!(f, "it sends its token to {scope}"),
            Self::Header(scheme) => write!(f, "it sends its token in the header {}", scheme.header()),
            Self::TokenService(service) => write!(f, "it sends its token to the token service {service}"),
            Self::Root(root) => write!(f, "it trusts the certificate {root} of its ca-file"),
            Self::Writes => f.write_str("it opens writes for good"),
            Self::Source(source) => write!(f, "its source is {source}, which would get the secret that is stored"),
            Self::Unrecorded => f.write_str("nothing records what its token was given for"),
        }
    }
}

/// The first bytes in hexadecimal, as `openssl x509 -fingerprint -sha256` begins.
impl fmt::Display for RootDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, byte) in self.0.iter().take(SHOWN_BYTES).enumerate() {
            let separator = if number == 0 { "SHA-256 " } else { ":" };
            write!(f, "{separator}{byte:02X}")?;
        }
        f.write_str("…")
    }
}

impl fmt::Debug for RootDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const SHOWN_BYTES: usize = 8;

#[cfg(test)]
mod tests;
