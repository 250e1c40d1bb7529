//! Grants: what lets a client in that is not the daemon's own user. Which registries, which operations, until when.
//!
//! A grant's token is 256 random bits and is told once; what is kept is its hash. Who presents one is found out in
//! [`crate::proxy::downstream::authenticate`]; making, listing and revoking is the control side's.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regauth_shared::RegistryName;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::policy::Operation;
use crate::schema::{Old, SchemaVersion, StateError};

/// One grant, shared by the connections of its bearers.
#[derive(Debug)]
pub struct Grant {
    /// As it is kept.
    pub terms: Terms,
    last_used: AtomicI64,
    revoked: CancellationToken,
}

/// What was granted, to the bearer of which token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What a person calls it by.
    pub id: String,
    /// SHA-256 of the token, base64url. A random token of 256 bits needs no slower hash.
    hash: String,
    /// The registries that it opens; absent for every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registries: Option<BTreeSet<RegistryName>>,
    /// Whether it opens writes.
    pub write: bool,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

impl Grant {
    /// A new grant and its token, which nobody can tell again.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn create(
        registries: Option<BTreeSet<RegistryName>>,
        write: bool,
        created: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> io::Result<(Self, String)> {
        let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let id: String = random::<4>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = hash(token.as_bytes());
        let terms = Terms {
            id,
            hash,
            registries,
            write,
            created,
            expires,
        };
        Ok((Self::from(terms), token))
    }

    /// Whether it opens this operation on this registry, now.
    pub fn covers(&self, registry: &RegistryName, operation: Operation) -> bool {
        self.opens(registry) && (operation == Operation::Read || self.terms.write)
    }

    /// Whether it opens this registry at all, now.
    pub fn opens(&self, registry: &RegistryName) -> bool {
        (self.terms.registries.is_none() || self.names(registry)) && self.is_alive(OffsetDateTime::now_utc())
    }

    /// Whether this is one of those it was made for.
    pub fn names(&self, registry: &RegistryName) -> bool {
        self.terms
            .registries
            .as_ref()
            .is_some_and(|registries| registries.contains(registry))
    }

    /// Whether it is neither over nor revoked.
    pub fn is_alive(&self, now: OffsetDateTime) -> bool {
        now < self.terms.expires && !self.revoked.is_cancelled()
    }

    /// Ends what its bearers are doing.
    pub fn revoke(&self) {
        self.revoked.cancel();
    }

    /// Waits until it is over or revoked.
    pub async fn over(&self) {
        tokio::select! {
            () = self.revoked.cancelled() => {}
            () = self.expired() => {}
        }
    }

    async fn expired(&self) {
        loop {
            let left = self.terms.expires - OffsetDateTime::now_utc();
            match Duration::try_from(left) {
                // Looked at again and again, since a clock may be set and a machine may sleep.
                Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK)).await,
                _ => return,
            }
        }
    }

    /// When a client last came with it.
    pub fn last_used(&self) -> Option<OffsetDateTime> {
        let seconds = self.last_used.load(Ordering::Relaxed);
        (seconds != 0)
            .then(|| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .flatten()
    }
}

impl From<Terms> for Grant {
    fn from(terms: Terms) -> Self {
        Self {
            terms,
            last_used: AtomicI64::new(0),
            revoked: CancellationToken::new(),
        }
    }
}

/// All grants. Never changed: the control side puts another in its place.
#[derive(Clone, Debug, Default)]
pub struct Grants(Vec<Arc<Grant>>);

impl Grants {
    /// Reads the file; a missing one holds none. What was of an older form comes with it.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be read, is damaged, or is from a newer release.
    pub fn read(file: &Path) -> Result<(Self, Option<Old>), StateError> {
        let (kept, old) = FORM.read::<Kept>(file)?;
        let kept = kept.unwrap_or_default().grants.into_iter();
        Ok((Self(kept.map(|terms| Arc::new(terms.into())).collect()), old))
    }

