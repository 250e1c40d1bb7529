//! Signed grants: grants that any daemon with the same key verifies, without shared state.
//!
//! A signed grant is a JSON Web Token of our own: Ed25519, the type `regauth-grant`, and the terms as claims. It names each
//! registry with the [digest](crate::registry::Registry::digest) of its scopes, so that it never opens a later registry of that name. A list
//! of ids in a file revokes grants. Each daemon looks at the file twice a second.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
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

use crate::config::SignedGrantFiles;
use crate::file_stamp::FileStamp;
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
        let key = PrivatePkcs8KeyDer::from_pem_file(&files.key)
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
    pub(crate) async fn follow_file(&self, end: CancellationToken) {
        let mut last = None;
        loop {
            let file = self.file.clone();
            let read = tokio::task::spawn_blocking(move || (FileStamp::of(&file).ok(), read_revoked(&file))).await;
            if let Ok((stamp, read)) = read
                && (stamp.is_none() || stamp != last)
            {
                last = stamp;
                self.take(read);
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
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

/// List of revoked grants, as read from its file.
#[derive(Debug, Default, PartialEq, Eq)]
struct RevokedList {
    ids: HashSet<String>,
    /// First line without an id: a person meant to revoke a grant with it.
    problem: Option<String>,
}

/// Parses ids, one a line, in either case. Text after a blank or `#` is a comment.
fn parse_revoked(text: &str) -> RevokedList {
    let mut list = RevokedList::default();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        let word = line.split([' ', '\t', '#']).next().unwrap_or_default();
        match SignedGrants::parse_id(word) {
            Some(id) => {
                list.ids.insert(id);
            }
            None if line.is_empty() || line.starts_with('#') => {}
            None if list.problem.is_none() => {
                list.problem = Some(format!("line {} has no id of 16 hexadecimal digits", index + 1));
            }
            None => {}
        }
    }
    list
}

fn read_revoked(file: &PathBuf) -> io::Result<RevokedList> {
    if FileStamp::of(file).is_ok() && std::fs::metadata(file)?.len() > MAX_FILE_BYTES {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(parse_revoked(&std::fs::read_to_string(file)?))
}

/// Appends a line with one write: other daemons may append to the same file at the same time.
fn append_line(file: &Path, line: &str) -> io::Result<()> {
    FileStamp::of(file)?;
    let mut file = OpenOptions::new().read(true).append(true).open(file)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let separator = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{separator}{line}\n").as_bytes())?;
    file.sync_all()
}

/// Error of `signed-grants`.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {}", .0.display(), .1)]
pub struct InvalidSignedGrants(PathBuf, String);

const ISSUER: &str = "regauth";
const TYPE: &str = "regauth-grant";
const HEADER: &str = r#"{"alg":"EdDSA","typ":"regauth-grant"}"#;
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Grants that are remembered. One more works, and has limits of its own for each connection.
const MAX_SHOWN: usize = 10_000;

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::bearer::Bearer;
    use crate::config::Config;
    use crate::policy::Operation;
    use crate::registry::Registry;

    const CORP: &str = "https://corp.example/";

    fn grants(folder: &std::path::Path) -> SignedGrants {
        let key = Ed25519KeyPair::generate().unwrap();
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        std::fs::write(folder.join("key"), pem).unwrap();
        std::fs::write(folder.join("revoked"), "# none\n").unwrap();
        again(folder)
    }

    fn again(folder: &std::path::Path) -> SignedGrants {
        let files = SignedGrantFiles {
            key: folder.join("key"),
            revoked: folder.join("revoked"),
        };
        SignedGrants::read(&files).unwrap()
    }

    fn registry(scope: &str) -> Registry {
        let config = Config::read(&format!("registries.corp.scopes = [\"{scope}\"]\n")).unwrap();
        config.registries.into_values().next().unwrap()
    }

    fn create(grants: &SignedGrants, seconds: i64) -> (String, String) {
        let now = OffsetDateTime::now_utc();
        let registries = Some(BTreeMap::from([("corp".parse().unwrap(), registry(CORP).digest())]));
        let (grant, token) = grants
            .create(registries, false, now, now + time::Duration::seconds(seconds))
            .unwrap();
        (grant.terms.id.clone(), token)
    }

    #[test]
    fn another_daemon_with_the_key_verifies_a_grant_until_it_is_revoked_or_expires() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (grants(folder.path()), again(folder.path()));
        let (id, token) = create(&one, 60);
        let [corp, other]: [RegistryName; 2] = ["corp", "other"].map(|name| name.parse().unwrap());
        let grant = two.find(token.as_bytes()).unwrap();
        assert!(grant.covers(&corp, Operation::Read));
        assert!(!grant.covers(&corp, Operation::Write) && !grant.covers_registry(&other));
        assert!(
            Arc::ptr_eq(&grant, &two.find(token.as_bytes()).unwrap()),
            "bearers share it"
        );
        assert_eq!(SignedGrants::parse_id(&id.to_uppercase()), Some(id.clone()));
        assert_eq!(SignedGrants::parse_id("3f9a1c2e"), None);

        one.revoke(&id).unwrap();
        assert!(one.find(token.as_bytes()).is_none());
        two.take(read_revoked(&folder.path().join("revoked")));
        assert!(!grant.is_valid() && two.find(token.as_bytes()).is_none());
        assert!(
            again(folder.path()).find(token.as_bytes()).is_none(),
            "a new daemon reads the list"
        );
        assert!(one.find(create(&one, 0).1.as_bytes()).is_none(), "expired");
    }

    #[test]
    fn a_grant_opens_no_other_registry_of_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let grants = grants(folder.path());
        let bearer = Bearer::Grant(grants.find(create(&grants, 60).1.as_bytes()).unwrap());
        let name = "corp".parse().unwrap();
        let other = registry("https://other.example/");
        assert!(bearer.covers(&name, &registry(CORP), Operation::Read));
        assert!(!bearer.covers(&name, &other, Operation::Read) && !bearer.covers_registry(&name, &other));
        // A grant for all registries is for later ones, too.
        let now = OffsetDateTime::now_utc();
        let (every, _) = grants
            .create(None, false, now, now + time::Duration::seconds(60))
            .unwrap();
        assert!(Bearer::Grant(every).covers(&name, &other, Operation::Read));
        // A grant of a former release has no digests.
        let claims = format!(
            r#"{{"iss":"regauth","jti":"0123456789abcdef","iat":{0},"exp":{1},"registries":["corp"],"write":false}}"#,
            now.unix_timestamp(),
            now.unix_timestamp() + 60,
        );
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(grants.key.sign(signed.as_bytes()));
        assert!(grants.find(format!("{signed}.{signature}").as_bytes()).is_none());
    }

    #[test]
    fn a_line_of_the_list_revokes_its_id_or_is_a_problem() {
        const ID: &str = "0123456789abcdef";
        for (text, ids, problem) in [
            ("", 0, None),
            ("# none\n\n  # indented\n", 0, None),
            (ID, 1, None),
            ("  0123456789abcdef\r\n", 1, None),
            ("\t0123456789ABCDEF # alice left\n", 1, None),
            ("0123456789abcdef alice left", 1, None),
            ("\u{feff}0123456789abcdef\n", 1, None),
            ("\"0123456789abcdef\"\n", 0, Some(1)),
            ("- 0123456789abcdef\n", 0, Some(1)),
            ("# list\n0123456789abcde\n0123456789abcdef\nx\n", 1, Some(2)),
            ("0123456789abcdef,fedcba9876543210", 0, Some(1)),
        ] {
            let list = parse_revoked(text);
            let expected = (ids == 1).then(|| ID.to_owned()).into_iter().collect();
            assert_eq!(list.ids, expected, "{text}");
            let problem = problem.map(|line| format!("line {line} has no id of 16 hexadecimal digits"));
            assert_eq!(list.problem, problem, "{text}");
        }
    }

    #[test]
    fn a_list_with_a_wrong_line_is_a_problem_from_the_start_until_it_is_corrected() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("revoked");
        grants(folder.path());
        std::fs::write(&file, "revoke everything\n").unwrap();
        let grants = again(folder.path());
        assert!(grants.problem().unwrap().starts_with("line 1"));
        std::fs::write(&file, "").unwrap();
        grants.take(read_revoked(&file));
        assert_eq!(grants.problem(), None);
    }

    #[test]
    fn revoking_adds_a_line_and_keeps_the_mode_and_the_lines_of_others() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("revoked");
        let grants = grants(folder.path());
        let id = create(&grants, 60).0;
        std::fs::write(&file, "fedcba9876543210 # another daemon").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
        grants.revoke(&id).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("fedcba9876543210 # another daemon\n{id}\n"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o664);
        std::fs::write(&file, "").unwrap();
        grants.revoke(&id).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{id}\n"));
    }

    #[test]
    fn daemons_that_revoke_at_the_same_time_lose_no_id() {
        let folder = tempfile::tempdir().unwrap();
        let daemons = [grants(folder.path()), again(folder.path())];
        std::thread::scope(|scope| {
            for (number, daemon) in daemons.iter().enumerate() {
                scope.spawn(move || (0..50).for_each(|id| daemon.revoke(&format!("{number:08x}{id:08x}")).unwrap()));
            }
        });
        let list = read_revoked(&folder.path().join("revoked")).unwrap();
        assert_eq!((list.ids.len(), list.problem), (100, None));
    }

    #[test]
    fn a_grant_that_this_daemon_has_revoked_stays_so_when_the_file_loses_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let grants = grants(folder.path());
        let (id, token) = create(&grants, 60);
        grants.revoke(&id).unwrap();
        grants.take(Ok(parse_revoked("")));
        assert!(grants.find(token.as_bytes()).is_none());
    }

    #[test]
    fn tokens_of_others_and_changed_ones_are_no_grants() {
        let [mine, theirs] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let [mine, theirs] = [&mine, &theirs].map(|folder| grants(folder.path()));
        let token = create(&mine, 60).1;
        assert!(theirs.find(token.as_bytes()).is_none());
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = head.split_once('.').unwrap();
        let wider = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let wider = URL_SAFE_NO_PAD.encode(wider.replace("false", "true"));
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"regauth-grant"}"#);
        let identity = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"JWT"}"#);
        for changed in [
            format!("{header}.{wider}.{signature}"),
            format!("{header}.{claims}."),
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            format!("{identity}.{claims}.{signature}"),
            String::new(),
            "..".to_owned(),
        ] {
            assert!(mine.find(changed.as_bytes()).is_none(), "{changed}");
        }
        assert!(mine.find(token.as_bytes()).is_some());
    }
}
