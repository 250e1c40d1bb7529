//! Tokens minted from an identity: a real OpenID provider signs it, a service of each vendor checks it and the request, and
//! real cargo, git and pip use the token.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::{self, Curl};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::forge::Forge;
use regauth_tests::http_server::{Handler, HttpServer};
use regauth_tests::moto::Moto;
use regauth_tests::openid_provider::{CLIENT, CLIENT_SECRET, JOB_TOKEN, PERSON};
use regauth_tests::poll;
use regauth_tests::programs::binary;
use regauth_tests::store_items;
use regauth_tests::terminal::Terminal;
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
    let served = curl::under_load(&daemon, &file, |_| {
        let wanted = if long { 40 } else { 5 };
        let deadline = Instant::now() + Duration::from_secs(120);
        while service.minted().len() < wanted {
            assert!(Instant::now() < deadline, "{:?}", service.requests());
            thread::sleep(Duration::from_millis(20));
        }
        // A token of an hour outlives the fault.
        service.set_lifetime(Duration::from_secs(20));
        let before = service.minted().len();
        poll::wait_for("a longer token", || (service.minted().len() > before).then_some(()));
        service.set_fault(Some(Fault::Down));
        poll::wait_for("a failed renewal", || {
            daemon.ctl(&["show", "corp"]).json["credential"]["failure"]
                .is_object()
                .then_some(())
        });
        let shown = daemon.ctl(&["show", "corp"]).json["credential"].clone();
        assert_eq!(shown["state"], "ready", "{shown}");
        assert!(shown["renews"].is_string(), "{shown}");
        let message = shown["failure"]["message"].as_str().unwrap();
        assert_eq!(message, format!("{} answered 503", service.host()));
        service.set_fault(None);
        let before = service.minted().len();
        poll::wait_for("a renewal", || (service.minted().len() > before).then_some(()));
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

/// Failure of a mint: message and next step.
fn failure(forge: &Forge, daemon: &Daemon, source: &str) -> String {
    let refused = forge.add(daemon, source, &[]).exits(i32::from(exit_code::FAILED)).json;
    let error = &refused["err"];
    format!(
        "{} / {}",
        error["message"].as_str().unwrap(),
        error["hint"].as_str().unwrap()
    )
}

#[test]
fn a_mint_that_fails_says_what_failed_and_what_to_do() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    let daemon = forge.daemon();
    let (host, issuer) = (service.host(), forge.provider.issuer());
    let refused = forge.secret_file("refused", "no.identity.atall");
    let jfrog = format!("jfrog:host={host},provider=corp");
    for (source, message) in [
        (
            format!("{jfrog},audience=other"),
            "answered 401: the audience other is not accepted",
        ),
        (
            format!("{jfrog},identity={refused}"),
            "answered 401: the identity is no JWT",
        ),
        (
            format!("jfrog:host={host},provider=wrong"),
            "answered 401: provider_name is not corp",
        ),
        (
            format!("{jfrog},identity=gitlab"),
            "give it `id_tokens: { REGAUTH_ID_TOKEN: { aud: … } }`",
        ),
        (format!("{jfrog},identity=bitbucket"), "give the step `oidc: true`"),
        (format!("{jfrog},identity=kubernetes"), "mount one"),
        (
            format!("{jfrog},identity=env:CORP_ID"),
            "the environment variable CORP_ID was not set",
        ),
        (format!("{jfrog},identity=file:/nowhere/id"), "cannot read /nowhere/id"),
        (format!("oauth:token-url={issuer}/nowhere"), "answered 404"),
        ("jfrog:host=localhost:1,provider=corp".to_owned(), "localhost:1"),
    ] {
        let found = failure(&forge, &daemon, &source);
        assert!(found.contains(message), "{source}: {found}");
        assert!(!found.contains("no.identity") && !found.contains(JOB_TOKEN), "{found}");
    }
    for (fault, message) in [
        (Fault::WebPage, "something other than JSON (text/html)"),
        (Fault::Redirect, "a redirect, which an identity is never sent along"),
        (Fault::Flood, "is too long"),
    ] {
        service.set_fault(Some(fault));
        let found = failure(&forge, &daemon, &format!("{jfrog},audience=jfrog"));
        assert!(found.contains(message), "{fault:?}: {found}");
    }
    assert!(
        !service.requests().iter().any(|line| line.contains("/stolen")),
        "{:?}",
        service.requests()
    );
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}

#[test]
fn a_github_job_without_the_permission_is_told_which_one() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    let daemon = Daemon::builder().env("GITHUB_ACTIONS", "true").start();
    let found = failure(&forge, &daemon, &format!("jfrog:host={},provider=corp", service.host()));
    assert!(found.contains("permissions: id-token: write"), "{found}");
}

