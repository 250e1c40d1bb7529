//! Signed grants: grants that any daemon with the same key verifies, without shared state.
//!
//! A signed grant is a JSON Web Token of our own: Ed25519, the type `regauth-grant`, and the terms as claims. It names each
//! registry with a [digest](crate::registry::Registry::digest) of its scopes, so that it opens no later registry of that
//! name. A list of ids in a file revokes grants. Each daemon looks at the file twice a second.

mod revoked_list;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regauth_shared::RegistryName;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use self::revoked_list::{RevokedList, append_line, read_revoked};
use crate::config::SignedGrantFiles;
use crate::configured_file::{self, MAX_KEY};
use crate::file_watch::{FileWatch, FileWatcher};
use crate::grant::{self, Grant};
use crate::workload::own_token;

/// Key of the signed grants, and those that were revoked.
#[derive(Debug)]
pub struct SignedGrants {
    key: Ed25519KeyPair,
    file: PathBuf,
    revoked: ArcSwap<HashSet<String>>,
    /// Ids that this process has revoked. No later read of the file restores their grants. The lock also orders changes of
    /// `revoked`.
    revoked_here: Mutex<HashSet<String>>,
    /// Error of the last read of the file, while the earlier list counts.
    problem: ArcSwap<Option<String>>,
    /// Grants that were shown lately, by id: all bearers of one share it.
    shown: Mutex<HashMap<String, Arc<Grant>>>,
}

/// Terms as the token carries them.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    jti: String,
    iat: i64,
    exp: i64,
    /// Digest of each registry. `None`: every registry, also a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registries: Option<BTreeMap<RegistryName, String>>,
    write: bool,
}

impl SignedGrants {
    /// Reads the key and the list of revoked grants.
    ///
    /// # Errors
    /// [`InvalidSignedGrants`] when a file cannot be read, or the key is none for Ed25519.
    pub fn read(files: &SignedGrantFiles) -> Result<Self, InvalidSignedGrants> {
        let unusable = |path: &PathBuf, reason: String| InvalidSignedGrants(path.clone(), reason);
        let key =
            configured_file::read(&files.key, MAX_KEY).map_err(|error| unusable(&files.key, error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&key)
            .map_err(|_| unusable(&files.key, "it is no private key in PEM (PKCS #8)".to_owned()))?;
        let key = Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der())
            .map_err(|_| unusable(&files.key, "it is no key for Ed25519".to_owned()))?;
        let list = read_revoked(&files.revoked).map_err(|error| unusable(&files.revoked, error.to_string()))?;
        let grants = Self {
            key,
            file: files.revoked.clone(),
            revoked: ArcSwap::default(),
            revoked_here: Mutex::default(),
            problem: ArcSwap::default(),
            shown: Mutex::default(),
        };
        grants.take(Ok(list));
        Ok(grants)
    }

    /// Creates a grant for registries with these digests, and its token, which cannot be shown again.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn create(
        &self,
        registries: Option<BTreeMap<RegistryName, String>>,
        write: bool,
        created: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> io::Result<(Arc<Grant>, String)> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            jti: grant::new_id::<8>()?,
            iat: created.unix_timestamp(),
            exp: expires.unix_timestamp(),
            registries,
            write,
        };
        let text = serde_json::to_string(&claims).map_err(io::Error::other)?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(text));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        Ok((Arc::new(grant_of(claims)), format!("{signed}.{signature}")))
    }

    /// Grant of a token that this key has signed; `None` for any other, and once it has ended.
    pub(crate) fn find(&self, token: &[u8]) -> Option<Arc<Grant>> {
        let claims = own_token(token, TYPE, self.key.public_key().as_ref())?;
        let claims: Claims = serde_json::from_value(claims).ok()?;
        if claims.iss != ISSUER || self.revoked.load().contains(&claims.jti) {
            return None;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len() >= MAX_SHOWN {
            shown.retain(|_, grant| grant.is_valid());
        }
        let id = claims.jti.clone();
        let known = shown.get(&id).cloned();
        let grant = known.unwrap_or_else(|| Arc::new(grant_of(claims)));
        if !grant.is_valid() {
            return None;
        }
        grant.note_use();
        if shown.len() < MAX_SHOWN {
            shown.insert(id, Arc::clone(&grant));
        }
        drop(shown);
        // It may have been revoked meanwhile.
        if self.revoked.load().contains(&grant.terms.id) {
            grant.revoke();
        }
        grant.is_valid().then_some(grant)
    }

    /// Adds a grant to the list of revoked ones, and ends the connections of its bearers here. Other daemons follow the file.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(crate) fn revoke(&self, id: &str) -> io::Result<()> {
        append_line(&self.file, id)?;
        let mut revoked_here = self.revoked_here.lock().unwrap_or_else(PoisonError::into_inner);
        revoked_here.insert(id.to_owned());
        let mut revoked = HashSet::clone(&self.revoked.load());
        revoked.insert(id.to_owned());
        self.replace(revoked);
        drop(revoked_here);
        Ok(())
    }

    /// File with the ids of revoked grants.
    pub(crate) fn file(&self) -> &PathBuf {
        &self.file
    }

    /// Id of a signed grant, in lower case. `None` for any other text: ids of other grants are shorter.
    pub(crate) fn parse_id(text: &str) -> Option<String> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| text.to_ascii_lowercase())
    }

    /// Error of the last read of the list, or its first line without an id.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.load().as_ref().clone()
    }

    /// Reads the list again whenever its file changes, until `end` is cancelled.
    pub(crate) async fn follow_file(&self, watcher: &Arc<FileWatcher>, end: CancellationToken) {
        let mut watch = FileWatch::new(watcher, [self.file.clone()]);
        let mut last = None;
        loop {
            let [stamp] = watch.look().await;
            let file = self.file.clone();
            if (stamp.is_none() || stamp != last)
                && let Ok(read) = tokio::task::spawn_blocking(move || read_revoked(&file)).await
            {
                last = stamp;
                self.take(read);
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = watch.until_look(CHECK_INTERVAL) => {}
            }
        }
    }

    fn take(&self, read: io::Result<RevokedList>) {
        let problem = match read {
            Ok(mut list) => {
                let revoked_here = self.revoked_here.lock().unwrap_or_else(PoisonError::into_inner);
                list.ids.extend(revoked_here.iter().cloned());
                self.replace(list.ids);
                drop(revoked_here);
                list.problem
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &problem
            && self.problem.load().as_ref().as_ref() != Some(error)
        {
            tracing::warn!(file = %self.file.display(), error, "could not read the list of revoked grants");
        }
        self.problem.store(Arc::new(problem));
    }

    /// Puts a list in service. The caller holds `revoked_here`.
    fn replace(&self, revoked: HashSet<String>) {
        self.revoked.store(Arc::new(revoked));
        let revoked = self.revoked.load();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|id, grant| {
            if revoked.contains(id) {
                grant.revoke();
            }
            grant.is_valid()
        });
    }
}

fn grant_of(claims: Claims) -> Grant {
    let time = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Grant::signed(
        claims.jti,
        claims.registries,
        claims.write,
        time(claims.iat),
        time(claims.exp),
    )
}

/// Error of `signed-grants`.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {}", .0.display(), .1)]
pub struct InvalidSignedGrants(PathBuf, String);

const ISSUER: &str = "regauth";
const TYPE: &str = "regauth-grant";
const HEADER: &str = r#"{"alg":"EdDSA","typ":"regauth-grant"}"#;
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Grants that are remembered. One more works, and has limits of its own for each connection.
const MAX_SHOWN: usize = 10_000;

#[cfg(test)]
mod tests;
