//! Public keys of an issuer: a JSON Web Key Set (RFC 7517), and signatures verified with it. Pure.
//!
//! A key serves exactly one algorithm, which its own type decides. So no header of a token can have an RSA key taken for a
//! shared secret, or a key of one curve for another.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::workload::token::{Algorithm, UnverifiedToken};

/// Keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct WebKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Parses a key set. Keys of other types, for other purposes or algorithms are left out.
    ///
    /// # Errors
    /// [`InvalidKeys`] when the text is no key set, or has no key that is of use.
    pub(super) fn parse(text: &[u8]) -> Result<Self, InvalidKeys> {
        let KeySet { keys } = serde_json::from_slice(text).map_err(|_| InvalidKeys::NotAKeySet)?;
        if keys.len() > MAX_KEYS {
            return Err(InvalidKeys::TooMany);
        }
        let keys: Vec<Key> = keys.into_iter().filter_map(Key::of).collect();
        if keys.is_empty() {
            return Err(InvalidKeys::NoneOfUse);
        }
        Ok(Self(keys))
    }

    /// Number of the keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// True if the set has the key that the token's header names. Without a name, the key that has signed it: another one
    /// may have been withdrawn.
    pub(super) fn has_key_of(&self, token: &UnverifiedToken<'_>) -> bool {
        match token.key_id {
            Some(_) => self.key_of(token).is_some(),
            None => self.verify(token),
        }
    }

    /// True if the key that the token's header names has signed it.
    pub(super) fn verify(&self, token: &UnverifiedToken<'_>) -> bool {
        self.key_of(token)
            .is_some_and(|key| key.material.verify(token.signed, &token.signature))
    }

    /// The one key that may have signed the token. Without an id in the header, the algorithm has to leave one key only.
    fn key_of(&self, token: &UnverifiedToken<'_>) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| {
            let is_named = token.key_id.is_none() || key.id == token.key_id;
            is_named && key.material.algorithm() == token.algorithm
        });
        let key = fitting.next()?;
        fitting.next().is_none().then_some(key)
    }
}

impl Key {
    fn of(value: Value) -> Option<Self> {
        let key: WebKey = serde_json::from_value(value).ok()?;
        let is_for_signatures = key.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let may_verify = (key.key_ops.as_ref()).is_none_or(|uses| uses.iter().any(|purpose| purpose == "verify"));
        let material = Material::of(&key)?;
        let has_algorithm =
            (key.alg.as_deref()).is_none_or(|name| Algorithm::parse(name) == Some(material.algorithm()));
        (is_for_signatures && may_verify && has_algorithm).then_some(Self { id: key.kid, material })
    }
}

impl Material {
    fn of(key: &WebKey) -> Option<Self> {
        let decoded = |field: &Option<String>| URL_SAFE_NO_PAD.decode(field.as_ref()?).ok();
        match (key.kty.as_str(), key.crv.as_deref()) {
            ("RSA", _) => Some(Self::Rsa {
                modulus: decoded(&key.n)?,
                exponent: decoded(&key.e)?,
            }),
            ("EC", Some("P-256")) => {
                let (x, y): ([u8; 32], [u8; 32]) =
                    (decoded(&key.x)?.try_into().ok()?, decoded(&key.y)?.try_into().ok()?);
                // SEC 1, section 2.3.3: an uncompressed point.
                [&[4][..], &x, &y].concat().try_into().ok().map(Self::P256)
            }
            ("OKP", Some("Ed25519")) => decoded(&key.x)?.try_into().ok().map(Self::Ed25519),
            _ => None,
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa { modulus, exponent } => RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Self::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        };
        verified.is_ok()
    }
}

/// Error of a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidKeys {
    /// Something else, such as a web page.
    #[error("it is no JSON Web Key Set")]
    NotAKeySet,
    /// More keys than any issuer has.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// No public key for RS256, ES256 or EdDSA.
    #[error("it has no public key for RS256, ES256 or EdDSA")]
    NoneOfUse,
}

/// Longest key set.
pub(super) const MAX_KEY_SET_BYTES: usize = 1024 * 1024;
const MAX_KEYS: usize = 256;
