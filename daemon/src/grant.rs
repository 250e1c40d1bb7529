//! Grants: capabilities for clients of other users, containers and machines. A grant names registries, operations and
//! an expiry time.
//!
//! The token of a grant is 256 random bits, and is shown once. The file keeps its SHA-256.
//! `proxy::downstream::authenticate` finds the grant of a client; the control side creates, lists and revokes
//! grants.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regauth_shared::RegistryName;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::deadline::Deadline;
use crate::policy::Operation;
use crate::registry::Registry;
use crate::schema::{OutdatedFile, SchemaVersion, StateError};

/// Grant, shared by the connections of its bearers.
#[derive(Debug)]
pub struct Grant {
    /// Terms, as the file keeps them.
    pub terms: Terms,
    /// Digests of the registries that a signed grant names. The grant of a file ends with its registry instead.
    bound: BTreeMap<RegistryName, String>,
    deadline: Deadline,
    last_used: AtomicI64,
    revoked: CancellationToken,
    /// True once its expiry was announced.
    expiry_is_known: AtomicBool,
}

/// Terms of a grant, and the hash of its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Identifier for people: 8 hexadecimal digits.
    pub id: String,
    /// SHA-256 of the token in base64url. A random token of 256 bits needs no slower hash.
    hash: String,
    /// Registries that the grant covers. `None`: every registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registries: Option<BTreeSet<RegistryName>>,
    /// True if the grant covers writes.
    pub write: bool,
    /// Creation time.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// Expiry time.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

