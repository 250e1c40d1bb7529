//! Tokens minted from an identity: a real OpenID provider signs it, a service of each vendor checks it and the request, and
//! real cargo, git and pip use the token.

mod failures;
mod logins;

use std::fs;
use std::time::{Duration, Instant};

use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::{self, Curl};
use regauth_tests::forge::Forge;
use regauth_tests::moto::Moto;
use regauth_tests::openid_provider::{CLIENT, CLIENT_SECRET};
use regauth_tests::poll;
use regauth_tests::token_service::{Fault, Vendor, app_key};

#[test]
fn cargo_builds_with_a_token_of_jfrog_for_an_identity_of_github_actions() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    let source = format!("jfrog:host={},provider=corp,audience=jfrog", service.host());
    let daemon = forge.builds_with(&service, &source);
    let shown = daemon.ctl(&["show", "corp"]).succeeds().json;
    assert_eq!(shown["source"], "jfrog with the identity of the environment");
    assert!(
        shown["credential"]["expires"].is_string() && shown["credential"]["renews"].is_string(),
        "{shown}"
    );
    assert_eq!(
        (service.minted().len(), forge.rejections()),
        (1, 0),
        "one token serves all requests"
    );
}

#[test]
fn cargo_builds_with_tokens_of_each_vendor() {
    let moto = Moto::start();
    for (vendor, scheme, source) in [
        (
            Vendor::Cloudsmith,
            Scheme::bearer(),
            "cloudsmith:organization=corp,service=ci,api=URL,audience=cloudsmith",
        ),
        (
            Vendor::Azure,
            Scheme::bearer(),
            "azure:tenant=corp,client-id=app,authority=URL,identity=github-actions",
        ),
        (
            Vendor::Google,
            Scheme::bearer(),
            "google:provider=projects/1/locations/global/workloadIdentityPools/ci/providers/corp,sts-url=URL,\
             service-account=ci@corp.iam.gserviceaccount.com,iam-url=URL",
        ),
        (
            Vendor::Codeartifact(moto.address()),
            Scheme::bearer(),
            "codeartifact:domain=corp,owner=123456789012,region=eu-central-1,\
             role=arn:aws:iam::123456789012:role/ci,sts-url=URL,url=URL",
        ),
        (
            Vendor::Vault,
            Scheme::bearer(),
            "vault:address=URL,role=ci,path=secret/cargo,namespace=corp,audience=vault",
        ),
        (
            Vendor::Vault,
            Scheme::bearer(),
            "vault:address=URL,role=ci,path=secret/cargo,namespace=corp,audience=vault,auth=kubernetes,auth-mount=cluster",
        ),
    ] {
        let forge = Forge::new(scheme);
        let service = forge.service(vendor);
        forge.builds_with(&service, &source.replace("URL", &service.url()));
    }
}

#[test]
fn a_key_signs_for_a_token_of_a_github_app() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::GithubApp);
    let key = forge.secret_file("app.pem", &app_key());
    let source = format!(
        "github-app:client-id=Iv23corp,installation=42,private-key={key},repositories=plans,permissions=contents:read,api={}",
        service.url()
    );
    forge.builds_with(&service, &source);
}

#[test]
fn each_credentials_file_of_google_gives_a_token() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Google);
    let identity = forge
        .provider
        .identity("https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/corp");
    let identity = forge.secret_file("identity", &identity);
    for document in [
        serde_json::json!({
            "type": "authorized_user", "client_id": "gcloud", "client_secret": "secret-of-gcloud",
            "refresh_token": "refresh-token-of-me", "token_uri": format!("{}/token", service.url()),
        }),
        serde_json::json!({
            "type": "service_account", "client_email": "ci@corp.iam.gserviceaccount.com", "private_key": app_key(),
            "private_key_id": "app-key", "token_uri": format!("{}/token", service.url()),
        }),
        serde_json::json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/corp",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{}/v1/token", service.url()),
            "credential_source": { "file": identity.trim_start_matches("file:") },
        }),
    ] {
        let file = forge.secret_file("google.json", &serde_json::to_string_pretty(&document).unwrap());
        let daemon = forge.builds_with(&service, &format!("google:credentials={file}"));
        daemon.register_secret("secret-of-gcloud");
        daemon.register_secret("refresh-token-of-me");
    }
}

