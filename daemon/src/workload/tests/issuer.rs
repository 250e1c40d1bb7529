//! Issuer of tokens for the tests: it signs whatever header and claims they give it.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Issuer with a key of each kind.
pub(in crate::workload) struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Issuer {
    pub(in crate::workload) fn new() -> Self {
        let ecdsa = |algorithm| EcdsaKeyPair::generate(algorithm).unwrap();
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// Its key set. The key of P-384 is of no use.
    pub(in crate::workload) fn key_set(&self) -> Value {
        let point = self.p256.public_key().as_ref();
        let wide = self.p384.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": encode(self.modulus()), "e": "AQAB"},
            {"kty": "EC", "kid": "p256", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "EC", "kid": "p384", "crv": "P-384", "x": encode(&wide[1..49]), "y": encode(&wide[49..])},
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": encode(self.ed25519.public_key().as_ref())},
            {"kty": "oct", "kid": "shared", "k": encode(b"a secret that should not be here")},
        ]})
    }

    pub(in crate::workload) fn modulus(&self) -> Vec<u8> {
        self.rsa
            .public_key()
            .modulus()
            .big_endian_without_leading_zero()
            .to_vec()
    }

    fn sign(&self, by: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(encoding, &random, message, &mut signature).unwrap();
            signature
        };
        match by {
            "rsa" => rsa(&RSA_PKCS1_SHA256),
            "rsa-512" => rsa(&RSA_PKCS1_SHA512),
            "pss" => rsa(&RSA_PSS_SHA256),
            "p256" => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            "p384" => self.p384.sign(&random, message).unwrap().as_ref().to_vec(),
            "ed" => self.ed25519.sign(message).as_ref().to_vec(),
            key => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), message)
                .as_ref()
                .to_vec(),
        }
    }

    /// Token with this header and these claims, each a JSON text.
    pub(in crate::workload) fn token_of(&self, header: &str, claims: &str, by: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.sign(by, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub(in crate::workload) fn token(&self, claims: &str) -> String {
        self.token_of(r#"{"alg":"RS256","kid":"rsa","typ":"JWT"}"#, claims, "rsa")
    }
}

pub(in crate::workload) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(in crate::workload) fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Claims of a job, with changes: a null takes a claim away.
pub(in crate::workload) fn claims(changes: &Value) -> String {
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "regauth", "sub": "repo:corp/plans:ref:refs/heads/main",
        "repository": "corp/plans", "ref": "refs/heads/main", "protected": true,
        "iat": now(), "nbf": now() - 5, "exp": now() + 300,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims.to_string()
}
