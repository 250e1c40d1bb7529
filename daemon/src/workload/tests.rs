//! Tests of the trust rules, with tokens of an issuer that has a key of each kind.

mod attacks;
pub(super) mod issuer;

use std::path::Path;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use regauth_shared::RegistryName;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use self::issuer::{Issuer, claims, encode};
use super::*;
use crate::config::Config;
use crate::credential::source::token_client::TokenClient;
use crate::file_watch::FileWatcher;
use crate::proxy::upstream::Trust;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::proxy_rules::ProxyRules;

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
        let watcher = FileWatcher::without_events();
        KeySource::start(rule.keys.clone(), client, roots, &watcher, &tasks)
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
