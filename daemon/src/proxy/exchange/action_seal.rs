//! Seal of the tokens that a Git LFS server gives to clients for its objects.
//!
//! Such a token travels through the client under a name of our own, which git-lfs sends to wherever the object's URL
//! redirects. So the client gets it encrypted, for one registry on one host. It is worthless anywhere else.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use regauth_shared::RegistryName;
use zeroize::Zeroizing;

use crate::authority::{Authority, AuthorityError};
use crate::host::Origin;

/// Key of this process, or of the daemons that share a host's authority. Tokens that were sealed with another key do not open.
pub(crate) struct ActionSeal {
    /// `None` if the system gave no random numbers: then nothing is sealed.
    key: Option<RandomizedNonceKey>,
}

impl ActionSeal {
    /// Seal with a new random key.
    pub(in crate::proxy) fn new() -> Self {
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        let filled = aws_lc_rs::rand::fill(&mut *bytes);
        let key = filled.and_then(|()| RandomizedNonceKey::new(&AES_256_GCM_SIV, &*bytes));
        Self { key: key.ok() }
    }

    /// Seal of all daemons that share a host's authority: an object may be sent through another one than the answer that
    /// names it.
    ///
    /// # Errors
    /// As [`Authority::derive_secret`].
    pub(crate) fn shared(authority: &Authority) -> Result<Self, AuthorityError> {
        let secret = authority.derive_secret(PURPOSE)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &*secret);
        Ok(Self { key: key.ok() })
    }

    /// Encrypts a token for requests to `registry` on `host`.
    pub(super) fn seal(&self, registry: &RegistryName, host: &Origin, token: &str) -> Option<String> {
        let mut sealed = token.as_bytes().to_vec();
        let key = self.key.as_ref()?;
        let nonce = key.seal_in_place_append_tag(recipient(registry, host), &mut sealed);
        let sealed = [&nonce.ok()?.as_ref()[..], &sealed].concat();
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Decrypts a token that [`seal`](Self::seal) has encrypted for the same registry and host.
    pub(super) fn open(&self, registry: &RegistryName, host: &Origin, sealed: &HeaderValue) -> Option<HeaderValue> {
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed.as_bytes()).ok()?;
        let (nonce, token) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let key = self.key.as_ref()?;
        let token = key.open_in_place(nonce, recipient(registry, host), token).ok()?;
        let mut token = HeaderValue::from_bytes(token).ok()?;
        token.set_sensitive(true);
        Some(token)
    }
}

fn recipient(registry: &RegistryName, host: &Origin) -> Aad<String> {
    Aad::from(format!("{} {host}", registry.as_str()))
}

impl fmt::Debug for ActionSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActionSeal")
    }
}

const KEY_LENGTH: usize = 32;
const PURPOSE: &[u8] = b"tokens of Git LFS, AES-256-GCM-SIV, 1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::file;

    #[test]
    fn daemons_that_share_an_authority_open_what_another_has_sealed() {
        let restored = |text: &str| file::restore(&"corp.example".parse().unwrap(), text).unwrap();
        let [text, another] = [(), ()].map(|()| file::create(&"corp.example".parse().unwrap()).unwrap());
        let [one, two, third] = [&text, &text, &another].map(|text| ActionSeal::shared(&restored(text)).unwrap());
        let (corp, here) = (
            "corp".parse().unwrap(),
            Origin::parse("corp.example", Some(443)).unwrap(),
        );
        let sealed = one.seal(&corp, &here, "Bearer theirs").unwrap();
        let value = HeaderValue::from_str(&sealed).unwrap();
        assert_eq!(two.open(&corp, &here, &value).unwrap(), "Bearer theirs");
        assert_eq!(third.open(&corp, &here, &value), None);
        assert_eq!(ActionSeal::new().open(&corp, &here, &value), None);
    }

    #[test]
    fn a_sealed_token_opens_for_its_registry_and_host_only() {
        let (seal, other) = (ActionSeal::new(), ActionSeal::new());
        let registry = |name: &str| name.parse::<RegistryName>().unwrap();
        let host = |text: &str| Origin::parse(text, Some(443)).unwrap();
        let (corp, here) = (registry("corp"), host("corp.example"));
        let sealed = seal.seal(&corp, &here, "Bearer theirs").unwrap();
        assert!(!sealed.contains("theirs"));
        assert_ne!(seal.seal(&corp, &here, "Bearer theirs").unwrap(), sealed);
        let value = HeaderValue::from_str(&sealed).unwrap();
        assert_eq!(seal.open(&corp, &here, &value).unwrap(), "Bearer theirs");
        assert_eq!(seal.open(&registry("other"), &here, &value), None);
        assert_eq!(seal.open(&corp, &host("corp.example:8443"), &value), None);
        assert_eq!(seal.open(&corp, &host("cdn.example"), &value), None);
        assert_eq!(other.open(&corp, &here, &value), None);
        for forged in ["", "Bearer theirs", &sealed[1..], &sealed[..sealed.len() - 4]] {
            let forged = HeaderValue::from_str(forged).unwrap();
            assert_eq!(seal.open(&corp, &here, &forged), None, "{forged:?}");
        }
    }
}
