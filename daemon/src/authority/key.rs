//! Key that signs certificates: ECDSA over P-256, zeroized on drop.
//!
//! The key zeroizes rcgen's copy; aws-lc zeroizes its own memory. [`Key::to_secret`] gives the form for a store.

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use regauth_shared::secret::Secret;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

use super::AuthorityError;

pub(super) struct Key(KeyPair);

impl Key {
    pub(super) fn generate() -> Result<Self, AuthorityError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(AuthorityError::Signing)
    }

    /// Parses the form of [`Self::to_secret`].
    pub(super) fn from_secret(secret: &Secret) -> Result<Self, AuthorityError> {
        let der = STANDARD
            .decode(secret.expose())
            .map(Zeroizing::new)
            .map_err(|_| AuthorityError::UnreadableKey)?;
        KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der.as_slice()), &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| AuthorityError::UnreadableKey)
    }

    /// Base64 of PKCS#8 in DER, on one line.
    pub(super) fn to_secret(&self) -> Result<Secret, AuthorityError> {
        let text = Zeroizing::new(STANDARD.encode(self.0.serialized_der()));
        Secret::parse(&text).map_err(|_| AuthorityError::UnreadableKey)
    }

    /// PKCS#8 in PEM.
    pub(super) fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// Secret for one purpose: HKDF with SHA-256 (RFC 5869) of the key.
    pub(super) fn derive(&self, purpose: &[u8]) -> Result<Zeroizing<[u8; 32]>, AuthorityError> {
        let mut secret = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, b"regauth authority")
            .extract(self.0.serialized_der())
            .expand(&[purpose], HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut *secret))
            .map_err(|_| AuthorityError::UnreadableKey)?;
        Ok(secret)
    }

    /// Copy for rustls, which keeps it while it serves the certificate.
    pub(super) fn to_tls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }

    /// Public key: SubjectPublicKeyInfo in DER (RFC 5280, section 4.1).
    pub(super) fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
