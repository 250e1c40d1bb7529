//! Verification of identities: signature, issuer and times.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::openid_provider::OpenidProvider;

/// Issuer of identities, and its keys.
#[derive(Clone, Debug)]
pub struct Identities {
    issuer: String,
    keys: Vec<Value>,
}

impl Identities {
    /// Identities of a provider.
    pub fn of(provider: &OpenidProvider) -> Self {
        Self {
            issuer: provider.issuer().to_owned(),
            keys: provider.keys().to_vec(),
        }
    }

    /// Claims of a token that the issuer has signed with RS256 and that is valid now.
    ///
    /// # Errors
    /// The reason why it is refused.
    pub fn verify(&self, token: &str) -> Result<Value, String> {
        let claims = verified_claims(token, &self.keys)?;
        if claims["iss"] != *self.issuer {
            return Err("the issuer is unknown".to_owned());
        }
        Ok(claims)
    }
}

/// Claims of a token with an RS256 signature by one of these keys, within its times.
pub(super) fn verified_claims(token: &str, keys: &[Value]) -> Result<Value, String> {
    let (message, signature) = token.rsplit_once('.').ok_or("the identity is no JWT")?;
    let (header, claims) = message.split_once('.').ok_or("the identity is no JWT")?;
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "the identity is no JWT");
    let [header, claims] = [header, claims].map(|part| bytes(part).map(|part| serde_json::from_slice::<Value>(&part)));
    let header = header?.map_err(|error| error.to_string())?;
    let claims = claims?.map_err(|error| error.to_string())?;
    if header["alg"] != "RS256" {
        return Err("the algorithm is not RS256".to_owned());
    }
    let key = keys
        .iter()
        .find(|key| key["kid"] == header["kid"] || header["kid"].is_null());
    let key = key.ok_or("the key is unknown")?;
    let [n, e] = ["n", "e"].map(|name| bytes(key[name].as_str().unwrap_or_default()));
    let key = PublicKeyComponents { n: n?, e: e? };
    let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &bytes(signature)?);
    verified.map_err(|_| "the signature is wrong")?;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    match (claims["iat"].as_u64(), claims["exp"].as_u64()) {
        (Some(iat), Some(exp)) if iat <= now + 5 && now < exp => Ok(claims),
        _ => Err("the identity is not valid now".to_owned()),
    }
}
