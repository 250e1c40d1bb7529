//! Short salted digests of secrets: they tell two secrets apart and reveal neither.

use std::fmt;

use regauth_shared::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// Two bytes of a salted SHA-256. Enough to tell an old token from a new one, and too little to guess either.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(u16);

impl Fingerprint {
    /// Fingerprint of a secret that was or will be stored at `since`, which is the salt.
    pub(crate) fn of(secret: &Secret, since: OffsetDateTime) -> Self {
        let mut digest = Sha256::new();
        digest.update(since.unix_timestamp_nanos().to_be_bytes());
        digest.update(secret.expose());
        let [first, second, ..]: [u8; 32] = digest.finalize().into();
        Self(u16::from_be_bytes([first, second]))
    }
}

/// Generation that was in use when the daemon last stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownGeneration {
    /// Its number.
    pub number: u64,
    /// Time at which it was fetched.
    pub since: OffsetDateTime,
    /// Fingerprint of its secret, salted with `since`.
    pub fingerprint: Fingerprint,
}

impl KnownGeneration {
    /// True if `secret` is its secret.
    pub(crate) fn matches(&self, secret: &Secret) -> bool {
        self.fingerprint == Fingerprint::of(secret, self.since)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differs_by_secret_and_by_time() {
        let [one, two] = ["one", "two"].map(|text| Secret::parse(text).unwrap());
        let now = OffsetDateTime::UNIX_EPOCH;
        let later = now + std::time::Duration::from_nanos(1);
        assert_eq!(Fingerprint::of(&one, now), Fingerprint::of(&one, now));
        assert_ne!(Fingerprint::of(&one, now), Fingerprint::of(&two, now));
        assert_ne!(Fingerprint::of(&one, now), Fingerprint::of(&one, later));
    }
}