#[test]
fn a_token_without_an_end_is_served_until_the_registry_rejects_it() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    service.set_fault(Some(Fault::Endless));
    let daemon = forge.daemon();
    let source = format!("jfrog:host={},provider=corp,audience=jfrog", service.host());
    forge.add(&daemon, &source, &[]).succeeds();
    let shown = daemon.ctl(&["show", "corp"]).json["credential"].clone();
    assert!(shown["expires"].is_null() && shown["state"] == "ready", "{shown}");
    let file = forge.registry.file("f", 100);
    assert_eq!(Curl::new().behind(&daemon).get(&file).status, 200);
    forge.registry.gate().reject(&service.minted()[0]);
    assert_eq!(
        Curl::new().behind(&daemon).get(&file).status,
        200,
        "a new token was minted"
    );
    assert_eq!(service.minted().len(), 2);
}

/// Source of a login with a code, and a daemon that keeps its secrets in a vault.
fn device(forge: &Forge) -> (Daemon, String) {
    let (provider, daemon) = (&forge.provider, Daemon::builder().store("vault").start());
    let source = format!(
        "oauth:token-url={},device-url={},client-id={PERSON},scope=openid offline_access,identity=device",
        provider.token_url(),
        provider.device_url()
    );
    (daemon, source)
}

/// `regauthctl login corp` on a terminal of a desktop, whose browser writes the address of its page into `opened`.
fn on_a_desktop(daemon: &Daemon, opened: &Path) -> Terminal {
    let programs = opened.parent().unwrap().join("bin");
    let browser = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" > {}\n", opened.display());
    exec::write_program(&programs.join("xdg-open"), browser);
    let mut login = exec::command(binary("regauthctl"), daemon.home());
    login
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("DISPLAY", ":7")
        .arg("--home")
        .arg(daemon.home())
        .args(["login", "corp"]);
    Terminal::start(&login)
}

#[test]
fn a_person_logs_in_with_a_code_and_the_refresh_token_is_rotated_and_stored() {
    let forge = Forge::bearer();
    let (mut daemon, source) = device(&forge);
    forge.provider.set_lifetime(Duration::from_secs(4));
    let added = forge.add(&daemon, &source, &[]).succeeds().json;
    assert!(added["notes"].to_string().contains("regauthctl login corp"), "{added}");
    let file = forge.registry.file("f", 100);
    let refused = Curl::new().behind(&daemon).get(&file);
    assert_eq!(refused.header("regauth-error"), Some("credential-unavailable"));

    let opened = forge.folder.path().join("opened");
    let mut login = on_a_desktop(&daemon, &opened);
    login.read_until("enter the code ");
    let code = login.read_until("\n").trim().to_owned();
    let page = poll::wait_for("a browser with the page", || {
        let page = fs::read_to_string(&opened).ok()?;
        page.strip_suffix('\n').map(str::to_owned)
    });
    assert!(
        page.starts_with(forge.provider.issuer()) && page.contains(&code),
        "{page}"
    );
    forge.provider.confirm(&code);
    let (printed, status) = login.finish();
    assert!(
        status.success() && printed.contains("Logged in to corp; the registry accepts the token."),
        "{printed}"
    );

    // Each renewal uses the refresh token once: the provider ends a login whose token is used twice.
    let generation = || daemon.ctl(&["show", "corp"]).json["credential"]["generation"].as_u64();
    let first = generation();
    poll::wait_for("two renewals", || {
        (generation() >= first.map(|first| first + 2)).then_some(())
    });
    assert_eq!(Curl::new().behind(&daemon).get(&file).status, 200);
    daemon.restart();
    poll::wait_for("a token after the restart", || {
        (Curl::new().behind(&daemon).get(&file).status == 200).then_some(())
    });
    assert_eq!(forge.rejections(), 0);
    daemon.ctl(&["rotate", "corp"]).succeeds();
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert!(
        !store_items::in_vault(&daemon).iter().any(|item| item == "corp"),
        "the refresh token is deleted"
    );
}

