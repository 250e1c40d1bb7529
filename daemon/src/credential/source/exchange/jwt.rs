//! Signs assertions, which are JSON Web Tokens (RFC 7519), with RS256 (RFC 7518, section 3.3).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use regauth_shared::Secret;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::credential::source::FetchError;
use crate::credential::source::environment::parse_pem;

/// Private key from a text in PEM.
///
/// # Errors
/// [`FetchError`] if the text cannot be one.
pub(super) fn key(text: &str) -> Result<Secret, FetchError> {
    parse_pem(text).map_err(|_| not_a_key())
}

/// Signs claims with an RSA key in PEM (PKCS#1 or PKCS#8).
///
/// # Errors
/// [`FetchError`] if the key cannot be used.
pub(super) fn sign(key: &Secret, key_id: Option<&str>, claims: &Value) -> Result<Secret, FetchError> {
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let (Some(header), Some(key_id)) = (header.as_object_mut(), key_id) {
        header.insert("kid".to_owned(), json!(key_id));
    }
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let key = rsa_key(key).ok_or_else(not_a_key)?;
    let message = format!("{header}.{claims}");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .map_err(|_| not_a_key())?;
    let signed = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    Secret::parse(&signed).map_err(|error| FetchError::new(error.to_string()))
}

/// Reads a key whose line endings may have become blanks.
fn rsa_key(pem: &Secret) -> Option<RsaKeyPair> {
    let (label, rest) = pem.expose().strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (base64, _) = rest.split_once("-----END ")?;
    let base64: Zeroizing<String> = Zeroizing::new(base64.split_whitespace().collect());
    let der = Zeroizing::new(STANDARD.decode(base64.as_bytes()).ok()?);
    match label {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der).ok(),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).ok(),
        _ => None,
    }
}

fn not_a_key() -> FetchError {
    FetchError::new("the private key is no RSA key in PEM").hint("give the .pem file as it was downloaded")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn an_assertion_verifies_with_the_public_key() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let signed = sign(&key(&pem).unwrap(), Some("k1"), &json!({ "iss": "corp" })).unwrap();
        let (message, signature) = signed.expose().rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        public
            .verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        let header = URL_SAFE_NO_PAD.decode(message.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    }

    #[test]
    fn another_text_is_no_key_and_is_not_repeated() {
        for text in [
            "canary",
            "-----BEGIN EC PRIVATE KEY-----\ncanary\n-----END EC PRIVATE KEY-----",
        ] {
            let error = sign(&key(text).unwrap(), None, &json!({})).unwrap_err();
            assert_eq!(error.message, "the private key is no RSA key in PEM");
        }
    }
}
