//! Tests of the flags that name an exchange.

use super::*;

#[test]
fn a_flag_becomes_a_mint() {
    let mint = ExchangeKind::find("jfrog").unwrap();
    let mint = mint
        .parse("host=corp.jfrog.io,provider=github,identity=file:/run/id,audience=corp")
        .unwrap();
    assert_eq!(mint.to_string(), "jfrog with the identity of file:/run/id");
    assert_eq!(mint.audience.as_deref(), Some("corp"));
    assert_eq!(mint.secret_variables(), Vec::<String>::new());
}

/// Microsoft, "OAuth 2.0 device authorization grant flow".
#[test]
fn a_person_logs_in_at_the_tenant_of_azure() {
    let mint = ExchangeKind::find("azure").unwrap();
    let mint = mint.parse("tenant=corp.example,client-id=app,identity=device").unwrap();
    let login = mint.device_flow().unwrap();
    let urls = [&login.authorization_url, &login.token_url].map(|endpoint| endpoint.url().as_str());
    let expected = ["devicecode", "token"]
        .map(|page| format!("https://login.microsoftonline.com/corp.example/oauth2/v2.0/{page}"));
    assert_eq!(urls, expected);
    let scope = "499b84ac-1321-427f-aa17-267ca6975798/.default offline_access";
    assert_eq!((login.client_id.as_str(), login.scope.as_deref()), ("app", Some(scope)));
    let of_a_job = ExchangeKind::find("azure").unwrap();
    let of_a_job = of_a_job
        .parse("tenant=corp.example,client-id=app,identity=gitlab")
        .unwrap();
    assert!(of_a_job.device_flow().is_none());
}

#[test]
fn every_variable_with_a_secret_is_named() {
    let mint = ExchangeKind::find("oauth").unwrap();
    let mint = mint
        .parse("token-url=https://idp.example/,client-id=a,client-secret=env:SECRET,identity=env:ID")
        .unwrap();
    assert_eq!(mint.secret_variables(), ["ID", "SECRET"]);
    for key in EXCHANGES.iter().flat_map(|kind| kind.keys) {
        let refers = key.example.trim_matches('"').parse::<SecretReference>().is_ok();
        assert_eq!(key.is_secret, refers, "{}", key.name);
    }
}

#[test]
fn a_wrong_flag_is_explained_and_no_value_repeated() {
    for (name, text, error) in [
        (
            "jfrog",
            "host=corp.jfrog.io",
            "`jfrog` needs provider, such as \"github-corp\"",
        ),
        (
            "jfrog",
            "canary",
            "what follows `jfrog:` is not of the form key=value,key=value",
        ),
        (
            "jfrog",
            "canary=1",
            "`jfrog` does not know one of the keys that follow it; it knows: host, provider, provider-type, \
             token-audience, mapping, project, audience, identity-host, ttl, identity",
        ),
        (
            "jfrog",
            "host=https://canary/,provider=p",
            "host: expected a host such as corp.jfrog.io, without https:// and path",
        ),
        (
            "jfrog",
            "host=h,provider=p,identity=canary",
            "identity: an identity is github-actions, gitlab, kubernetes, \
          circleci, buildkite, bitbucket, azure-pipelines, device, aws, \"file:/path\" or \"env:VARIABLE\"",
        ),
        (
            "oauth",
            "token-url=http://idp.example/",
            "token-url: a token service is asked over https://; http:// is for loopback only",
        ),
        (
            "oauth",
            "token-url=https://idp.example/,grant=client-credentials,client-id=a,client-secret=canary",
            "client-secret: a secret does not belong here; give file:/path or env:VARIABLE",
        ),
    ] {
        let found = ExchangeKind::find(name).unwrap().parse(text).unwrap_err().to_string();
        assert_eq!(found, error, "{text}");
    }
}
