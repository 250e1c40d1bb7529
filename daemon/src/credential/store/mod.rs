//! Stores of secrets: the [`Store`] trait and its three kinds, [`keychain`], [`vault`] and [`memory`].
//!
//! A store's calls may block while a person looks at a dialogue. [`worker`] makes them on a thread of their own with a
//! deadline, never in a request's way. [`select`] opens the store that the configuration records.

pub mod keychain;
mod memory;
pub(crate) mod select;
pub mod vault;
pub mod worker;

use std::fmt;
use std::str::FromStr;

use regauth_shared::{RegistryName, Secret};

use crate::host::Host;

/// What keeps secrets. One thread calls it; every call may block.
pub trait Store: Send {
    /// Reads an item; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`StoreError`] when the store is locked, absent or failed.
    fn read(&mut self, item: &Item) -> Result<Option<Secret>, StoreError>;

    /// Creates or replaces an item in one step: a kill leaves the old value or the new one.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn write(&mut self, item: &Item, secret: &Secret) -> Result<(), StoreError>;

    /// Deletes an item; one that does not exist is deleted already.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn delete(&mut self, item: &Item) -> Result<(), StoreError>;

    /// Opens a locked store; a keychain asks in its own window, a vault takes the passphrase.
    ///
    /// # Errors
    /// As [`Store::read`]; a wrong passphrase is [`StoreError::WrongPassphrase`].
    fn unlock(&mut self, passphrase: Option<&Secret>) -> Result<(), StoreError>;

    /// Puts the store under a passphrase, or under another one; from then on it is locked after every start.
    ///
    /// # Errors
    /// As [`Store::read`]; [`StoreError::Refused`] by stores that a passphrase of ours cannot protect.
    fn seal(&mut self, _passphrase: &Secret) -> Result<(), StoreError> {
        Err(StoreError::Refused(
            "only the vault can be put under a passphrase, and this store is another".to_owned(),
        ))
    }

    /// Whether the store can be used now, without asking a person.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn check(&mut self) -> Result<(), StoreError>;

    /// What protects the secrets, in one phrase for `regauthctl status`.
    fn protection(&self) -> String;
}

/// The stores there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// Secret Service on Linux, Keychain on macOS.
    Keychain,
    /// An age file.
    Vault,
    /// Gone when the daemon ends.
    Memory,
}

impl StoreKind {
    /// The word for it in flags and files.
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

/// The text names no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a store is keychain, vault or memory")]
pub struct InvalidStoreKind;

/// The name of something that a store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Item {
    /// A registry's credential.
    Credential(RegistryName),
    /// The key of the intermediate authority for one host, PKCS#8 DER in base64.
    AuthorityKey(Host),
}

/// The account name in a keychain, the key in a vault: the registry's name, or `authority:host`. A registry's name has
/// no colon, so the two never meet.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => name.fmt(f),
            Self::AuthorityKey(host) => write!(f, "authority:{host}"),
        }
    }
}

impl FromStr for Item {
    type Err = InvalidItem;

    fn from_str(text: &str) -> Result<Self, InvalidItem> {
        match text.strip_prefix("authority:") {
            Some(host) => host.parse().map(Self::AuthorityKey).map_err(|_| InvalidItem),
            None => text.parse().map(Self::Credential).map_err(|_| InvalidItem),
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

/// The text names no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a store keeps nothing of that name")]
pub struct InvalidItem;

/// What a store could not do. No variant holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A person must open it.
    #[error("the store is locked")]
    Locked,
    /// The passphrase does not open the vault.
    #[error("the passphrase does not open the vault")]
    WrongPassphrase,
    /// There is no such store here: no session bus, no service on it.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It did not answer within the deadline.
    #[error("the store did not answer in time")]
    NoAnswer,
    /// It does not do that; why.
    #[error("{0}")]
    Refused(String),
    /// It has the item, but what is in it is no secret of ours: written by somebody else, or not to its end before the
    /// keychain was killed. The words say which item, and nothing of what is in it.
    #[error("{0}")]
    Unusable(String),
    /// It answered with a failure.
    #[error("the store failed: {0}")]
    Failed(String),
}
