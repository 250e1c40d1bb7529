//! Attacks on JSON Web Tokens, as a table: the classes of RFC 8725 and of the public lists. Each line changes one thing of a
//! token that is accepted.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::json;

use super::Gateway;
use super::issuer::{Issuer, claims, encode, now};
use crate::workload::Rejection;

#[tokio::test]
async fn attacks_on_the_header_and_the_signature_fail() {
    let issuer = Issuer::new();
    let gateway = Gateway::new(&issuer).await;
    let good = claims(&json!({}));
    let pem_of_key = encode(issuer.modulus());
    let key = issuer.key_set()["keys"][0].to_string();
    let stranger = Issuer::new();
    for (header, by) in [
        // No signature, or one with a secret: the public key, an empty secret, the shared key in the set.
        (r#"{"alg":"none"}"#.to_owned(), "rsa"),
        (r#"{"alg":"None","kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":"nOnE","kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":"","kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":null,"kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":["RS256"],"kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":"HS256","kid":"rsa"}"#.to_owned(), &*pem_of_key),
        (
            r#"{"alg":"HS256","kid":"shared"}"#.to_owned(),
            "a secret that should not be here",
        ),
        (r#"{"alg":"HS256"}"#.to_owned(), ""),
        // Another algorithm than the key's, or another hash or padding.
        (r#"{"alg":"RS512","kid":"rsa"}"#.to_owned(), "rsa-512"),
        (r#"{"alg":"RS256","kid":"rsa"}"#.to_owned(), "rsa-512"),
        (r#"{"alg":"PS256","kid":"rsa"}"#.to_owned(), "pss"),
        (r#"{"alg":"RS256","kid":"rsa"}"#.to_owned(), "pss"),
        (r#"{"alg":"rs256","kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256 ","kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":"ES256","kid":"rsa"}"#.to_owned(), "p256"),
        (r#"{"alg":"RS256","kid":"p256"}"#.to_owned(), "rsa"),
        (r#"{"alg":"EdDSA","kid":"rsa"}"#.to_owned(), "ed"),
        (r#"{"alg":"ES384","kid":"p384"}"#.to_owned(), "p384"),
        (r#"{"alg":"ES256","kid":"p384"}"#.to_owned(), "p384"),
        // A key id that is no id: paths, SQL, another type, another letter case.
        (r#"{"alg":"RS256","kid":"../../../../dev/null"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":"/etc/passwd"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":"rsa' OR '1'='1"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":""}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":"RSA"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":"rsa\u0000"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":["rsa"]}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":null}"#.to_owned(), "rsa"),
        // Extensions that have to be understood, and another meaning of the signed bytes.
        (
            r#"{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}"#.to_owned(),
            "rsa",
        ),
        (r#"{"alg":"RS256","kid":"rsa","crit":[]}"#.to_owned(), "rsa"),
        (
            r#"{"alg":"RS256","kid":"rsa","b64":false,"crit":["b64"]}"#.to_owned(),
            "rsa",
        ),
        (r#"{"alg":"RS256","kid":"rsa","b64":true}"#.to_owned(), "rsa"),
        // Other kinds of tokens of the same issuer.
        (r#"{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":"rsa","typ":"secevent+jwt"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":"rsa","typ":7}"#.to_owned(), "rsa"),
        // A name that occurs twice.
        (r#"{"alg":"RS256","alg":"none","kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":"p256","kid":"rsa"}"#.to_owned(), "rsa"),
        // Not an object.
        (r#""RS256""#.to_owned(), "rsa"),
        (r#"[{"alg":"RS256","kid":"rsa"}]"#.to_owned(), "rsa"),
        (r#"{"alg":"RS256","kid":"rsa"} {}"#.to_owned(), "rsa"),
        (String::new(), "rsa"),
    ] {
        let token = issuer.token_of(&header, &good, by);
        assert_eq!(
            gateway.shows(&token).await.err(),
            Some(Rejection::Invalid),
            "{header} {by}"
        );
    }
    // Keys that the header brings along are a stranger's.
    for header in [
        format!(
            r#"{{"alg":"RS256","kid":"rsa","jwk":{}}}"#,
            stranger.key_set()["keys"][0]
        ),
        format!(r#"{{"alg":"RS256","jwk":{}}}"#, stranger.key_set()["keys"][0]),
        r#"{"alg":"RS256","kid":"rsa","jku":"https://attacker.example/jwks"}"#.to_owned(),
        r#"{"alg":"RS256","kid":"rsa","x5u":"https://attacker.example/x5u"}"#.to_owned(),
        r#"{"alg":"RS256","kid":"rsa","x5c":["MIIB"]}"#.to_owned(),
    ] {
        let token = stranger.token_of(&header, &good, "rsa");
        assert_eq!(gateway.shows(&token).await.err(), Some(Rejection::Invalid), "{header}");
    }
    // They are not looked at in a token of the issuer's, either.
    let header = format!(r#"{{"alg":"RS256","kid":"rsa","jwk":{key},"jku":"https://attacker.example/"}}"#);
    assert!(gateway.shows(&issuer.token_of(&header, &good, "rsa")).await.is_ok());
}

#[tokio::test]
async fn a_changed_token_or_signature_fails() {
    let issuer = Issuer::new();
    let gateway = Gateway::new(&issuer).await;
    let token = issuer.token(&claims(&json!({})));
    let [header, body, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let other = claims(&json!({"repository": "corp/other"}));
    let es256 = issuer.token_of(r#"{"alg":"ES256","kid":"p256"}"#, &claims(&json!({})), "p256");
    let (es_signed, es_signature) = es256.rsplit_once('.').unwrap();
    let es_raw = URL_SAFE_NO_PAD.decode(es_signature).unwrap();
    let der = |raw: &[u8]| [&[0x30, 0x44, 2, 32][..], &raw[..32], &[2, 32], &raw[32..]].concat();
    let with = |signature: &[u8]| format!("{header}.{body}.{}", encode(signature));
    let es_with = |signature: &[u8]| format!("{es_signed}.{}", encode(signature));
    let flipped = |at: usize| {
        let mut raw = raw.clone();
        raw[at] ^= 1;
        raw
    };
    for (attack, token) in [
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("no signature", format!("{header}.{body}.")),
        ("no signature, no dot", format!("{header}.{body}")),
        ("four parts", format!("{token}.{signature}")),
        ("other claims", format!("{header}.{}.{signature}", encode(&other))),
        ("first bit", with(&flipped(0))),
        ("last bit", with(&flipped(255))),
        ("short", with(&raw[1..])),
        ("zero in front", with(&[&[0][..], &raw].concat())),
        ("zeros", with(&[0; 256])),
        ("padding", format!("{header}.{body}.{signature}==")),
        (
            "padded header",
            format!(
                "{}.{body}.{signature}",
                URL_SAFE.encode(r#"{"alg":"RS256","kid":"rsa" }"#)
            ),
        ),
        (
            "standard alphabet",
            format!("{header}.{body}.{}+/", STANDARD_NO_PAD.encode(&raw)),
        ),
        (
            "line break",
            format!("{header}.{body}.{}\n{}", &signature[..100], &signature[100..]),
        ),
        ("space", format!("{token} ")),
        ("null", format!("{token}\0")),
        ("ECDSA of zeros", es_with(&[0; 64])),
        ("ECDSA in DER", es_with(&der(&es_raw))),
        ("ECDSA that is long", es_with(&[&es_raw[..], &[0]].concat())),
        (
            "ECDSA with r and s exchanged",
            es_with(&[&es_raw[32..], &es_raw[..32]].concat()),
        ),
        (
            "64 KiB",
            issuer.token(&claims(&json!({"padding": "x".repeat(48 * 1024)}))),
        ),
    ] {
        assert_eq!(gateway.shows(&token).await.err(), Some(Rejection::Invalid), "{attack}");
    }
    // Trailing bits of base64 that mean nothing: one signature has one form.
    let last = signature.chars().last().unwrap();
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        .chars()
        .filter(|c| *c != last)
    {
        let token = format!("{header}.{body}.{}{letter}", &signature[..signature.len() - 1]);
        assert_eq!(gateway.shows(&token).await.err(), Some(Rejection::Invalid), "{letter}");
    }
}

#[tokio::test]
async fn attacks_on_the_claims_fail() {
    use Rejection::{Expired, Invalid, NoRule, NotYetValid};
    let issuer = Issuer::new();
    let gateway = Gateway::new(&issuer).await;
    for (changes, rejection) in [
        // Issuer: another one, its look-alikes, other types.
        (json!({"iss": "https://attacker.example"}), Invalid),
        (json!({"iss": "https://issuer.example/"}), Invalid),
        (json!({"iss": "https://ISSUER.example"}), Invalid),
        (json!({"iss": "https://issuer.example\u{0}"}), Invalid),
        (json!({"iss": "https://іssuer.example"}), Invalid),
        (json!({"iss": "https://issuer.example@attacker.example"}), Invalid),
        (json!({"iss": ["https://issuer.example"]}), Invalid),
        (json!({"iss": null}), Invalid),
        // Audience.
        (json!({"aud": "other"}), Invalid),
        (json!({"aud": "regauth2"}), Invalid),
        (json!({"aud": "REGAUTH"}), Invalid),
        (json!({"aud": ["other"]}), Invalid),
        (json!({"aud": ["other", ["regauth"]]}), Invalid),
        (json!({"aud": ["regauth", 7]}), Invalid),
        (json!({"aud": {"regauth": true}}), Invalid),
        (json!({"aud": []}), Invalid),
        (json!({"aud": null}), Invalid),
        // Times.
        (json!({"exp": null}), Invalid),
        (json!({"exp": now() - 1}), Expired),
        (json!({"exp": (now() - 1) as f64 + 0.9}), Expired),
        (json!({"exp": 1}), Expired),
        (json!({"exp": 0}), Invalid),
        (json!({"exp": -1}), Invalid),
        (json!({"exp": -9.9e18}), Invalid),
        (json!({"exp": 1e300}), Invalid),
        (json!({"exp": u64::MAX}), Invalid),
        (json!({"exp": 253_402_300_800_u64}), Invalid),
        (json!({"exp": "9999999999"}), Invalid),
        (json!({"exp": true}), Invalid),
        (json!({"exp": [now() + 300]}), Invalid),
        (json!({"nbf": now() + 120}), NotYetValid),
        (json!({"nbf": "soon"}), Invalid),
        (json!({"nbf": -5}), Invalid),
        (json!({"iat": now() + 120}), NotYetValid),
        (json!({"iat": 1e99}), Invalid),
        // Subject.
        (json!({"sub": null}), Invalid),
        (json!({"sub": ""}), Invalid),
        (json!({"sub": 7}), Invalid),
        (json!({"sub": "a\nregauth: b"}), Invalid),
        (json!({"sub": "a\u{0}"}), Invalid),
        (json!({"sub": "x".repeat(1025)}), Invalid),
        (json!({"sub": "repo:corp/plans\u{200b}"}), Invalid),
        (json!({"sub": "\u{202e}snalp/proc"}), Invalid),
        (json!({"sub": "corp\u{2066}/plans"}), Invalid),
        (json!({"sub": "corp\u{e0041}"}), Invalid),
        (json!({"sub": "\u{feff}corp"}), Invalid),
        (json!({"sub": "corp\u{2028}plans"}), Invalid),
        // Claims that patterns are compared with.
        (json!({"repository": "evil/plans"}), NoRule),
        (json!({"repository": "corp/plans/../../evil/x"}), NoRule),
        (json!({"repository": "corp/plans\u{0}"}), NoRule),
        (json!({"repository": "corp/plans\n"}), NoRule),
        (json!({"repository": "corp/plans\u{200d}"}), NoRule),
        (json!({"repository": "corp/\u{202e}snalp"}), NoRule),
        (json!({"repository": "CORP/plans"}), NoRule),
        (json!({"repository": "corp"}), NoRule),
        (json!({"repository": null}), NoRule),
        (json!({"repository": {"corp/plans": "corp/plans"}}), NoRule),
        (json!({"repository": [["corp/plans"]]}), NoRule),
    ] {
        let shown = gateway.shows(&issuer.token(&claims(&changes))).await;
        assert_eq!(shown.err(), Some(rejection), "{changes}");
    }
    for changes in [
        json!({"aud": ["other", "regauth"]}),
        json!({"exp": (now() + 300) as f64 + 0.5}),
        json!({"nbf": null, "iat": null}),
        json!({"nbf": now() + 30}),
        json!({"repository": ["evil/x", "corp/plans"]}),
        json!({"sub": "größe"}),
    ] {
        assert!(
            gateway.shows(&issuer.token(&claims(&changes))).await.is_ok(),
            "{changes}"
        );
    }
    // A name that occurs twice, at either place, is refused before it is compared.
    let (open, rest) = (
        r#"{"repository":"corp/plans","#,
        claims(&json!({"repository": "evil/x"})),
    );
    for doubled in [
        format!("{open}{}", &rest[1..]),
        format!(r#"{},"repository":"corp/plans"}}"#, &rest[..rest.len() - 1]),
        format!(r#"{},"repos\u0069tory":"corp/plans"}}"#, &rest[..rest.len() - 1]),
        format!(r#"{},"exp":9999999999}}"#, &rest[..rest.len() - 1]),
        "7".to_owned(),
        "null".to_owned(),
        format!("[{rest}]"),
        "{".repeat(5000),
        "[".repeat(5000),
        "\u{feff}{}".to_owned(),
    ] {
        assert_eq!(
            gateway.shows(&issuer.token(&doubled)).await.err(),
            Some(Invalid),
            "{doubled:.80}"
        );
    }
}
