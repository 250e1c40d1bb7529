//! Attacks on JSON Web Tokens, as a table: the classes of RFC 8725 and of the public lists. Each line changes one thing of a
//! token that is accepted.

use std::path::Path;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use regauth_shared::RegistryName;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::Config;
use crate::credential::source::token_client::TokenClient;
use crate::proxy::upstream::Trust;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::proxy_rules::ProxyRules;

/// Issuer with a key of each kind.
pub(super) struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Issuer {
    pub(super) fn new() -> Self {
        let ecdsa = |algorithm| EcdsaKeyPair::generate(algorithm).unwrap();
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// Its key set. The key of P-384 is of no use.
    pub(super) fn key_set(&self) -> Value {
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

    fn modulus(&self) -> Vec<u8> {
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
    fn token_of(&self, header: &str, claims: &str, by: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.sign(by, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub(super) fn token(&self, claims: &str) -> String {
        self.token_of(r#"{"alg":"RS256","kid":"rsa","typ":"JWT"}"#, claims, "rsa")
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Claims of a job, with changes: a null takes a claim away.
pub(super) fn claims(changes: &Value) -> String {
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

/// Trust rules whose keys are those of the issuer, in a file.
struct Gateway {
    trust: WorkloadTrust,
    _folder: tempfile::TempDir,
}

impl Gateway {
    async fn new(issuer: &Issuer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, issuer.key_set().to_string()).unwrap();
        Self {
            trust: trust(&WorkloadTrust::default(), &rules(&file)),
            _folder: folder,
        }
    }

    async fn shows(&self, token: &str) -> Result<Workload, Rejection> {
        self.trust.authenticate(token.as_bytes()).await
    }
}

fn rules(file: &Path) -> Vec<TrustRule> {
    let rule = |issuer: &str, rest: &str| {
        let file = file.display();
        format!("[[trust]]\nissuer = \"{issuer}\"\naudience = \"regauth\"\njwks = \"{file}\"\n{rest}\n")
    };
    let text = "clients = \"gateway\"\n".to_owned()
        + &rule(
            "https://issuer.example",
            "registries = [\"corp\"]\nmatch = { repository = \"corp/*\" }",
        )
        + &rule(
            "https://issuer.example",
            "registries = [\"wheels\"]\noperations = [\"read\", \"write\"]\n\
             match = { repository = \"corp/*\", ref = [\"refs/heads/main\", \"refs/tags/**\"], protected = \"true\" }",
        );
    Config::read(&text).unwrap().trust
}

fn trust(previous: &WorkloadTrust, rules: &[TrustRule]) -> WorkloadTrust {
    trust_with(previous, rules, &Ok(Trust::nobody()))
}

/// As [`trust`], with what the `ca-file` of all rules has.
fn trust_with(previous: &WorkloadTrust, rules: &[TrustRule], roots: &Result<Trust, String>) -> WorkloadTrust {
    let tasks = TaskTracker::new();
    let start = |rule: &TrustRule, roots: Trust| {
        let dialer = Dialer::new(ProxyRules::direct(), Trust::system(&[])).unwrap();
        let client = TokenClient::new(&dialer, roots.clone());
        KeySource::start(rule.keys.clone(), client, roots, &tasks)
    };
    previous.replace(rules, |_| roots.clone(), start)
}

fn name(text: &str) -> RegistryName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_token_of_each_algorithm_opens_what_its_rules_say() {
    let issuer = Issuer::new();
    let gateway = Gateway::new(&issuer).await;
    for (header, by) in [
        (r#"{"alg":"RS256","kid":"rsa"}"#, "rsa"),
        (r#"{"alg":"ES256","kid":"p256","typ":"JOSE"}"#, "p256"),
        (r#"{"alg":"EdDSA","kid":"ed","typ":"at+JWT"}"#, "ed"),
        // One key is left for the algorithm.
        (r#"{"alg":"RS256"}"#, "rsa"),
    ] {
        let workload = gateway
            .shows(&issuer.token_of(header, &claims(&json!({})), by))
            .await
            .unwrap();
        assert_eq!(workload.identity.repository.as_deref(), Some("corp/plans"), "{header}");
        for (registry, operation, covers) in [
            ("corp", Operation::Read, true),
            ("corp", Operation::Write, false),
            ("wheels", Operation::Read, true),
            ("wheels", Operation::Write, true),
            ("other", Operation::Read, false),
        ] {
            assert_eq!(workload.covers(&name(registry), operation), covers, "{registry}");
        }
    }
    let branch = claims(&json!({"ref": "refs/heads/attack"}));
    let workload = gateway.shows(&issuer.token(&branch)).await.unwrap();
    assert!(workload.covers_registry(&name("corp")) && !workload.covers_registry(&name("wheels")));
}

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

#[tokio::test]
async fn weak_and_foreign_keys_are_left_out_of_a_key_set() {
    use crate::workload::keys::{InvalidKeys, Keys};
    let issuer = Issuer::new();
    let keys = issuer.key_set()["keys"].as_array().unwrap().clone();
    let changed = |changes: Value| {
        let mut key = keys[0].clone();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        json!({ "keys": [key] }).to_string()
    };
    for text in [
        changed(json!({"use": "enc"})),
        changed(json!({"alg": "RS512"})),
        changed(json!({"alg": "HS256"})),
        changed(json!({"key_ops": ["sign"]})),
        changed(json!({"n": null})),
        changed(json!({"e": "@"})),
        changed(json!({"kty": "oct", "k": "c2VjcmV0"})),
        json!({ "keys": [keys[2], keys[4]] }).to_string(),
        r#"{"keys":[]}"#.to_owned(),
    ] {
        assert_eq!(
            Keys::parse(text.as_bytes()).unwrap_err(),
            InvalidKeys::NoneOfUse,
            "{text}"
        );
    }
    for text in ["", "<!doctype html>", "[]", "{}", r#"{"keys":{}}"#] {
        assert_eq!(
            Keys::parse(text.as_bytes()).unwrap_err(),
            InvalidKeys::NotAKeySet,
            "{text}"
        );
    }
    let many = json!({ "keys": vec![keys[0].clone(); 257] }).to_string();
    assert_eq!(Keys::parse(many.as_bytes()).unwrap_err(), InvalidKeys::TooMany);
    assert_eq!(Keys::parse(issuer.key_set().to_string().as_bytes()).unwrap().len(), 3);

    // An RSA key of 1024 bits verifies nothing.
    let weak = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let token = issuer.token(&claims(&json!({})));
    let short = encode(&weak.public_key().modulus().big_endian_without_leading_zero()[..128]);
    let short = Keys::parse(changed(json!({ "n": short })).as_bytes()).unwrap();
    assert!(!short.verify(&UnverifiedToken::parse(token.as_bytes()).unwrap()));
    // Two keys of one id: neither is chosen.
    let twins = json!({ "keys": [keys[0], keys[0]] }).to_string();
    let twins = Keys::parse(twins.as_bytes()).unwrap();
    assert!(!twins.verify(&UnverifiedToken::parse(token.as_bytes()).unwrap()));
}

#[tokio::test]
async fn a_rule_that_leaves_the_configuration_closes_what_it_opened() {
    let issuer = Issuer::new();
    let gateway = Gateway::new(&issuer).await;
    let workload = gateway.shows(&issuer.token(&claims(&json!({})))).await.unwrap();
    let rules: Vec<TrustRule> = gateway.trust.rules().map(|(rule, _)| rule.clone()).collect();
    let fewer = trust(&gateway.trust, &rules[..1]);
    assert!(workload.covers_registry(&name("corp")) && !workload.covers_registry(&name("wheels")));
    let ended = tokio::time::timeout(Duration::from_millis(50), workload.ended()).await;
    assert!(ended.is_err(), "one of its rules is still there");
    trust(&fewer, &[]);
    workload.ended().await;
    assert!(!workload.covers_registry(&name("corp")));
}

#[tokio::test]
async fn keys_are_fetched_again_when_the_roots_of_their_host_change() {
    let root = rcgen::generate_simple_self_signed(["root.example".to_owned()]).unwrap();
    let (old, new) = (Trust::system(&[]), Trust::system(&[root.cert.der().clone()]));
    let issuer = Issuer::new();
    let gateway = Gateway::new(&issuer).await;
    let rules: Vec<TrustRule> = gateway.trust.rules().map(|(rule, _)| rule.clone()).collect();
    let before = trust_with(&gateway.trust, &rules, &Ok(old.clone()));
    let workload = before
        .authenticate(issuer.token(&claims(&json!({}))).as_bytes())
        .await
        .unwrap();
    let has_same_keys = |one: &WorkloadTrust, other: &WorkloadTrust| Arc::ptr_eq(&one.0[0].keys, &other.0[0].keys);

    let unchanged = trust_with(&before, &rules, &Ok(old));
    assert!(has_same_keys(&before, &unchanged));
    // A file that cannot be read takes nothing away, and is a problem.
    let unread = trust_with(&unchanged, &rules, &Err("it has no certificate".to_owned()));
    assert!(has_same_keys(&before, &unread));
    let problems = |trust: &WorkloadTrust| trust.rules().flat_map(|(_, problems)| problems).collect::<Vec<_>>();
    assert_eq!(problems(&unread), ["it has no certificate"; 2]);
    let expected = ("https://issuer.example", "it has no certificate");
    assert_eq!(unread.roots_problems().collect::<Vec<_>>(), [expected; 2]);
    let changed = trust_with(&unread, &rules, &Ok(new));
    assert!(!has_same_keys(&before, &changed) && problems(&changed).is_empty());
    // The two rules of one issuer share its keys, and bearers go on.
    assert!(Arc::ptr_eq(&changed.0[0].keys, &changed.0[1].keys));
    assert!(workload.covers_registry(&name("corp")));
    trust(&changed, &[]);
    workload.ended().await;
}
