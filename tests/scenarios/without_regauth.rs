//! Harness tests, without a daemon: the fixtures behave like the real services, with the token in the client. So a result
//! of another scenario is due to regauth and not to the harness.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::{Authority, Certificate, read_pem};
use regauth_tests::curl::Curl;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::keyring::Keyring;
use regauth_tests::mock_server::MockServer;
use regauth_tests::nginx::Nginx;
use regauth_tests::registry::{Downloads, Registry, USERNAME};

const TOKEN: &str = "t0ken-of-the-client";
const SHIP: &str = r#"ship = { version = "1", registry = "corp" }"#;

fn cargo(registry: &Registry) -> Cargo {
    Cargo::new().registry("corp", &registry.index()).trusts(&registry.ca())
}

fn cargo_with_token(registry: &Registry) -> Cargo {
    cargo(registry).token("corp", &registry.credential())
}

#[test]
fn cargo_needs_a_token_to_build_from_a_basic_registry() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .start();
    cargo(&registry).depends_on(SHIP).build().fails();
    registry
        .nginx
        .wait_for_request(|request| request.status == 401 && request.authorization().is_none());
    cargo_with_token(&registry)
        .depends_on(SHIP)
        .build()
        .succeeds()
        .says("Compiling anchor v1.0.0");
    let download = registry
        .nginx
        .wait_for_request(|request| request.uri == "/api/cargo/crates/anchor/1.0.0/download");
    assert_eq!(download.authorization(), Some(registry.credential().as_str()));
    assert_eq!((download.status, download.protocol.as_str()), (200, "HTTP/2.0"));
}

#[test]
fn cargo_builds_from_a_bearer_registry_that_says_auth_required() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    cargo(&registry).depends_on(SHIP).build().fails();
    cargo_with_token(&registry).depends_on(SHIP).build().succeeds();
}

/// Cargo sends its token for config.json after a 401, and then for nothing else: such a registry needs regauth.
#[test]
fn cargo_cannot_build_from_a_private_registry_without_auth_required() {
    let registry = Registry::start(TOKEN);
    cargo_with_token(&registry)
        .depends_on(SHIP)
        .build()
        .fails()
        .says("got 401");
    let index = registry
        .nginx
        .wait_for_request(|request| request.uri == "/api/cargo/index/sh/ip/ship");
    assert_eq!((index.status, index.authorization()), (401, None));
}

#[test]
fn cargo_builds_from_a_git_index() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .git_index()
        .start();
    cargo_with_token(&registry)
        .config("net.retry = 0")
        .depends_on(SHIP)
        .build()
        .fails()
        .says("could not read Username");
    let header = format!("[http]\n\textraHeader = Authorization: {}", registry.credential());
    cargo_with_token(&registry)
        .git_config(&header)
        .depends_on(SHIP)
        .build()
        .succeeds();
}

/// Value of `Authorization` in the request for the archive of `ship`, on another host than the registry.
fn sent_to_cdn(registry: &Registry) -> Option<String> {
    let cdn = registry.cdn.as_ref().unwrap();
    let request = cdn.wait_for_request(|request| request.uri.contains("/ship/"));
    request.authorization().map(str::to_owned)
}

#[test]
fn cargo_builds_with_archives_from_a_cdn() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .downloads(Downloads::Redirected)
        .start();
    cargo_with_token(&registry).depends_on(SHIP).build().succeeds();
    assert_eq!(sent_to_cdn(&registry).as_deref(), None);
}

#[test]
fn cargo_sends_its_token_to_archives_on_another_host() {
    let registry = Registry::builder(Scheme::raw(), TOKEN)
        .auth_required()
        .downloads(Downloads::OtherHost)
        .start();
    cargo_with_token(&registry).depends_on(SHIP).build().succeeds();
    assert_eq!(sent_to_cdn(&registry).as_deref(), Some(TOKEN));
}

#[test]
fn cargo_builds_with_a_private_git_dependency() {
    let host = Authority::new("Corp Root");
    let git = GitServer::start(&host, Scheme::basic("x-access-token"), TOKEN);
    git.library("treasure");
    let cargo = Cargo::new()
        .config("net.retry = 0")
        .trusts(&host.file())
        .depends_on(&format!("treasure.git = \"{}\"", git.url("treasure")));
    cargo.build().fails().says("could not read Username");
    let header = format!(
        "[http]\n\textraHeader = Authorization: {}",
        Scheme::basic("x-access-token").value(TOKEN)
    );
    cargo.git_config(&header).build().succeeds();
}

