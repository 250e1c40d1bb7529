//! The vault's key: an age identity, in the clear or under a passphrase. Works on file contents, not on files.
//!
//! The formats are those of the `age` command (<https://age-encryption.org/v1>). A person who has the files and the key
//! can read the secrets without regauth.

use std::io::{self, Read, Write};
use std::iter;

use age::secrecy::{ExposeSecret, SecretString};
use age::{DecryptError, Decryptor, EncryptError, Encryptor, Recipient, scrypt, x25519};
use regauth_shared::Secret;
use zeroize::Zeroizing;

/// An X25519 identity. Zeroized when dropped.
#[derive(Clone)]
pub(super) struct Key(x25519::Identity);

impl Key {
    pub(super) fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// Parses an identity file: comments, blank lines and exactly one key. `None` for anything else: an error message
    /// could describe the key.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let key = lines.next()?.parse().ok()?;
        lines.next().is_none().then_some(Self(key))
    }

    /// The identity file.
    #[expect(
        clippy::disallowed_methods,
        reason = "age returns its key as a SecretString, and the vault writes it to a file"
    )]
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let key = self.0.to_string();
        let public = self.0.to_public();
        Zeroizing::new(format!(
            "# the key to regauth's vault: who has it can read the secrets\n# public key: {public}\n{}\n",
            key.expose_secret()
        ))
    }

    /// Encrypts for each of these keys: any one of them decrypts.
    pub(super) fn encrypt(keys: &[&Self], plain: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let recipients: Vec<_> = keys.iter().map(|key| key.0.to_public()).collect();
        let recipients = recipients.iter().map(|recipient| recipient as &dyn Recipient);
        let mut encrypted = Vec::new();
        let mut writer = Encryptor::with_recipients(recipients)?.wrap_output(&mut encrypted)?;
        writer.write_all(plain)?;
        writer.finish()?;
        Ok(encrypted)
    }

    pub(super) fn decrypt(&self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        decrypt(Decryptor::new_buffered(bytes)?, &self.0, bytes.len())
    }

    /// The identity file under a passphrase, with scrypt's `N = 2^work_factor`.
    pub(super) fn seal(&self, passphrase: &Secret, work_factor: u8) -> Result<Vec<u8>, EncryptError> {
        let mut recipient = scrypt::Recipient::new(passphrase_of(passphrase));
        recipient.set_work_factor(work_factor);
        let mut sealed = Vec::new();
        let mut writer = Encryptor::with_recipients(iter::once(&recipient as _))?.wrap_output(&mut sealed)?;
        writer.write_all(self.to_text().as_bytes())?;
        writer.finish()?;
        Ok(sealed)
    }

    /// Opens the output of [`Key::seal`] or `age -p`.
    pub(super) fn unseal(sealed: &[u8], passphrase: &Secret) -> Result<Self, UnsealError> {
        let decryptor = Decryptor::new_buffered(sealed).map_err(UnsealError::Damaged)?;
        if !decryptor.is_scrypt() {
            return Err(UnsealError::NoKey);
        }
        let mut identity = scrypt::Identity::new(passphrase_of(passphrase));
        identity.set_max_work_factor(MAX_WORK_FACTOR);
        let text = decrypt(decryptor, &identity, sealed.len()).map_err(|error| match error {
            DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys => {
                UnsealError::WrongPassphrase
            }
            error => UnsealError::Damaged(error),
        })?;
        str::from_utf8(&text)
            .ok()
            .and_then(Self::parse)
            .ok_or(UnsealError::NoKey)
    }
}

/// Equal if both open the same files.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_public() == other.0.to_public()
    }
}

/// Reason that a sealed key did not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnsealError {
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    #[error("it is damaged: {0}")]
    Damaged(DecryptError),
    #[error("it holds no age identity under a passphrase")]
    NoKey,
}

/// Number of X25519 keys that open this file, by its header. The header is text, and ends with a line `--- MAC`.
pub(super) fn recipients(encrypted: &[u8]) -> usize {
    let header = encrypted
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.starts_with(b"---"));
    header.filter(|line| line.starts_with(b"-> X25519 ")).count()
}

/// Decrypts a file of `capacity` bytes. The plaintext is shorter, so the buffer never grows and leaves no copy behind.
fn decrypt(
    decryptor: Decryptor<&[u8]>,
    identity: &dyn age::Identity,
    capacity: usize,
) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(capacity));
    let read: io::Result<usize> = decryptor.decrypt(iter::once(identity))?.read_to_end(&mut plain);
    read?;
    Ok(plain)
}

fn passphrase_of(secret: &Secret) -> SecretString {
    SecretString::from(secret.expose())
}

/// Limit of the `age` command: a minute's work.
const MAX_WORK_FACTOR: u8 = 22;
