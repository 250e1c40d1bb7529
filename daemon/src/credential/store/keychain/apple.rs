//! Keychain on macOS: the login keychain.
//!
//! A keychain asks a person when it is locked, and when an item belongs to another program or to an older build of this
//! one. Both count as locked here, and only [`Platform::unlock`] may ask.

use std::collections::HashMap;
use std::sync::Arc;

use apple_native_keyring_store::keychain::Store;
use keyring_core::api::CredentialStoreApi;
use security_framework::os::macos::keychain::{SecKeychain, SecPreferencesDomain};
use zeroize::Zeroizing;

use crate::credential::store::{Item, StoreError};

/// The login keychain.
pub(super) struct Platform {
    store: Arc<Store>,
}

impl Platform {
    pub(super) const PROTECTION: &str = "the login keychain";

    pub(super) const EXPOSURE: &str = "programs of this user can have the tokens sent to a host of their own, and may be \
        able to read them; better: a daemon with a user of its own, `sudo regauthctl service install --system`";

    /// Opens nothing: the system's own daemon reads the keychain's file at each call.
    pub(super) fn connect() -> Result<Self, StoreError> {
        let store = Store::new().map_err(failure)?;
        Ok(Self { store })
    }

    /// Calls `work` with an item's entry; `None` if there is no such item.
    pub(super) fn entry<T>(
        &self,
        service: &str,
        item: &Item,
        work: impl FnOnce(&keyring::Entry) -> keyring::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let _silence = SecKeychain::disable_user_interaction().map_err(os_failure)?;
        let inner = self.store.build(service, &item.to_string(), None).map_err(failure)?;
        match work(&keyring::Entry { inner }) {
            Ok(value) => Ok(Some(value)),
            Err(keyring::Error::NoEntry) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    pub(super) fn check(&self, service: &str) -> Result<(), StoreError> {
        let _silence = SecKeychain::disable_user_interaction().map_err(os_failure)?;
        self.read_all(service)
    }

    /// Unlocks the keychain and lets the person allow this program every item of ours.
    pub(super) fn unlock(&self, service: &str) -> Result<(), StoreError> {
        let mut keychain = SecKeychain::default_for_domain(SecPreferencesDomain::User).map_err(os_failure)?;
        keychain.unlock(None).map_err(os_failure)?;
        self.read_all(service)
    }

    /// Reads each item of ours, which is the only way to learn whether it can be read.
    fn read_all(&self, service: &str) -> Result<(), StoreError> {
        let entries = self
            .store
            .search(&HashMap::from([("service", service)]))
            .map_err(failure)?;
        for entry in entries {
            entry.get_secret().map(Zeroizing::new).map_err(failure)?;
        }
        Ok(())
    }
}

fn failure(error: keyring::Error) -> StoreError {
    match error {
        keyring::Error::PlatformFailure(cause) | keyring::Error::NoStorageAccess(cause) => {
            match cause.downcast::<security_framework::base::Error>() {
                Ok(error) => os_failure(*error),
                Err(cause) => StoreError::Failed(cause.to_string()),
            }
        }
        error => StoreError::Failed(error.to_string()),
    }
}

fn os_failure(error: security_framework::base::Error) -> StoreError {
    match error.code() {
        USER_CANCELED | AUTH_FAILED | INTERACTION_NOT_ALLOWED => StoreError::Locked,
        NOT_AVAILABLE | NO_SUCH_KEYCHAIN | INVALID_KEYCHAIN | NO_DEFAULT_KEYCHAIN => {
            StoreError::Unavailable(error.to_string())
        }
        _ => StoreError::Failed(error.to_string()),
    }
}

// `SecBase.h`.
const USER_CANCELED: i32 = -128;
const NOT_AVAILABLE: i32 = -25291;
const AUTH_FAILED: i32 = -25293;
const NO_SUCH_KEYCHAIN: i32 = -25294;
const INVALID_KEYCHAIN: i32 = -25295;
const NO_DEFAULT_KEYCHAIN: i32 = -25307;
const INTERACTION_NOT_ALLOWED: i32 = -25308;
