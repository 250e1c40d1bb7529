//! Stores of secrets: the [`Store`] trait and its three kinds, [`keychain`], [`vault`] and `memory`.
//!
//! A store's calls may block while a person looks at a dialogue. [`worker`] makes them on its own thread with a
//! deadline, and no request waits for them. `select` opens the store that the configuration records.

/// Command that gives the daemon a user of its own on this system. A macro, so that [`Store::exposure`] can contain it.
#[cfg(target_os = "linux")]
macro_rules! own_user_command {
    () => {
        "sudo regauthctl service install --for USER"
    };
}
/// Command that gives the daemon a user of its own on this system. A macro, so that [`Store::exposure`] can contain it.
#[cfg(not(target_os = "linux"))]
macro_rules! own_user_command {
    () => {
        "sudo regauthctl service install --system"
    };
}

pub mod keychain;
mod memory;
pub(crate) mod select;
pub(crate) mod stored_secret;
pub mod vault;
pub mod worker;

use std::fmt;
use std::str::FromStr;

use regauth_shared::{RegistryName, Secret};

use crate::host::Host;

/// A place that keeps secrets across restarts. Called by one thread; every call may block.
pub trait Store: Send {
    /// Reads an item; `None` if the store has none of that name.
    ///
    /// # Errors
    /// [`StoreError`] if the store is locked, absent or fails.
    fn read(&mut self, item: &Item) -> Result<Option<Secret>, StoreError>;

    /// Creates or replaces an item atomically: a kill leaves the old value or the new one.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn write(&mut self, item: &Item, secret: &Secret) -> Result<(), StoreError>;

    /// Deletes an item. An item that does not exist is no error.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn delete(&mut self, item: &Item) -> Result<(), StoreError>;

    /// Opens a locked store. A keychain asks in its own window; a vault takes the passphrase.
    ///
    /// # Errors
    /// As [`Store::read`]; a wrong passphrase is [`StoreError::WrongPassphrase`].
    fn unlock(&mut self, passphrase: Option<&Secret>) -> Result<(), StoreError>;

    /// Checks that the caller knows the passphrase of an open store. A store without a passphrase needs none.
    ///
    /// # Errors
    /// As [`Store::read`]; [`StoreError::PassphraseNeeded`] without a passphrase, [`StoreError::WrongPassphrase`] for another.
    fn verify_passphrase(&mut self, _present: Option<&Secret>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Protects the store with the passphrase `new`. The store is then locked after every start. A store that has a
    /// passphrase needs the present one.
    ///
    /// # Errors
    /// As [`Store::verify_passphrase`]; [`StoreError::Refused`] by every store but the vault.
    fn seal(&mut self, _present: Option<&Secret>, _new: &Secret) -> Result<(), StoreError> {
        Err(StoreError::Refused(
            "this store takes no passphrase; only the vault does".to_owned(),
        ))
    }

    /// Checks that the store can be used without asking a person.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn check(&mut self) -> Result<(), StoreError>;

    /// Drops the secrets that are kept from one call to the next, since no call has come for a while.
    fn forget(&mut self) {}

    /// Protection of the secrets, in one phrase for `regauthctl status`.
    fn protection(&self) -> String;

    /// Sentence about the access of other programs of the daemon's user to the secrets, and a safer choice.
    fn exposure(&self) -> &'static str;
}

/// Kind of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// Secret Service on Linux, Keychain on macOS.
    Keychain,
    /// An age file.
    Vault,
    /// The daemon's memory, for secrets that end with it.
    Memory,
}

impl StoreKind {
    /// Its name in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keychain => "keychain",
            Self::Vault => "vault",
            Self::Memory => "memory",
        }
    }
}

impl FromStr for StoreKind {
    type Err = InvalidStoreKind;

    fn from_str(text: &str) -> Result<Self, InvalidStoreKind> {
        [Self::Keychain, Self::Vault, Self::Memory]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(InvalidStoreKind)
    }
}

/// A text that names no kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a store is keychain, vault or memory")]
pub struct InvalidStoreKind;

/// Name of a secret in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Item {
    /// A registry's credential.
    Credential(RegistryName),
    /// Record of what a registry's credential was given for. No secret.
    Binding(RegistryName),
    /// Key of the intermediate authority for one host: PKCS#8 DER in base64.
    AuthorityKey(Host),
    /// URL of the corporate proxy with its password. With the URL, the password goes to that proxy only.
    ProxyUrl,
}

/// The account name in a keychain and the key in a vault: the registry's name, `binding:name`, `authority:host` or `upstream:proxy`. A
/// registry's name has no colon, so the forms never collide.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => name.fmt(f),
            Self::Binding(name) => write!(f, "binding:{name}"),
            Self::AuthorityKey(host) => write!(f, "authority:{host}"),
            Self::ProxyUrl => f.write_str(PROXY_URL),
        }
    }
}

impl FromStr for Item {
    type Err = InvalidItem;

    fn from_str(text: &str) -> Result<Self, InvalidItem> {
        match text.split_once(':') {
            Some(("authority", host)) => host.parse().map(Self::AuthorityKey).map_err(|_| InvalidItem),
            Some(("binding", name)) => name.parse().map(Self::Binding).map_err(|_| InvalidItem),
            _ if text == PROXY_URL => Ok(Self::ProxyUrl),
            _ => text.parse().map(Self::Credential).map_err(|_| InvalidItem),
        }
    }
}

impl TryFrom<String> for Item {
    type Error = InvalidItem;

    fn try_from(text: String) -> Result<Self, InvalidItem> {
        text.parse()
    }
}

impl From<Item> for String {
    fn from(item: Item) -> Self {
        item.to_string()
    }
}

const PROXY_URL: &str = "upstream:proxy";

/// A text that names no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a store keeps nothing of that name")]
pub struct InvalidItem;

/// A call to a store failed. No variant has a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A person must open it.
    #[error("the store is locked")]
    Locked,
    /// The passphrase does not open the vault.
    #[error("the passphrase does not open the vault")]
    WrongPassphrase,
    /// The vault is open, and the call needs its passphrase again.
    #[error("the vault has a passphrase, and this needs it again")]
    PassphraseNeeded,
    /// This machine has no such store: no session bus, or no service on it.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It did not answer within the deadline.
    #[error("the store did not answer in time")]
    NoAnswer,
    /// It does not support the call; the text is the reason.
    #[error("{0}")]
    Refused(String),
    /// The item's value is no secret of ours. Another program wrote it, or the keychain was killed during the write.
    /// The text names the item and repeats nothing of the value.
    #[error("{0}")]
    Unusable(String),
    /// Its file or its key is damaged, lost or another's. The text names the file.
    #[error("{0}")]
    Damaged(String),
    /// It answered with an error.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// True if a person can open the store.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Locked | Self::WrongPassphrase)
    }
}
