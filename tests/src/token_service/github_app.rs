//! GitHub: "Create an installation access token for an app".

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::Method;
use serde_json::{Value, json};

use super::google::end_in;
use super::identity::verified_claims;
use super::{Answer, Received, State};

pub(super) fn answer(state: &Arc<State>, request: &Received) -> Answer {
    if !request.is(&Method::POST, "/app/installations/42/access_tokens") {
        return Answer::json(404, &json!({ "message": "Not Found" }));
    }
    match exchange(state, request) {
        Ok(document) => Answer::json(201, &document),
        Err((status, message)) => Answer::json(
            status,
            &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }),
        ),
    }
}

fn exchange(state: &Arc<State>, request: &Received) -> Result<Value, (u16, String)> {
    let unauthorized = |message: String| (401, message);
    state.note_secret(request.bearer());
    let claims = verified_claims(request.bearer(), &app_keys()).map_err(unauthorized)?;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    if claims["exp"].as_u64().unwrap() > now + 600 {
        return Err((
            401,
            "'Expiration time' claim ('exp') is too far in the future".to_owned(),
        ));
    }
    if claims["iss"] != "Iv23corp" {
        return Err((401, "A JSON web token could not be decoded".to_owned()));
    }
    if request.header("accept") != "application/vnd.github+json" || request.header("user-agent").is_empty() {
        return Err((403, "Request forbidden by administrative rules.".to_owned()));
    }
    let limits = request.json().map_err(|message| (400, message))?;
    let expected = json!({ "repositories": ["plans"], "permissions": { "contents": "read" } });
    if limits != expected {
        return Err((422, "the repositories are not accessible".to_owned()));
    }
    let (token, _) = state.mint();
    Ok(json!({ "token": token, "expires_at": end_in(state.lifetime()), "permissions": { "contents": "read" } }))
}

/// Private key of the app, and of Google's service account, in PEM.
pub fn app_key() -> String {
    let der: Pkcs8V1Der<'_> = key().as_der().unwrap();
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

/// Its public key as a JSON Web Key without a `kid`.
pub(super) fn app_keys() -> Vec<Value> {
    let public = key().public_key();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let n = public.modulus().big_endian_without_leading_zero().to_vec();
    let e = public.exponent().big_endian_without_leading_zero().to_vec();
    vec![json!({ "kty": "RSA", "kid": "app-key", "n": text(&n), "e": text(&e) })]
}

fn key() -> &'static RsaKeyPair {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}
