//! Mints that fail, and tokens that end without notice.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use regauth_shared::exit_code;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::forge::Forge;
use regauth_tests::http_server::{Handler, HttpServer};
use regauth_tests::openid_provider::JOB_TOKEN;
use regauth_tests::poll;
use regauth_tests::token_service::{Fault, Vendor};

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
    // Both refuse a role before they would ask a second service.
    let (vault, aws) = (Vendor::Vault, Vendor::Codeartifact(([127, 0, 0, 1], 1).into()));
    let [vault, aws] = [vault, aws].map(|vendor| forge.service(vendor));
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
        (
            format!(
                "vault:address={},role=other,path=secret/cargo,namespace=corp,audience=vault",
                vault.url()
            ),
            "answered 400: role could not be found",
        ),
        (
            format!(
                "codeartifact:domain=corp,owner=123456789012,region=eu-central-1,role=arn:aws:iam::123456789012:role/other,\
                 sts-url={url},url={url}",
                url = aws.url()
            ),
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        ),
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

/// A registry that holds its answer to the first token until that has ended, and then answers `denial`: 404, as GitLab does,
/// or 403.
#[derive(Clone)]
struct ForgetfulRegistry {
    denial: u16,
    first: Arc<OnceLock<String>>,
    released: tokio::sync::watch::Receiver<bool>,
}

impl Handler for ForgetfulRegistry {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let credential = request.headers()["authorization"].to_str().unwrap().to_owned();
        let status = if *self.first.get_or_init(|| credential.clone()) == credential {
            let mut released = self.released.clone();
            released.wait_for(|released| *released).await.unwrap();
            self.denial
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
    is_sent_again_after(404);
}

#[test]
fn a_request_whose_token_ended_meanwhile_is_sent_again_after_403() {
    is_sent_again_after(403);
}

fn is_sent_again_after(denial: u16) {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    service.set_lifetime(Duration::from_secs(2));
    let (release, released) = tokio::sync::watch::channel(false);
    let registry = ForgetfulRegistry {
        denial,
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
