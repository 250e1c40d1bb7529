//! The vault: secrets in one encrypted file, for machines without a keychain.
//!
//! The file has age's format around a JSON map from an item's name to its secret; `age -d -i IDENTITY vault.age` opens
//! it. Its key is an age identity: a file beside it, a credential of systemd, or a file under a passphrase
//! ([`VaultKey`]). With the key beside it, the vault protects against backups without the key and against other users,
//! but not against this user's programs.

mod error;
mod key;
mod key_file;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use age::DecryptError;
use regauth_shared::Secret;
use regauth_shared::paths::Folders;
use zeroize::Zeroizing;

use self::error::VaultError;
use self::key::{Key, UnsealError};
use self::key_file::{parse_key, read_if_exists, read_private_key, unseal};
use super::{Item, Store, StoreError};
use crate::atomic;

/// Kind and path of the vault's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultKey {
    /// An identity file that only its owner can read. The first write creates it.
    File(PathBuf),
    /// An identity file that systemd provides (`LoadCredentialEncrypted=vault-identity`).
    Credential(PathBuf),
    /// An identity file under a passphrase, which [`Store::unlock`] takes.
    Passphrase(PathBuf),
}

impl VaultKey {
    /// The key in use: the one under a passphrase if it exists, else systemd's, else the plain file.
    /// `credentials` is systemd's `CREDENTIALS_DIRECTORY`.
    pub fn find(folders: &Folders, credentials: Option<&Path>) -> Self {
        let sealed = folders.vault_identity_sealed();
        if sealed.exists() {
            return Self::Passphrase(sealed);
        }
        let credential = credentials.map(|folder| folder.join(CREDENTIAL));
        match credential {
            Some(path) if path.exists() => Self::Credential(path),
            _ => Self::File(folders.vault_identity()),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Credential(path) | Self::Passphrase(path) => path,
        }
    }
}

/// A new identity file, for a key that is not kept beside the vault.
pub fn new_identity() -> Zeroizing<String> {
    Key::generate().to_text()
}

/// A [`Store`] in an age file.
pub struct VaultStore {
    folders: Folders,
    source: VaultKey,
    /// Present after it has been read or unlocked.
    key: Option<Key>,
    /// The file as it was last decrypted, until no call has come for a while. A start reads an item for each registry.
    decrypted: Option<Decrypted>,
    work_factor: u8,
}

type Secrets = BTreeMap<String, Secret>;

/// Content of the file.
struct Decrypted {
    /// Its bytes.
    bytes: Vec<u8>,
    /// The secrets in it.
    secrets: Secrets,
}

impl VaultStore {
    /// The vault in these folders. Opens nothing; a vault under a passphrase is locked.
    pub fn new(folders: &Folders, credentials: Option<&Path>) -> Self {
        Self {
            folders: folders.clone(),
            source: VaultKey::find(folders, credentials),
            key: None,
            decrypted: None,
            work_factor: WORK_FACTOR,
        }
    }

    /// Encrypts the vault for a new key, and keeps that key under `passphrase` only. The old key, or a copy of it, opens
    /// no later vault.
    ///
    /// At first both keys open the vault, so a kill at any moment leaves one that opens: before the new key's file is
    /// written with the old key, and then with the new one. The next unlock finishes the rest ([`Self::drop_old_key`]).
    ///
    /// The old files' blocks may survive on the disk.
    ///
    /// The caller has verified the present passphrase.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if the vault is locked, [`StoreError::Refused`] if the key is systemd's,
    /// [`StoreError::Failed`] if the files cannot be written.
    fn put_under(&mut self, passphrase: &Secret) -> Result<(), StoreError> {
        if let VaultKey::Credential(path) = &self.source {
            return Err(StoreError::Refused(VaultError::NotOurs(path.clone()).to_string()));
        }
        self.secrets()?;
        let path = self.folders.vault_identity_sealed();
        let key = Key::generate();
        let sealed = key
            .seal(passphrase, self.work_factor)
            .map_err(|error| VaultError::Encrypt(error.to_string()))?;
        // This is about to become the only copy of the key.
        let opened = Key::unseal(&sealed, passphrase).map_err(|error| VaultError::Sealed(path.clone(), error))?;
        if opened != key {
            return Err(VaultError::Sealed(path, UnsealError::NoKey).into());
        }
        let _writing = lock_writes();
        if let Some(old) = self.load_key()? {
            self.encrypt_again(&[&old, &key])?;
        }
        atomic::write(&path, &sealed, PRIVATE).map_err(|error| VaultError::Write(path.clone(), error))?;
        let old = self.key.replace(key);
        self.source = VaultKey::Passphrase(path);
        if let Some(old) = old {
            self.remove_plain_file(&old)?;
            self.encrypt_again(&[])?;
        }
        Ok(())
    }

