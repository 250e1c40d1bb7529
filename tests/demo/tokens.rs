//! The registry's two tokens, made anew for every demo, and the names that the story gives them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::registry::{Visit, basic};

/// The one user of the registry.
pub(crate) const USERNAME: &str = "me@corp.example";

/// The shell variable that holds the first token in the commands that are shown.
pub(crate) const FIRST: &str = "TOKEN";

/// The same for the second.
pub(crate) const SECOND: &str = "NEW_TOKEN";

/// Two tokens that are unlike anything else on the disk.
pub(crate) struct Tokens {
    /// Good until the rotation.
    pub(crate) first: String,
    /// Good after it.
    pub(crate) second: String,
}

impl Tokens {
    /// New ones.
    pub(crate) fn new() -> Self {
        let token = |name: &str| format!("{name}_{}{}", random_hex(), random_hex());
        Self {
            first: token("first"),
            second: token("second"),
        }
    }

    /// What the registry wants to see before the rotation.
    pub(crate) fn first_authorization(&self) -> String {
        basic(USERNAME, &self.first)
    }

    /// And after it.
    pub(crate) fn second_authorization(&self) -> String {
        basic(USERNAME, &self.second)
    }

    /// What a request brought, without saying it.
    pub(crate) fn name_in(&self, visit: &Visit) -> &'static str {
        match visit.authorization.as_deref() {
            None => "no Authorization",
            Some(value) if value == self.first_authorization() => "Basic $TOKEN",
            Some(value) if value == self.second_authorization() => "Basic $NEW_TOKEN",
            Some(_) => "something else",
        }
    }
}

/// Random enough for a registry that lives for a minute, and in the standard library.
fn random_hex() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