impl Grant {
    /// Creates a grant and its token, which cannot be shown again.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn create(
        registries: Option<BTreeSet<RegistryName>>,
        write: bool,
        created: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> io::Result<(Self, String)> {
        let token = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let id = new_id::<4>()?;
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

    /// A grant whose token carries these terms, with the digests of its registries. No file has it.
    pub(crate) fn signed(
        id: String,
        registries: Option<BTreeMap<RegistryName, String>>,
        write: bool,
        created: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Self {
        let terms = Terms {
            id,
            hash: String::new(),
            registries: registries
                .as_ref()
                .map(|registries| registries.keys().cloned().collect()),
            write,
            created,
            expires,
        };
        Self {
            bound: registries.unwrap_or_default(),
            ..Self::from(terms)
        }
    }

    /// True unless the grant was made for another registry of this name.
    pub(crate) fn fits(&self, name: &RegistryName, registry: &Registry) -> bool {
        self.bound.get(name).is_none_or(|digest| *digest == registry.digest())
    }

    /// Notes that a client has presented the token.
    pub(crate) fn note_use(&self) {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.last_used.store(now, Ordering::Relaxed);
    }

    /// Does the grant cover this operation on this registry now?
    pub fn covers(&self, registry: &RegistryName, operation: Operation) -> bool {
        self.covers_registry(registry) && (operation == Operation::Read || self.terms.write)
    }

    /// Does the grant cover any operation on this registry now?
    pub fn covers_registry(&self, registry: &RegistryName) -> bool {
        (self.terms.registries.is_none() || self.names(registry)) && self.is_valid()
    }

    /// Does the grant name this registry?
    pub fn names(&self, registry: &RegistryName) -> bool {
        self.terms
            .registries
            .as_ref()
            .is_some_and(|registries| registries.contains(registry))
    }

    /// Is the grant neither expired nor revoked?
    pub fn is_valid(&self) -> bool {
        !self.deadline.has_passed() && !self.revoked.is_cancelled()
    }

    /// Revokes the grant and ends the connections of its bearers.
    pub fn revoke(&self) {
        self.revoked.cancel();
    }

    /// True at the first call after the grant has expired without having been revoked.
    fn take_expiry(&self) -> bool {
        let has_expired = self.deadline.has_passed() && !self.revoked.is_cancelled();
        has_expired && !self.expiry_is_known.swap(true, Ordering::Relaxed)
    }

    /// Waits until the grant expires or is revoked.
    pub async fn ended(&self) {
        tokio::select! {
            () = self.revoked.cancelled() => {}
            () = self.deadline.passed() => {}
        }
    }

    /// Time when a client last presented the token, in whole seconds.
    pub fn last_used(&self) -> Option<OffsetDateTime> {
        let seconds = self.last_used.load(Ordering::Relaxed);
        (seconds != 0)
            .then(|| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .flatten()
    }
}

impl From<Terms> for Grant {
    fn from(terms: Terms) -> Self {
        let lifetime = Duration::try_from(terms.expires - terms.created).unwrap_or_default();
        let deadline = Deadline::at(terms.expires, lifetime);
        Self {
            // The end of a grant that a file brings is no news.
            expiry_is_known: AtomicBool::new(deadline.has_passed()),
            deadline,
            terms,
            bound: BTreeMap::new(),
            last_used: AtomicI64::new(0),
            revoked: CancellationToken::new(),
        }
    }
}

/// Immutable set of grants. The control side replaces it as a whole.
#[derive(Clone, Debug, Default)]
pub struct Grants(Vec<Arc<Grant>>);

impl Grants {
    /// Reads the file; a missing file has no grants. The second value is the file's old text if it was migrated.
    ///
    /// # Errors
    /// [`StateError`] if the file cannot be read, is damaged, or is of a newer release.
    pub fn read(file: &Path) -> Result<(Self, Option<OutdatedFile>), StateError> {
        let (content, outdated) = SCHEMA.read::<GrantsFile>(file)?;
        let grants = content.unwrap_or_default().grants.into_iter();
        Ok((Self(grants.map(|terms| Arc::new(terms.into())).collect()), outdated))
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let grants = self.0.iter().map(|grant| grant.terms.clone()).collect();
        SCHEMA.write(file, &GrantsFile { grants })
    }

    /// Valid grants, oldest first.
    pub fn valid(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.0.iter().filter(|grant| grant.is_valid())
    }

    /// Grants that have expired since the last call.
    pub fn take_expired(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.0.iter().filter(|grant| grant.take_expiry())
    }

    /// Set of the valid grants and one more.
    #[must_use]
    pub fn with(&self, grant: Arc<Grant>) -> Self {
        Self(self.valid().cloned().chain([grant]).collect())
    }

    /// Set of the valid grants except one.
    #[must_use]
    pub fn without(&self, id: &str) -> Self {
        Self(self.valid().filter(|grant| grant.terms.id != id).cloned().collect())
    }

    /// Valid grant with this token. Hashes are compared in constant time.
    pub fn find_by_token(&self, token: &[u8]) -> Option<Arc<Grant>> {
        let presented = hash(token);
        let same =
            |grant: &&Arc<Grant>| verify_slices_are_equal(grant.terms.hash.as_bytes(), presented.as_bytes()).is_ok();
        let found = self.valid().find(same)?;
        found.note_use();
        Some(Arc::clone(found))
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantsFile {
    grants: Vec<Terms>,
}

/// Random identifier: two hexadecimal digits a byte.
pub(crate) fn new_id<const LENGTH: usize>() -> io::Result<String> {
    Ok(random::<LENGTH>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(token: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token))
}

fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}

const SCHEMA: SchemaVersion = SchemaVersion {
    // Version 2 added the release, which is outside the content.
    migrations: &[|_| {}],
    if_lost: "grants must be made again",
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
    fn finds_a_grant_by_its_token_until_it_expires_or_is_revoked() {
        let [(corp, token), (expired, expired_token)] = [grant(&["corp"], false, 60), grant(&[], true, -1)];
        let grants = Grants::default().with(Arc::clone(&expired)).with(Arc::clone(&corp));
        assert_eq!(grants.find_by_token(token.as_bytes()).unwrap().terms.id, corp.terms.id);
        for wrong in [
            expired_token.as_str(),
            "",
            "x",
            &token[1..],
            &format!("{token}x"),
            &corp.terms.hash,
        ] {
            assert!(grants.find_by_token(wrong.as_bytes()).is_none(), "{wrong}");
        }
        corp.revoke();
        assert!(grants.find_by_token(token.as_bytes()).is_none());
        assert!(!corp.covers(&"corp".parse().unwrap(), Operation::Read));
    }

    #[test]
    fn a_grant_covers_only_its_registries_and_operations() {
        let [corp, other]: [RegistryName; 2] = ["corp", "other"].map(|name| name.parse().unwrap());
        let [(reads, _), (writes, _)] = [grant(&["corp"], false, 60), grant(&[], true, 60)];
        assert!(reads.covers(&corp, Operation::Read));
        assert!(!reads.covers(&corp, Operation::Write));
        assert!(!reads.covers(&other, Operation::Read));
        assert!(writes.covers(&other, Operation::Write));
    }

    #[test]
    fn the_file_keeps_grants_without_their_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("grants.json");
        assert_eq!(Grants::read(&file).unwrap().0.valid().count(), 0);
        let (corp, token) = grant(&["corp"], true, Duration::from_secs(60).as_secs() as i64);
        Grants::default().with(corp).write(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&token), "{text}");
        assert!(
            Grants::read(&file)
                .unwrap()
                .0
                .find_by_token(token.as_bytes())
                .unwrap()
                .terms
                .write
        );
        std::fs::write(&file, r#"{"version":3,"grants":[]}"#).unwrap();
        assert!(Grants::read(&file).is_err());
    }
}
