//! Expiry that a token itself states: the claim `exp` of a JWT (RFC 7519, section 4.1.4).
//!
//! A minted token is renewed by it if the service states no lifetime. Of any other token it is for people only: a
//! registry may accept a token for longer, and its answer decides.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regauth_shared::Secret;
use serde::Deserialize;
use time::OffsetDateTime;
use zeroize::Zeroizing;

#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

/// Time in the claim `exp`, if the token is a JWT with one. The signature is not checked.
pub(super) fn expiry(token: &Secret) -> Option<OffsetDateTime> {
    let mut parts = token.expose().split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    from_seconds(exp)
}

/// Time of a number of seconds since 1970; `None` beyond the range of times.
pub(super) fn from_seconds(seconds: f64) -> Option<OffsetDateTime> {
    let since_1970 = time::Duration::checked_seconds_f64(seconds)?;
    OffsetDateTime::UNIX_EPOCH.checked_add(since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_states_its_expiry_and_other_tokens_do_not() {
        let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        for (token, seconds) in [
            (jwt(r#"{"exp":1772600767}"#), Some(1_772_600_767)),
            (jwt(r#"{"iat":1,"exp":1772600767.9}"#), Some(1_772_600_767)),
            (jwt(r#"{"iat":1}"#), None),
            (jwt(r#"{"exp":1e99}"#), None),
            (jwt(r#"{"exp":1e15}"#), None),
            (jwt(r#"{"exp":"1772600767"}"#), None),
            (jwt("{}"), None),
            (jwt("no json"), None),
            (format!("{}.x", jwt(r#"{"exp":1772600767}"#)), None),
            ("a.b".to_owned(), None),
            ("a.b.c".to_owned(), None),
            ("a.b.c.d".to_owned(), None),
            ("ghp_plain".to_owned(), None),
        ] {
            let secret = Secret::parse(&token).unwrap();
            assert_eq!(expiry(&secret).map(OffsetDateTime::unix_timestamp), seconds, "{token}");
        }
    }
}
