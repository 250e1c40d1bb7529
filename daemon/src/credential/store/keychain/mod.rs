//! The operating system's keychain: the Secret Service on Linux (gnome-keyring, KWallet, KeePassXC), Keychain on macOS.
//!
//! Secrets pass through [`keyring::Entry`], but not its constructor: if there is no keychain at its first call, it
//! remembers that for the life of the process. This module opens the library's stores itself, and again after a
//! keychain restart. Only [`Store::unlock`] opens a window on a person's screen.

#[cfg(target_os = "macos")]
mod apple;
#[cfg(target_os = "linux")]
mod secret_service;

use std::path::{self, PathBuf};

use regauth_shared::Secret;
use regauth_shared::paths::Folders;
use zeroize::Zeroizing;

#[cfg(target_os = "macos")]
use self::apple::Platform;
#[cfg(target_os = "linux")]
use self::secret_service::Platform;
use super::{Item, Store, StoreError};

/// Service attribute of the items of the daemon in these folders: `regauth`, or `regauth@HOME` if a home was given. A
/// test or a second daemon never sees a person's own tokens.
pub fn service_name(folders: &Folders) -> String {
    match &folders.home {
        None => "regauth".to_owned(),
        Some(home) => {
            // One name for every spelling. Symbolic links stay, because the home may not exist yet.
            let home = path::absolute(home).unwrap_or_else(|_| home.clone());
            let home: PathBuf = home.components().collect();
            format!("regauth@{}", home.display())
        }
    }
}

/// A [`Store`] in the keychain of this session. Items have the attributes `service` ([`service_name`]) and `username`
/// (the item's name).
///
/// Must not be called on a thread that drives a tokio runtime: the Secret Service's client blocks on its own executor.
pub struct KeychainStore {
    service: String,
    /// The connection, after the first call.
    platform: Option<Platform>,
}

impl KeychainStore {
    /// The keychain's items under this service name. Connects at the first call.
    pub fn new(service: String) -> Self {
        Self {
            service,
            platform: None,
        }
    }

    /// Makes a call, and repeats it on a new connection if it fails: any failure may mean that the keychain was
    /// restarted. All calls can be repeated.
    fn call<T>(&mut self, call: impl Fn(&Platform, &str) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(platform) = self.platform.take() {
            match call(&platform, &self.service) {
                Err(StoreError::Failed(_) | StoreError::Unavailable(_)) => {}
                outcome => {
                    self.platform = Some(platform);
                    return outcome;
                }
            }
        }
        let platform = self.platform.insert(Platform::connect()?);
        call(platform, &self.service)
    }
}

impl Store for KeychainStore {
    fn read(&mut self, item: &Item) -> Result<Option<Secret>, StoreError> {
        let found = self.call(|platform, service| {
            platform.entry(service, item, |entry| entry.get_password().map(Zeroizing::new))
        })?;
        let secret = found.map(|text| Secret::parse(&text)).transpose();
        secret.map_err(|error| StoreError::Unusable(format!("the keychain's item for {item} cannot be used: {error}")))
    }

    fn write(&mut self, item: &Item, secret: &Secret) -> Result<(), StoreError> {
        self.call(|platform, service| {
            let written = platform.entry(service, item, |entry| entry.set_password(secret.expose()))?;
            written.ok_or_else(|| StoreError::Failed("the item vanished while it was written".to_owned()))
        })
    }

    fn delete(&mut self, item: &Item) -> Result<(), StoreError> {
        self.call(|platform, service| platform.entry(service, item, delete_all).map(|_| ()))
    }

    /// Asks in the keychain's own window. The daemon never learns the keychain's passphrase.
    fn unlock(&mut self, _passphrase: Option<&Secret>) -> Result<(), StoreError> {
        self.call(Platform::unlock)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.call(Platform::check)
    }

    fn protection(&self) -> String {
        Platform::PROTECTION.to_owned()
    }

    fn exposure(&self) -> &'static str {
        Platform::EXPOSURE
    }
}

/// Deletes the item from every collection. Two may have it, after a migration for instance.
fn delete_all(entry: &keyring::Entry) -> keyring::Result<()> {
    match entry.delete_credential() {
        Err(keyring::Error::Ambiguous(entries)) => entries.iter().try_for_each(|entry| entry.delete_credential()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_home_has_one_service_name_for_all_its_spellings() {
        let service = |home: &str| service_name(&Folders::below(Path::new(home)));
        assert_eq!(service("/srv/ci"), "regauth@/srv/ci");
        assert_eq!(service("/srv/./ci/"), "regauth@/srv/ci");
        let here = std::env::current_dir().unwrap();
        assert_eq!(service("ci"), format!("regauth@{}/ci", here.display()));
        let usual = Folders {
            home: None,
            ..Folders::below(Path::new("/srv/ci"))
        };
        assert_eq!(service_name(&usual), "regauth");
    }
}
