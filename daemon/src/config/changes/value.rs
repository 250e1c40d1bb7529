//! Digest of a configured value, which may hold a secret and is not shown.

use std::fmt;

use sha2::{Digest, Sha256};

/// SHA-256 of a value. Two changes with one text are equal only if their values are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ValueDigest([u8; 32]);

impl ValueDigest {
    /// Digest of a value's text.
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Digest of this value and of what belongs to it, such as the content of a file that it names.
    #[must_use]
    pub(crate) fn with(self, content: &[u8]) -> Self {
        Self(Sha256::new_with_prefix(self.0).chain_update(content).finalize().into())
    }

    /// The bytes, for a digest of several values.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Without the digest: the value of a short secret could be guessed from it.
impl fmt::Debug for ValueDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValueDigest(..)")
    }
}
