//! The registry's two tokens, new for every run, and the shell variables that stand for them in the output.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::registry::{RecordedRequest, basic};

/// User name for the registry.
pub(crate) const USERNAME: &str = "me@corp.example";

/// Shell variable that stands for the first token in printed commands.
pub(crate) const FIRST_VARIABLE: &str = "TOKEN";

/// Shell variable that stands for the second token in printed commands.
pub(crate) const SECOND_VARIABLE: &str = "NEW_TOKEN";

/// Two random tokens, unlike any other text on the disk.
pub(crate) struct Tokens {
    /// Token before the rotation.
    pub(crate) first: String,
    /// Token after the rotation.
    pub(crate) second: String,
}

impl Tokens {
    /// Generates two tokens.
    pub(crate) fn generate() -> Self {
        let token = |name: &str| format!("{name}_{}{}", random_hex(), random_hex());
        Self {
            first: token("first"),
            second: token("second"),
        }
    }

    /// `Authorization` that the registry accepts before the rotation.
    pub(crate) fn first_authorization(&self) -> String {
        basic(USERNAME, &self.first)
    }

    /// `Authorization` that the registry accepts after the rotation.
    pub(crate) fn second_authorization(&self) -> String {
        basic(USERNAME, &self.second)
    }

    /// Describes the credential of a request without printing it.
    pub(crate) fn describe_credential(&self, request: &RecordedRequest) -> &'static str {
        match request.authorization.as_deref() {
            None => "no Authorization",
            Some(value) if value == self.first_authorization() => "Basic $TOKEN",
            Some(value) if value == self.second_authorization() => "Basic $NEW_TOKEN",
            Some(_) => "unknown credential",
        }
    }
}

/// Random digits from the standard library. They suffice for a registry that runs for a minute.
fn random_hex() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
