//! Tests of a gateway's keys: its listener and its trust rules.

use super::*;

#[test]
fn listening_beyond_loopback_needs_grants() {
    let config = Config::read("listen = '0.0.0.0:9001'\nclients = 'grants'").unwrap();
    assert_eq!((config.listen.port(), config.clients), (9001, Clients::Grants));
    check(
        "clients = 'all'",
        &["1:11: `clients`: clients are \"same-user\", \"grants\" or \"gateway\""],
    );
}

#[test]
fn a_gateway_is_read_with_its_listener_and_its_rules() {
    let text = r#"
clients = "gateway"
drain-delay = "5s"
authorities = "/etc/regauth/authorities"

[listen-tls]
address = "0.0.0.0:9443"
cert = "/tls.crt"
key = "/tls.key"
proxy-protocol = ["10.0.0.0/8"]

[[trust]]
issuer = "https://issuer.example"
audience = "regauth"
jwks = "https://issuer.example/jwks"
match = { repository = "corp/*", ref = ["refs/heads/main", "refs/tags/**"] }
registries = ["corp"]
operations = ["read", "write"]

[[trust]]
issuer = "https://kubernetes.default.svc"
audience = "regauth"
jwks = "/jwks.json"
registries = ["corp", "wheels"]
"#;
    let config = Config::read(text).unwrap();
    let listener = config.listen_tls.unwrap();
    assert_eq!((listener.address.port(), listener.proxy_protocol.len()), (9443, 1));
    assert_eq!(config.drain_delay.as_secs(), 5);
    let [first, second] = &config.trust[..] else {
        panic!("{:?}", config.trust)
    };
    assert!(first.write && !first.fits_everything() && first.claims["ref"].len() == 2);
    assert!(!second.write && second.fits_everything() && second.registries.len() == 2);
}

#[test]
fn problems_of_a_gateway_are_named() {
    check(
        r#"clients = "gateway"
listen = "0.0.0.0:9001"
listen-tls = { address = "0.0.0.0:9443", cert = "tls.crt", proxy-protocol = ["corp"] }

[[trust]]
issuer = ""
audience = "regauth"
jwks = "http://issuer.example/jwks"
registries = []
operations = ["write"]
matches = { repository = "corp/*" }
"#,
        &[
            "2:10: `listen`: other machines can reach this address, and a gateway serves them over TLS only; use 127.0.0.1 or \
             [::1] here, and set listen-tls = { address = \"0.0.0.0:9443\", cert = \"…\", key = \"…\" } in config.toml",
            "3:14: `key` in [listen-tls] is missing: `listen-tls` needs an address, a certificate and its key",
            "3:49: `cert` in [listen-tls]: expected an absolute path",
            "3:78: `proxy-protocol` in [listen-tls]: expected an IP address or a network such as \"10.0.0.0/8\"",
            "6:10: `issuer` in [trust]: expected a text",
            "8:8: `jwks` in [trust]: expected an https:// URL of a JSON Web Key Set, or the absolute path of a file with one",
            "9:14: `registries` in [trust]: it must name a registry",
            "10:14: `operations` in [trust]: who writes has to read; use [\"read\", \"write\"]",
            "11:1: unknown key `matches` in [trust]; did you mean `match`?",
        ],
    );
}
