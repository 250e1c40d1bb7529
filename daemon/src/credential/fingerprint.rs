//! Tells two secrets apart without keeping either.

use std::fmt;

use regauth_shared::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// Two bytes of a salted SHA-256: enough to tell the old token from the new one, and no use for guessing either.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(u16);

impl Fingerprint {
    /// The mark of a secret that is or was about to be stored at `since`.
    pub fn of(secret: &Secret, since: OffsetDateTime) -> Self {
        let mut digest = Sha256::new();
        digest.update(since.unix_timestamp_nanos().to_be_bytes());
        digest.update(secret.expose());
        let [first, second, ..]: [u8; 32] = digest.finalize().into();
        Self(u16::from_be_bytes([first, second]))
    }
}

/// A generation that was in use before the daemon's last end.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its number.
    pub number: u64,
    /// When it came from its source.
    pub since: OffsetDateTime,
    /// Its secret's, at that time.
    pub mark: Fingerprint,
}

impl Known {
    /// Whether this is its secret.
    pub fn is(&self, secret: &Secret) -> bool {
        self.mark == Fingerprint::of(secret, self.since)
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
    fn differs_by_secret_and_by_moment() {
        let [one, two] = ["one", "two"].map(|text| Secret::parse(text).unwrap());
        let now = OffsetDateTime::UNIX_EPOCH;
        let later = now + std::time::Duration::from_nanos(1);
        assert_eq!(Fingerprint::of(&one, now), Fingerprint::of(&one, now));
        assert_ne!(Fingerprint::of(&one, now), Fingerprint::of(&two, now));
        assert_ne!(Fingerprint::of(&one, now), Fingerprint::of(&one, later));
    }
}
