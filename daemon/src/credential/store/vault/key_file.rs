//! Files of the vault's key: its owner's alone, or under a passphrase.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use regauth_shared::Secret;
use zeroize::Zeroizing;

use super::error::VaultError;
use super::key::{Key, UnsealError};
use crate::credential::store::StoreError;

pub(super) fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, VaultError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(VaultError::Read(path.to_path_buf(), error)),
    }
}

/// Reads the key under a passphrase.
pub(super) fn unseal(path: &Path, passphrase: &Secret) -> Result<Key, StoreError> {
    let sealed = std::fs::read(path).map_err(|error| VaultError::Read(path.to_path_buf(), error))?;
    Key::unseal(&sealed, passphrase).map_err(|error| match error {
        UnsealError::WrongPassphrase => StoreError::WrongPassphrase,
        error => VaultError::Sealed(path.to_path_buf(), error).into(),
    })
}

/// Reads a key file that only its owner can read; `None` if there is no such file.
pub(super) fn read_private_key(path: &Path) -> Result<Option<Key>, VaultError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| VaultError::Read(path.to_path_buf(), error))?,
    };
    // Metadata of the open file, not of the path: the path may lead to another file by now.
    let data = file
        .metadata()
        .map_err(|error| VaultError::Read(path.to_path_buf(), error))?;
    if data.uid() != rustix::process::geteuid().as_raw() {
        return Err(VaultError::KeyForeign(path.to_path_buf()));
    }
    if data.mode() & 0o077 != 0 {
        return Err(VaultError::KeyExposed(path.to_path_buf()));
    }
    parse_key(path, Ok(file)).map(Some)
}

pub(super) fn parse_key(path: &Path, file: io::Result<File>) -> Result<Key, VaultError> {
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_CAPACITY));
    file.and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|error| VaultError::Read(path.to_path_buf(), error))?;
    Key::parse(&text).ok_or_else(|| VaultError::KeyInvalid(path.to_path_buf()))
}

/// More than an identity file with a few comments. A string that does not grow leaves no copy behind.
const KEY_FILE_CAPACITY: usize = 4096;