#[test]
fn publish_yank_owner_and_search_reach_the_registry() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let cargo = cargo_with_token(&registry).depends_on(SHIP);
    cargo.publish("corp").succeeds().says("Published project v0.1.0");
    assert_eq!(
        registry.crate_index.entry("project", "0.1.0").unwrap()["deps"][0]["name"],
        "ship"
    );
    cargo.publish("corp").fails();
    cargo.yank("corp", "project@0.1.0").succeeds();
    assert_eq!(registry.crate_index.entry("project", "0.1.0").unwrap()["yanked"], true);
    cargo.owner("corp", "project", &["--add", "jo"]).succeeds();
    cargo.owner("corp", "project", &["--list"]).succeeds().says("jo");
    cargo.owner("corp", "project", &["--remove", "jo"]).succeeds();
    assert!(registry.crate_index.owners("project").unwrap().is_empty());
    cargo.search("corp", "project").succeeds().says("project = \"0.1.0\"");
}

#[test]
fn a_published_crate_can_be_a_dependency() {
    let registry = Registry::builder(Scheme::raw(), TOKEN)
        .auth_required()
        .git_index()
        .start();
    let header = format!("[http]\n\textraHeader = Authorization: {}", registry.credential());
    cargo_with_token(&registry)
        .git_config(&header)
        .depends_on(SHIP)
        .publish("corp")
        .succeeds();
    let other = cargo_with_token(&registry).git_config(&header);
    other.run(["init", "--lib", "--name", "other", "../other"]).succeeds();
    let manifest = other.home().join("other/Cargo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap() + "project = { version = \"0.1\", registry = \"corp\" }\n";
    std::fs::write(&manifest, text).unwrap();
    other
        .run(["build", "--manifest-path", "../other/Cargo.toml"])
        .succeeds()
        .says("Compiling project v0.1.0");
}

#[test]
fn a_changed_set_of_accepted_tokens_takes_effect_at_once() {
    for scheme in [
        Scheme::basic(USERNAME),
        Scheme::bearer(),
        Scheme::raw(),
        Scheme::header("X-Api-Key", ""),
    ] {
        let registry = Registry::builder(scheme.clone(), "first").start();
        let name = if let Scheme::Header { name, .. } = &scheme {
            name
        } else {
            "Authorization"
        };
        let status = |token| {
            let curl = Curl::new()
                .trusts(&registry.ca())
                .header(&format!("{name}: {}", scheme.value(token)));
            curl.get(&registry.nginx.url("/api/cargo/index/config.json")).status
        };
        assert_eq!([status("first"), status("second")], [200, 401], "{scheme:?}");
        registry.accept(&["second", "first"]);
        assert_eq!([status("first"), status("second")], [200, 200], "{scheme:?}");
        registry.accept(&["second"]);
        assert_eq!([status("first"), status("second")], [401, 200], "{scheme:?}");
        registry.accept(&[]);
        assert_eq!([status(""), status("second")], [401, 401], "{scheme:?}");
    }
}

#[test]
fn git_fetches_and_pushes_small_and_large() {
    let host = Authority::new("Corp Root");
    let scheme = Scheme::basic("me");
    let server = GitServer::start(&host, scheme.clone(), TOKEN);
    server.repository("plans", &[("README", "secret\n")]);
    server.branches("plans", 40);
    Git::new().trusts(&host.file()).clone_from(&server.url("plans")).fails();
    let git = Git::new()
        .trusts(&host.file())
        .authorization(&server.scope(), &scheme.value(TOKEN))
        .with_content_length();
    git.clone_from(&server.url("plans")).succeeds();
    for (name, length) in [("small", 100), ("large", 3 << 20)] {
        git.commit_random_file(name, length).succeeds();
        git.push().succeeds();
        assert_eq!(server.head("plans", "main"), git.head());
    }
    server
        .nginx
        .wait_for_request(|request| request.status == 200 && request.header("content-encoding") == Some("gzip"));
    let large = server.nginx.wait_for_request(|request| request.received > 3 << 20);
    assert_eq!(
        (large.protocol.as_str(), large.header("content-length").is_some()),
        ("HTTP/2.0", true)
    );
}

#[test]
fn git_pushes_chunked_over_http1() {
    let host = Authority::new("Corp Root");
    let server = GitServer::start(&host, Scheme::Open, "");
    server.repository("plans", &[("README", "secret\n")]);
    let git = Git::new().trusts(&host.file()).config("http.version", "HTTP/1.1");
    git.clone_from(&server.url("plans")).succeeds();
    git.commit_random_file("large", 3 << 20).succeeds();
    git.push().succeeds();
    assert_eq!(server.head("plans", "main"), git.head());
    server
        .nginx
        .wait_for_request(|request| request.header("transfer-encoding") == Some("chunked"));
}

#[test]
fn nginx_serves_both_protocols_and_big_bodies_both_ways() {
    let registry = Registry::builder(Scheme::Open, "").start();
    let curl = Curl::new().trusts(&registry.ca());
    let download = registry.file("big", 8 << 20);
    assert_eq!(curl.get(&download).length, 8 << 20);
    let old = curl.clone().with(&["--http1.1"]).get(&download);
    assert_eq!((old.version.as_str(), old.length), ("1.1", 8 << 20));
    for protocol in ["--http1.1", "--http2"] {
        let upload = curl.clone().with(&[protocol]).upload(&registry.upload(), 8 << 20);
        assert!(upload.body().contains("\"length\":8388608"), "{}", upload.body());
    }
    assert_eq!(
        Curl::new()
            .trusts(&registry.ca())
            .get(&registry.nginx.url("/elsewhere"))
            .body(),
        "public\n"
    );
}

#[test]
fn nginx_listens_on_every_kind_of_loopback_host() {
    let host = Authority::new("Corp Root");
    for name in ["localhost", "127.0.0.1", "127.0.0.2", "::1"] {
        let nginx = Nginx::builder(&host.issue(&[name]))
            .host(name)
            .location("/", "return 200 'here';")
            .start();
        let answer = Curl::new().trusts(&host.file()).get(&nginx.url("/"));
        assert_eq!(answer.body(), "here", "{name}");
        assert_eq!(nginx.wait_for_request(|_| true).host, nginx.authority());
    }
}

#[test]
fn a_mock_server_records_echoes_and_redirects() {
    let host = Authority::new("Elsewhere");
    let [target, echo] = [
        MockServer::builder(&host, "127.0.0.2").start(),
        MockServer::builder(&host, "localhost").echo().start(),
    ];
    let redirecting = MockServer::builder(&host, "127.0.0.1")
        .redirect(307, &target.url("/caught"))
        .start();
    let curl = Curl::new().trusts(&host.file()).header("X-Canary: tweet");
    assert_eq!(
        curl.clone().with(&["--location"]).get(&redirecting.url("/")).body(),
        "mock server\n"
    );
    assert_eq!(
        target.wait_for_requests(1)[0].header("x-canary").as_deref(),
        Some("tweet")
    );
    for (version, protocol) in [("2", "--http2"), ("1.1", "--http1.1")] {
        let answer = curl.clone().with(&[protocol]).get(&echo.url("/path"));
        assert_eq!(
            (answer.version.as_str(), answer.header("echo-x-canary")),
            (version, Some("tweet"))
        );
    }
    let plain = MockServer::builder(&host, "127.0.0.1")
        .plain()
        .answer(418, &[], "")
        .start();
    assert_eq!(Curl::new().get(&plain.url("/")).status, 418);
}

#[test]
fn a_mock_server_with_an_untrusted_certificate_is_rejected() {
    let [host, other] = [Authority::new("Elsewhere"), Authority::new("Corp Root")];
    let mock_server = MockServer::builder(&host, "localhost").start();
    Curl::new()
        .trusts(&other.file())
        .fetch(&mock_server.url("/"))
        .output
        .fails()
        .says("certificate");
    let certificate: &Certificate = mock_server.certificate();
    assert_eq!(&read_pem(&certificate.chain_file())[0], certificate.leaf());
}

#[test]
fn the_keyring_stores_locks_hangs_and_restarts() {
    let mut keyring = Keyring::start();
    let store = ["store", "--label", "a token", "service", "regauth", "account", "corp"];
    let lookup = ["lookup", "service", "regauth", "account", "corp"];
    keyring.secret_tool(&store, TOKEN).succeeds();
    assert_eq!(keyring.secret_tool(&lookup, "").succeeds().stdout, TOKEN);
    keyring.lock();
    keyring
        .secret_tool(&["store", "--label", "another", "account", "other"], TOKEN)
        .fails();
    keyring.unlock();
    assert_eq!(keyring.secret_tool(&lookup, "").succeeds().stdout, TOKEN);
    keyring.suspend();
    assert!(!keyring.is_responsive());
    keyring.resume();
    assert!(keyring.is_responsive());
    keyring.kill();
    keyring.secret_tool(&lookup, "").fails();
    keyring.restart();
    assert_eq!(keyring.secret_tool(&lookup, "").succeeds().stdout, TOKEN);
}
