//! The operating system's keychain: the Secret Service on Linux (gnome-keyring, KWallet, KeePassXC), Keychain on macOS.
//!
//! Secrets pass through [`keyring::Entry`]. Its constructor is not used, since that remembers for the life of the
//! process that there was no keychain when it was first called: the stores behind it are opened here, and again when a
//! keychain has been restarted. Nothing but [`Store::unlock`] makes a window appear on somebody's screen.

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

/// The service attribute of everything that the daemon of these folders keeps: `regauth`, or `regauth@HOME` for a home
/// that was asked for, so that a test or a second daemon never meets a person's own tokens.
pub fn service_name(folders: &Folders) -> String {
    match &folders.home {
        None => "regauth".to_owned(),
        Some(home) => {
            // The same home however it was spelled; symbolic links stay, for the home may not exist yet.
            let home = path::absolute(home).unwrap_or_else(|_| home.clone());
            let home: PathBuf = home.components().collect();
            format!("regauth@{}", home.display())
        }
    }
}

/// A [`Store`] in the keychain of this session. Items have the attributes `service`, [`service_name`], and `username`,
/// the item's name.
///
/// Not for a thread that drives a tokio runtime: the Secret Service's client blocks on an executor of its own.
pub struct KeychainStore {
    service: String,
    /// The connection, once there was one.
    platform: Option<Platform>,
}

impl KeychainStore {
    /// The keychain's items under this service name. Connects when it is first called.
    pub fn new(service: String) -> Self {
        Self {
            service,
            platform: None,
        }
    }

    /// Makes a call on the connection there is. A keychain that was restarted looks like a failure on it, whatever the
    /// failure; then the call is made again on a fresh one. All calls can be made twice.
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

    /// Asks in the keychain's own window; a passphrase is not for us to know.
    fn unlock(&mut self, _passphrase: Option<&Secret>) -> Result<(), StoreError> {
        self.call(Platform::unlock)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.call(Platform::check)
    }

    fn protection(&self) -> String {
        Platform::PROTECTION.to_owned()
    }
}

/// Two collections may each hold the item, after a migration for instance; what was removed must not stay in either.
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
    fn a_home_has_items_of_its_own_however_it_is_spelled() {
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