#[test]
fn a_secret_id_gives_a_token_of_vault() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Vault);
    let secret_id = forge.secret_file("secret-id", "secret-id-of-ci");
    let source = format!(
        "vault:address={},auth=approle,role=ci,path=secret/cargo,namespace=corp,identity={secret_id}",
        service.url()
    );
    let daemon = forge.builds_with(&service, &source);
    daemon.register_secret("secret-id-of-ci");
}

#[test]
fn a_lease_of_vault_is_renewed_and_replaced_at_its_end() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Vault);
    service.set_lifetime(Duration::from_secs(4));
    let daemon = forge.daemon();
    let source = format!(
        "vault:address={},role=ci,path=database/creds/ci,engine=leased,field=password,namespace=corp,audience=vault",
        service.url()
    );
    forge.add(&daemon, &source, &[]).succeeds();
    let file = forge.registry.file("f", 100);
    // Vault renews twice, then gives a new password.
    poll::wait_for("another password", || {
        assert_eq!(Curl::new().behind(&daemon).get(&file).status, 200);
        (service.minted().len() == 2).then_some(())
    });
    let renewals = service
        .requests()
        .iter()
        .filter(|line| **line == "POST /v1/sys/leases/renew 200")
        .count();
    assert_eq!((renewals, forge.rejections()), (2, 0), "{:?}", service.requests());
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}

#[test]
fn an_oauth_server_gives_tokens_for_a_client_and_for_an_identity() {
    let forge = Forge::bearer();
    let secret = forge.secret_file("client", CLIENT_SECRET);
    let url = forge.provider.token_url();
    for source in [
        format!("oauth:token-url={url},grant=client-credentials,client-id={CLIENT},client-secret={secret}"),
        format!("oauth:token-url={url},client-id={CLIENT},client-secret={secret},audience=packages"),
    ] {
        let daemon = forge.daemon();
        daemon.register_secret(CLIENT_SECRET);
        forge.add(&daemon, &source, &[]).succeeds();
        forge.assert_cargo_builds(&daemon);
    }
}

#[test]
fn a_source_that_mints_survives_a_restart_and_an_edit_of_the_configuration() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    let mut daemon = forge.daemon();
    let source = format!(
        "jfrog:host={},provider=corp,audience=jfrog,identity=github-actions",
        service.host()
    );
    forge.add(&daemon, &source, &[]).succeeds();
    let config = fs::read_to_string(daemon.home().join("config.toml")).unwrap();
    let expected = format!(
        r#"source = {{ exchange = "jfrog", audience = "jfrog", host = "{}", identity-host = "{}", provider = "corp", identity = "github-actions" }}"#,
        service.host(),
        forge.provider.host()
    );
    assert!(config.contains(&expected), "{config}");
    daemon.restart();
    forge.assert_cargo_builds(&daemon);
    assert_eq!(service.minted().len(), 2);
    let identity = forge.secret_file("identity", &forge.provider.identity("jfrog"));
    let edited = config.replace(
        "\"github-actions\"",
        &format!(
            "{{ command = [\"cat\", \"{}\"] }}",
            identity.trim_start_matches("file:")
        ),
    );
    fs::write(daemon.home().join("config.toml"), edited).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    forge.assert_cargo_builds(&daemon);
    let shown = daemon.ctl(&["show", "corp"]).succeeds().json;
    assert_eq!(shown["source"], "jfrog with the identity of command:cat");
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}