#[test]
fn a_login_that_cannot_be_confirmed_says_why() {
    let forge = Forge::bearer();
    let (daemon, source) = device(&forge);
    forge.add(&daemon, &source, &[]).succeeds();
    let ci = ["--source", "jfrog:host=localhost:1,provider=corp", "--no-verify"];
    let location = ["add-registry", "ci", "--scope", "https://ci.example/"];
    daemon.ctl(&[&location[..], &ci].concat()).succeeds();
    let refused = daemon.ctl(&["login", "ci"]).exits(i32::from(exit_code::REFUSED)).json;
    assert!(
        refused["err"]["message"]
            .as_str()
            .unwrap()
            .contains("no login with a code"),
        "{refused}"
    );
    forge.provider.take_down();
    let refused = daemon.ctl(&["login", "corp"]).exits(i32::from(exit_code::FAILED)).json;
    assert!(
        refused["err"]["message"].as_str().unwrap().contains("answered 503"),
        "{refused}"
    );
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

/// A registry that holds its answer to the first token until that has ended, and then answers 404, as GitLab does.
#[derive(Clone)]
struct ForgetfulRegistry {
    first: Arc<OnceLock<String>>,
    released: tokio::sync::watch::Receiver<bool>,
}

impl Handler for ForgetfulRegistry {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let credential = request.headers()["authorization"].to_str().unwrap().to_owned();
        let status = if *self.first.get_or_init(|| credential.clone()) == credential {
            let mut released = self.released.clone();
            released.wait_for(|released| *released).await.unwrap();
            404
        } else {
            200
        };
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }
}

#[test]
fn a_request_whose_token_ended_meanwhile_is_sent_again_after_404() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    service.set_lifetime(Duration::from_secs(2));
    let (release, released) = tokio::sync::watch::channel(false);
    let registry = ForgetfulRegistry {
        first: Arc::default(),
        released,
    };
    let tls = forge
        .registry
        .authority()
        .issue(&["localhost"])
        .server_config(&["http/1.1"]);
    let (_server, address) = HttpServer::on_tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Some(tls), registry);
    let daemon = forge.daemon();
    let (scope, ca) = (format!("https://localhost:{}/", address.port()), forge.registry.ca());
    let source = format!(
        "jfrog:host={},provider=corp,audience=jfrog,identity-host={}",
        service.host(),
        forge.provider.host()
    );
    let location = [
        "add-registry",
        "corp",
        "--kind",
        "generic",
        "--scope",
        &scope,
        "--no-verify",
    ];
    daemon
        .ctl(&[&location[..], &["--ca-file", ca.to_str().unwrap(), "--source", &source]].concat())
        .succeeds();
    let request = Curl::new().behind(&daemon).start(&format!("{scope}private"));
    // Each token is replaced after half of its life, so the first has ended when the fourth is there.
    poll::wait_for("the first token's end", || (service.minted().len() >= 4).then_some(()));
    release.send(true).unwrap();
    assert_eq!(request.finish().response().status, 200);
    service
        .secrets()
        .iter()
        .for_each(|secret| daemon.register_secret(secret));
}