    /// Writes the file; a kill leaves the old one or the new one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let grants = self.0.iter().map(|grant| grant.terms.clone()).collect();
        FORM.write(file, &Kept { grants })
    }

    /// Those that are alive, oldest first.
    pub fn alive(&self) -> impl Iterator<Item = &Arc<Grant>> {
        let now = OffsetDateTime::now_utc();
        self.0.iter().filter(move |grant| grant.is_alive(now))
    }

    /// The living and one more.
    #[must_use]
    pub fn with(&self, grant: Arc<Grant>) -> Self {
        Self(self.alive().cloned().chain([grant]).collect())
    }

    /// The living but for one.
    #[must_use]
    pub fn without(&self, id: &str) -> Self {
        Self(self.alive().filter(|grant| grant.terms.id != id).cloned().collect())
    }

    /// The living grant whose token this is. How long it takes does not depend on how near the token is to one.
    pub fn of(&self, token: &[u8]) -> Option<Arc<Grant>> {
        let presented = hash(token);
        let same =
            |grant: &&Arc<Grant>| verify_slices_are_equal(grant.terms.hash.as_bytes(), presented.as_bytes()).is_ok();
        let found = self.alive().find(same)?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        found.last_used.store(now, Ordering::Relaxed);
        Some(Arc::clone(found))
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    grants: Vec<Terms>,
}

fn hash(token: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token))
}

fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}

const LOOK: Duration = Duration::from_secs(10);
const FORM: SchemaVersion = SchemaVersion {
    // The second form names the release that wrote it, and is otherwise the first.
    steps: &[|_| {}],
    without: "grants must be made again",
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn grant(registries: &[&str], write: bool, lasts: i64) -> (Arc<Grant>, String) {
        let registries = (!registries.is_empty()).then(|| {
            registries
                .iter()
                .map(|name| name.parse().unwrap())
                .collect::<BTreeSet<_>>()
        });
        let now = OffsetDateTime::now_utc();
        let (grant, token) = Grant::create(registries, write, now, now + time::Duration::seconds(lasts)).unwrap();
        (Arc::new(grant), token)
    }

    #[test]
    fn a_grant_is_found_by_its_token_until_it_is_over() {
        let [(corp, token), (over, old)] = [grant(&["corp"], false, 60), grant(&[], true, -1)];
        let grants = Grants::default().with(Arc::clone(&over)).with(Arc::clone(&corp));
        assert_eq!(grants.of(token.as_bytes()).unwrap().terms.id, corp.terms.id);
        for wrong in [
            old.as_str(),
            "",
            "x",
            &token[1..],
            &format!("{token}x"),
            &corp.terms.hash,
        ] {
            assert!(grants.of(wrong.as_bytes()).is_none(), "{wrong}");
        }
        corp.revoke();
        assert!(grants.of(token.as_bytes()).is_none());
        assert!(!corp.covers(&"corp".parse().unwrap(), Operation::Read));
    }

    #[test]
    fn a_grant_covers_what_it_names() {
        let [corp, other]: [RegistryName; 2] = ["corp", "other"].map(|name| name.parse().unwrap());
        let [(reads, _), (writes, _)] = [grant(&["corp"], false, 60), grant(&[], true, 60)];
        assert!(reads.covers(&corp, Operation::Read));
        assert!(!reads.covers(&corp, Operation::Write));
        assert!(!reads.covers(&other, Operation::Read));
        assert!(writes.covers(&other, Operation::Write));
    }

    #[test]
    fn grants_survive_on_disk_without_their_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("grants.json");
        assert_eq!(Grants::read(&file).unwrap().0.alive().count(), 0);
        let (corp, token) = grant(&["corp"], true, Duration::from_secs(60).as_secs() as i64);
        Grants::default().with(corp).write(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&token), "{text}");
        assert!(Grants::read(&file).unwrap().0.of(token.as_bytes()).unwrap().terms.write);
        std::fs::write(&file, r#"{"version":3,"grants":[]}"#).unwrap();
        assert!(Grants::read(&file).is_err());
    }
}