/// Tokens of two seconds for some renewals, then an outage of the provider. With REGAUTH_LONG=1, a minute of each.
#[test]
fn tokens_of_two_seconds_and_a_provider_that_is_down_for_a_while_fail_no_request() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    service.set_lifetime(Duration::from_secs(2));
    let daemon = forge.daemon();
    let source = format!("jfrog:host={},provider=corp,audience=jfrog", service.host());
    forge.add(&daemon, &source, &[]).succeeds();
    let file = forge.registry.file("f", 100);
    let long = std::env::var_os("REGAUTH_LONG").is_some();
    let (load, outage, lifetime) = match long {
        // Refreshes are due from half of a lifetime on, and the last of a minute of failures is tried again within another.
        true => (
            Duration::from_secs(60),
            Duration::from_secs(60),
            Duration::from_secs(300),
        ),
        false => (Duration::ZERO, Duration::ZERO, Duration::from_secs(20)),
    };
    let served = curl::under_load(&daemon, &file, |_| {
        let start = Instant::now();
        poll::within(Duration::from_secs(120), || {
            (start.elapsed() >= load && service.minted().len() >= 5).then_some(())
        })
        .unwrap_or_else(|| panic!("{:?}", service.requests()));
        // A longer token outlives the fault.
        service.set_lifetime(lifetime);
        let before = service.minted().len();
        poll::wait_for("a longer token", || (service.minted().len() > before).then_some(()));
        service.set_fault(Some(Fault::Down));
        let has_failed = || {
            let shown = daemon.ctl(&["show", "corp"]).json["credential"].clone();
            shown["failure"].is_object().then_some(shown)
        };
        poll::within(lifetime, has_failed).expect("a failed renewal");
        let failed = Instant::now();
        let shown = poll::within(lifetime, || (failed.elapsed() >= outage).then(has_failed).flatten()).unwrap();
        assert_eq!(shown["state"], "ready", "{shown}");
        assert!(shown["renews"].is_string(), "{shown}");
        let message = shown["failure"]["message"].as_str().unwrap();
        assert_eq!(message, format!("{} answered 503", service.host()));
        service.set_fault(None);
        let before = service.minted().len();
        poll::within(lifetime, || (service.minted().len() > before).then_some(())).expect("a renewal");
    });
    assert!(served > 20, "{served} requests");
    assert_eq!(forge.rejections(), 0, "an expired token was used");
    assert!(daemon.ctl(&["show", "corp"]).json["credential"]["failure"].is_null());
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}

#[test]
fn a_registry_is_served_again_once_its_provider_is_back() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    service.set_fault(Some(Fault::Down));
    let daemon = forge.daemon();
    let source = format!("jfrog:host={},provider=corp,audience=jfrog", service.host());
    let refused = forge
        .add(&daemon, &source, &[])
        .exits(i32::from(exit_code::FAILED))
        .json;
    assert!(
        refused["err"]["message"].as_str().unwrap().contains("answered 503"),
        "{refused}"
    );
    forge.add(&daemon, &source, &["--no-verify"]).succeeds();
    let file = forge.registry.file("f", 100);
    let answer = Curl::new().behind(&daemon).get(&file);
    assert_eq!(
        (answer.status, answer.header("regauth-error")),
        (502, Some("credential-unavailable"))
    );
    service.set_fault(None);
    poll::wait_for("a token", || {
        (Curl::new().behind(&daemon).get(&file).status == 200).then_some(())
    });
}

#[test]
fn a_service_knows_the_scheme_and_the_user_name_of_each_kind() {
    let moto = Moto::start();
    let forge = Forge::new(Scheme::basic("aws"));
    let service = forge.service(Vendor::Codeartifact(moto.address()));
    let source = format!(
        "codeartifact:domain=corp,owner=123456789012,region=eu-central-1,role=arn:aws:iam::123456789012:role/ci,\
         sts-url={url},url={url},identity-host={host}",
        url = service.url(),
        host = forge.provider.host()
    );
    let daemon = forge.daemon();
    let (scope, ca) = (forge.registry.scope(), forge.registry.ca());
    let location = [
        "add-registry",
        "python",
        "--kind",
        "pypi",
        "--scope",
        &scope,
        "--no-verify",
    ];
    let source = ["--ca-file", ca.to_str().unwrap(), "--source", &source];
    let added = daemon.ctl(&[&location[..], &source].concat()).succeeds().json;
    assert_eq!(
        (&added["registry"]["scheme"], &added["registry"]["username"]),
        (&"basic".into(), &"aws".into())
    );
    assert_eq!(
        Curl::new().behind(&daemon).get(&forge.registry.file("f", 100)).status,
        200
    );
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}
