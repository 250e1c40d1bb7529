//! JSON Web Tokens (RFC 7519): reads the expiry of one, and signs assertions with RS256 (RFC 7518, section 3.3).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use regauth_shared::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::credential::source::FetchError;
use crate::credential::source::environment::parse_pem;

#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

/// Time of expiry of a token, if it is a JWT. The signature is not checked: the service that gave the token is the one
/// that will accept or reject it.
pub(super) fn expiry(token: &Secret) -> Option<OffsetDateTime> {
    let mut parts = token.expose().split('.');
    let claims = parts.nth(1).filter(|_| parts.count() == 1)?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let since_1970 = time::Duration::checked_seconds_f64(claims.exp)?;
    OffsetDateTime::UNIX_EPOCH.checked_add(since_1970)
}

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
    fn only_a_jwt_tells_its_end() {
        let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        for (token, expected) in [
            (jwt(r#"{"exp":1591005600}"#), Some(1_591_005_600)),
            (jwt(r#"{"exp":"1591005600"}"#), None),
            (jwt("{}"), None),
            ("opaque".to_owned(), None),
            ("a.b".to_owned(), None),
            ("a.b.c.d".to_owned(), None),
        ] {
            let found = expiry(&Secret::parse(&token).unwrap()).map(OffsetDateTime::unix_timestamp);
            assert_eq!(found, expected, "{token}");
        }
    }

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