    /// Encrypts the vault for these keys, or for the key in use alone. The caller holds the lock on writes.
    fn encrypt_again(&mut self, keys: &[&Key]) -> Result<(), StoreError> {
        if !self.folders.vault().exists() {
            return Ok(());
        }
        let secrets = self.secrets()?.clone();
        self.save(&secrets, keys)
    }

    fn save(&mut self, secrets: &Secrets, keys: &[&Key]) -> Result<(), StoreError> {
        let plain = to_json(secrets).map_err(|error| VaultError::Encrypt(error.to_string()))?;
        let own = self.load_or_create_key()?;
        let keys = if keys.is_empty() { &[&own] } else { keys };
        let bytes = Key::encrypt(keys, &plain).map_err(|error| VaultError::Encrypt(error.to_string()))?;
        let path = self.folders.vault();
        Ok(atomic::write(&path, &bytes, PRIVATE).map_err(|error| VaultError::Write(path, error))?)
    }

    fn secrets(&mut self) -> Result<&Secrets, StoreError> {
        static NONE: Secrets = Secrets::new();
        let path = self.folders.vault();
        match (self.load_key()?, read_if_exists(&path)?) {
            (_, None) => Ok(&NONE),
            (None, Some(_)) => Err(VaultError::KeyMissing {
                vault: path,
                key: self.source.path().to_path_buf(),
            }
            .into()),
            (Some(key), Some(bytes)) => {
                let known = self.decrypted.take().filter(|decrypted| decrypted.bytes == bytes);
                let decrypted = match known {
                    Some(decrypted) => decrypted,
                    None => {
                        let plain = key.decrypt(&bytes).map_err(|error| self.unopened(error))?;
                        let secrets = from_json(&plain).map_err(|place| VaultError::Damaged(path, place))?;
                        Decrypted { bytes, secrets }
                    }
                };
                Ok(&self.decrypted.insert(decrypted).secrets)
            }
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Secrets)) -> Result<(), StoreError> {
        let _writing = lock_writes();
        let mut secrets = self.secrets()?.clone();
        change(&mut secrets);
        self.save(&secrets, &[])
    }

    /// The key; `None` if it is a plain file that does not exist yet.
    fn load_key(&mut self) -> Result<Option<Key>, StoreError> {
        if self.key.is_none() {
            self.key = match &self.source {
                VaultKey::Passphrase(_) => return Err(StoreError::Locked),
                // systemd's access list shows as group bits, so the mode is not checked.
                VaultKey::Credential(path) => Some(parse_key(path, File::open(path))?),
                VaultKey::File(path) => read_private_key(path)?,
            };
        }
        Ok(self.key.clone())
    }

    fn load_or_create_key(&mut self) -> Result<Key, StoreError> {
        if let Some(key) = self.load_key()? {
            return Ok(key);
        }
        let (path, vault) = (self.folders.vault_identity(), self.folders.vault());
        if vault.exists() {
            return Err(VaultError::KeyMissing { vault, key: path }.into());
        }
        let key = Key::generate();
        atomic::create(&path, key.to_text().as_bytes(), PRIVATE).map_err(|error| VaultError::Write(path, error))?;
        self.key = Some(key.clone());
        Ok(key)
    }

    fn unopened(&self, error: DecryptError) -> VaultError {
        let vault = self.folders.vault();
        match error {
            DecryptError::NoMatchingKeys => VaultError::WrongKey {
                vault,
                key: self.source.path().to_path_buf(),
            },
            error => VaultError::Damaged(vault, error.to_string()),
        }
    }

    /// Finishes a change of keys that a kill has cut short ([`Self::put_under`]): removes the old key's plain file, and
    /// encrypts the vault for the key in use alone.
    fn drop_old_key(&mut self) -> Result<(), StoreError> {
        let _writing = lock_writes();
        let Some(vault) = read_if_exists(&self.folders.vault())? else {
            return Ok(());
        };
        // A plain key that does not open this vault is another vault's, and stays.
        if let Ok(Some(plain)) = read_private_key(&self.folders.vault_identity())
            && plain.decrypt(&vault).is_ok()
        {
            self.remove_plain_file(&plain)?;
        }
        if key::recipients(&vault) > 1 {
            self.encrypt_again(&[])?;
        }
        Ok(())
    }

    /// Removes the plain file if it holds `key`.
    fn remove_plain_file(&self, key: &Key) -> Result<(), VaultError> {
        let plain = self.folders.vault_identity();
        if read_private_key(&plain)?.as_ref() != Some(key) {
            return Ok(());
        }
        atomic::remove(&plain).map_err(|error| VaultError::Write(plain, error))
    }
}

impl Store for VaultStore {
    fn read(&mut self, item: &Item) -> Result<Option<Secret>, StoreError> {
        Ok(self.secrets()?.get(&item.to_string()).cloned())
    }

    fn write(&mut self, item: &Item, secret: &Secret) -> Result<(), StoreError> {
        self.change(|secrets| {
            secrets.insert(item.to_string(), secret.clone());
        })
    }

    fn delete(&mut self, item: &Item) -> Result<(), StoreError> {
        if self.read(item)?.is_none() {
            return Ok(());
        }
        self.change(|secrets| {
            secrets.remove(&item.to_string());
        })
    }

    fn unlock(&mut self, passphrase: Option<&Secret>) -> Result<(), StoreError> {
        let VaultKey::Passphrase(path) = &self.source else {
            return Ok(());
        };
        if self.key.is_some() {
            return Ok(());
        }
        self.key = Some(unseal(path, passphrase.ok_or(StoreError::Locked)?)?);
        if let Err(error) = self.drop_old_key() {
            tracing::warn!(%error, "could not remove the vault's old key");
        }
        Ok(())
    }

    fn verify_passphrase(&mut self, present: Option<&Secret>) -> Result<(), StoreError> {
        let VaultKey::Passphrase(path) = &self.source else {
            return Ok(());
        };
        let path = path.clone();
        let Some(key) = self.load_key()? else {
            return Err(StoreError::Locked);
        };
        // A program of the user can put a key of its own into the file, under a passphrase of its own.
        match unseal(&path, present.ok_or(StoreError::PassphraseNeeded)?)? == key {
            true => Ok(()),
            false => Err(StoreError::WrongPassphrase),
        }
    }

    fn seal(&mut self, present: Option<&Secret>, new: &Secret) -> Result<(), StoreError> {
        self.verify_passphrase(present)?;
        self.put_under(new)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.secrets().map(drop)
    }

    fn forget(&mut self) {
        self.decrypted = None;
    }

    fn protection(&self) -> String {
        let key = match &self.source {
            VaultKey::File(_) => "a file beside it, readable by its owner alone",
            VaultKey::Credential(_) => "systemd",
            VaultKey::Passphrase(_) => "a passphrase",
        };
        format!("an age file, its key kept by {key}")
    }

    fn exposure(&self) -> &'static str {
        match &self.source {
            VaultKey::File(_) => {
                concat!(
                    "every program of the daemon's user can read the tokens, with the key beside the vault; better: a \
                     passphrase, `regauthctl unlock --set-passphrase`, or a daemon with a user of its own, `",
                    own_user_command!(),
                    "`"
                )
            }
            VaultKey::Passphrase(_) => {
                concat!(
                    "programs of the daemon's user cannot read the tokens without the passphrase; they can open writes, and \
                     wait for you to type it into a program of theirs; better: a daemon with a user of its own, `",
                    own_user_command!(),
                    "`"
                )
            }
            VaultKey::Credential(_) => {
                "programs of the daemon's user can read the tokens; the daemon of `service install --system` has a user \
                 without other programs"
            }
        }
    }
}

/// Lets one thread at a time change the files. An abandoned thread may wake in the middle of its write, and must not undo
/// another one.
fn lock_writes() -> MutexGuard<'static, ()> {
    static WRITING: Mutex<()> = Mutex::new(());
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parses the vault's content. The error has only the place, because serde's message may quote a secret.
fn from_json(plain: &[u8]) -> Result<Secrets, String> {
    serde_json::from_slice(plain).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("its content is not a JSON map of tokens (line {line}, column {column})")
    })
}

fn to_json(secrets: &Secrets) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let map: BTreeMap<&str, &str> = secrets
        .iter()
        .map(|(name, secret)| (name.as_str(), secret.expose()))
        .collect();
    // Escaping at most doubles a text without control characters. A buffer that never grows leaves no copy behind.
    let capacity = map
        .iter()
        .map(|(name, secret)| 2 * (name.len() + secret.len()) + 6)
        .sum::<usize>()
        + 2;
    let mut plain = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *plain, &map)?;
    Ok(plain)
}

/// Name of systemd's credential.
const CREDENTIAL: &str = "vault-identity";

const PRIVATE: u32 = 0o600;

/// As the `age` command has it: about a second and 256 MiB.
const WORK_FACTOR: u8 = 18;

#[cfg(test)]
mod tests;
