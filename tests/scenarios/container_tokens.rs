//! Container registries with a token service, as kind `oci`: regauthd gets the short tokens, with real skopeo and
//! docker-registry, and with a registry that can end them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::container_registry::ContainerRegistry;
use regauth_tests::curl::{Curl, Response};
use regauth_tests::daemon::Daemon;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use regauth_tests::programs::binary;
use regauth_tests::terminal::Terminal;
use regauth_tests::token_registry::TokenRegistry;
use regauth_tests::user::User as Person;

const USER: &str = "me";
const PASSWORD: &str = "passw0rd-of-the-images";
const PULL: &str = "repository:team/app:pull";

/// Daemon with the registry as `corp`.
fn daemon_for(registry: &TokenRegistry) -> Daemon {
    let daemon = Daemon::start();
    let location = ["--kind", "oci", "--scope", &registry.url("/v2/")];
    let added = daemon.try_add("corp", &location, &Scheme::basic(USER), &registry.ca(), PASSWORD);
    let added = added.succeeds().json;
    assert_eq!(added["verified"], true, "{added}");
    assert_eq!(added["registry"]["token-service"], registry.url("/token"), "{added}");
    daemon
}

/// Scans for the short tokens, and asserts that only the token service got the password.
fn assert_tokens_stay(registry: &TokenRegistry, daemon: &Daemon) {
    registry.issued().iter().for_each(|token| daemon.register_secret(token));
    for (line, authorization) in registry.requests() {
        let is_basic = authorization.is_some_and(|value| value.starts_with("Basic "));
        assert_eq!(is_basic, line == "GET /token", "{line}");
    }
}

/// Answer of the daemon to one line of its protocol.
fn ask(daemon: &Daemon, line: &str) -> String {
    let mut stream = UnixStream::connect(daemon.home().join("run/control.sock")).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines();
    // The first line is the daemon's hello.
    lines.map(Result::unwrap).nth(1).unwrap()
}

fn assert_no_challenge(answer: &Response) {
    assert_eq!(answer.header("www-authenticate"), None, "{}", answer.headers);
}

fn code(answer: &Response) -> (u16, Option<&str>) {
    assert_no_challenge(answer);
    (answer.status, answer.header("regauth-error"))
}

fn read_only_proxy(daemon: &Daemon) -> String {
    let created = daemon.ctl(&["grant", "--registry", "corp", "--for", "10m"]).succeeds();
    let created = created.json;
    let proxy = created["grant"]["proxy"].as_str().or(created["proxy"].as_str());
    proxy.unwrap().to_owned()
}

#[test]
fn skopeo_pulls_pushes_and_deletes_without_a_login() {
    let registry = ContainerRegistry::with_token_service(USER, PASSWORD);
    let daemon = Daemon::start();
    let location = ["--kind", "oci", "--scope", &registry.nginx.url("/v2/")];
    let added = daemon.try_add("corp", &location, &Scheme::basic(USER), &registry.ca(), PASSWORD);
    assert_eq!(added.succeeds().json["verified"], true);
    let (source, image) = (registry.sample_image(), registry.image("team/app:1"));
    let skopeo = |arguments: &[&str]| registry.skopeo(&daemon, &daemon.proxy(), arguments);
    let writes = || {
        let requests = registry.nginx.requests();
        let is_write = |method: &str| !matches!(method, "GET" | "HEAD");
        requests.iter().filter(|request| is_write(&request.method)).count()
    };
    skopeo(&["copy", &source, &image])
        .fails()
        .says("regauthctl allow corp --for 5m");
    assert_eq!(writes(), 0, "closed writes reached the registry");
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    skopeo(&["copy", &source, &image]).succeeds();
    daemon.ctl(&["deny", "corp"]).succeeds();
    let reader = read_only_proxy(&daemon);
    for proxy in [&daemon.proxy(), &reader] {
        let shown = registry.skopeo(&daemon, proxy, &["inspect", "--raw", &image]);
        assert!(shown.succeeds().stdout.contains("schemaVersion"));
    }
    let before = writes();
    registry.skopeo(&daemon, &reader, &["copy", &source, &image]).fails();
    skopeo(&["delete", &image]).fails();
    assert_eq!(writes(), before);
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    skopeo(&["delete", &image]).succeeds();
    skopeo(&["inspect", "--raw", &image]).fails();
    let mut tokens = Vec::new();
    for request in registry.nginx.requests() {
        let authorization = request.authorization().unwrap_or_default();
        let is_basic = authorization.starts_with("Basic ");
        assert_eq!(is_basic, request.uri.starts_with("/token"), "{}", request.uri);
        tokens.extend(authorization.strip_prefix("Bearer ").map(str::to_owned));
    }
    tokens.iter().for_each(|token| daemon.register_secret(token));
    assert!(!tokens.is_empty());
}

#[test]
fn requests_at_the_same_moment_share_a_token_and_each_scope_has_its_own() {
    let registry = TokenRegistry::start(USER, PASSWORD);
    let daemon = daemon_for(&registry);
    let url = registry.url("/v2/team/app/manifests/1");
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| assert_eq!(Curl::new().behind(&daemon).get(&url).status, 200));
        }
    });
    // The first one, without a scope, verified the password.
    assert_eq!(registry.scopes(), ["", PULL]);
    let ping = Curl::new().behind(&daemon).get(&registry.url("/v2/"));
    assert_eq!(code(&ping), (200, None));
    let other = registry.url("/v2/team/other/tags/list");
    assert_eq!(Curl::new().behind(&daemon).get(&other).status, 200);
    let upload = registry.url("/v2/team/app/blobs/uploads/?mount=sha256:0&from=team/other");
    let post = Curl::new().behind(&daemon).with(&["-X", "POST"]);
    assert_eq!(code(&post.get(&upload)), (403, Some("write-denied")));
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    assert_eq!(post.get(&upload).status, 200);
    assert_eq!(
        registry.scopes(),
        [
            "",
            PULL,
            "",
            "repository:team/other:pull",
            "repository:team/app:pull,push repository:team/other:pull"
        ]
    );
    assert_tokens_stay(&registry, &daemon);
}

#[test]
fn a_token_is_replaced_after_its_end_a_rotation_and_a_refusal() {
    let registry = TokenRegistry::start(USER, PASSWORD);
    let daemon = daemon_for(&registry);
    let url = registry.url("/v2/team/app/manifests/1");
    let get = || Curl::new().behind(&daemon).get(&url);
    assert_eq!(get().status, 200);
    registry.end_tokens();
    assert_eq!(get().status, 200, "a refused token is replaced");
    assert_eq!(registry.issued().len(), 3);

    registry.set_password(USER, "passw0rd-of-today-0");
    let rotated = daemon.ctl_with_input(&["rotate", "corp", "--token-stdin"], "passw0rd-of-today-0");
    rotated.succeeds();
    registry.end_tokens();
    let before = registry.requests().len();
    assert_eq!(get().status, 200);
    let refused = registry.requests().split_off(before);
    let is_old = |authorization: &Option<String>| {
        let old = &registry.issued()[..3];
        old.iter()
            .any(|token| authorization.as_deref() == Some(&format!("Bearer {token}")))
    };
    assert!(
        !refused.iter().any(|(_, authorization)| is_old(authorization)),
        "{refused:?}"
    );

    registry.set_life(1);
    registry.end_tokens();
    assert_eq!(get().status, 200);
    let issued = registry.issued().len();
    poll::wait_for("another token", || {
        assert_eq!(get().status, 200);
        (registry.issued().len() > issued).then_some(())
    });
    daemon.register_secret("passw0rd-of-today-0");
    assert_tokens_stay(&registry, &daemon);
}

#[test]
fn a_blob_in_storage_is_reached_without_the_token() {
    let registry = TokenRegistry::start(USER, PASSWORD);
    let storage = MockServer::builder(registry.authority(), "localhost").start();
    registry.set_storage(&storage.url("/blob"));
    let daemon = daemon_for(&registry);
    let roots = tempfile::NamedTempFile::new().unwrap();
    let text = |file: std::path::PathBuf| std::fs::read_to_string(file).unwrap();
    std::fs::write(roots.path(), text(daemon.bundle()) + &text(registry.ca())).unwrap();
    let curl = Curl::new()
        .behind(&daemon)
        .with(&["--location", "--cacert", roots.path().to_str().unwrap()]);
    let answer = curl.get(&registry.url("/v2/team/app/blobs/sha256:0"));
    assert!(answer.body().contains("mock server"), "{}", answer.headers);
    let sent = storage.requests().pop().unwrap();
    assert_eq!(sent.header("authorization"), None);
    LeakScan::new(&registry.issued()[1])
        .scan("the answers", &answer.headers)
        .assert_clean();
    assert_tokens_stay(&registry, &daemon);
}

#[test]
fn a_token_service_that_gives_no_token_is_named_and_changes_nothing() {
    let registry = TokenRegistry::start(USER, PASSWORD);
    let daemon = daemon_for(&registry);
    let get = || {
        Curl::new()
            .behind(&daemon)
            .get(&registry.url("/v2/team/app/manifests/1"))
    };
    for status in [503, 200] {
        registry.set_fault(Some(status));
        let refused = get();
        assert_eq!(code(&refused), (502, Some("credential-unavailable")), "{status}");
        assert!(refused.body().contains("regauthctl verify corp"), "{}", refused.body());
        let verified = daemon.ctl(&["verify", "corp"]).json;
        assert!(verified.to_string().contains("localhost"), "{verified}");
    }
    registry.set_fault(Some(403));
    assert_eq!(code(&get()), (403, Some("access-denied")));
    registry.set_fault(None);
    assert_eq!(get().status, 200);
    registry.end_tokens();
    registry.set_password(USER, "another-passw0rd");
    assert_eq!(code(&get()), (403, Some("token-rejected")));
    daemon
        .ctl(&["verify", "corp"])
        .exits(i32::from(exit_code::TOKEN_REJECTED));
    assert_tokens_stay(&registry, &daemon);
}

#[test]
fn a_token_service_on_another_host_gets_the_password_only_if_a_person_says_so() {
    let registry = TokenRegistry::start(USER, PASSWORD);
    let elsewhere = Authority::new("Elsewhere");
    let thief = MockServer::builder(&elsewhere, "127.0.0.1")
        .answer(200, &[], r#"{"token":"thief"}"#)
        .start();
    registry.set_realm(&thief.url("/token"));
    let daemon = Daemon::start();
    let add = |more: &[&str]| {
        let scope = registry.url("/v2/");
        let location = [&["--kind", "oci", "--scope", &scope], more].concat();
        daemon.try_add("corp", &location, &Scheme::basic(USER), &registry.ca(), PASSWORD)
    };
    let refused = add(&[]).exits(i32::from(exit_code::FAILED)).json;
    let hint = refused["err"]["hint"].as_str().unwrap();
    assert!(
        hint.contains(&format!("--token-service {}", thief.url("/token"))),
        "{refused}"
    );
    // The registry names another service than the person.
    let own = registry.url("/token");
    let refused = add(&["--token-service", &own]);
    let refused = refused.exits(i32::from(exit_code::FAILED)).json;
    let message = refused["err"]["message"].as_str().unwrap();
    assert!(
        message.contains(&thief.url("/token")) && message.contains(&own),
        "{message}"
    );
    registry.set_realm(&own);
    // A person is asked before the token, also for a service on the registry's own host.
    let person = Person::new(&daemon);
    let (ca, scope) = (registry.ca().display().to_string(), registry.url("/v2/"));
    let words = [
        "add-registry",
        "corp",
        "--kind",
        "oci",
        "--username",
        USER,
        "--scope",
        &scope,
        "--ca-file",
        &ca,
    ];
    let at_terminal = |answer: &str| {
        let mut terminal = Terminal::start(person.command(binary("regauthctl")).args(words));
        let shown = terminal.read_until("Send the token there? (y/N) ");
        assert!(shown.contains(&own) && !shown.contains("Token for"), "{shown}");
        terminal.type_line(answer);
        terminal
    };
    let (shown, status) = at_terminal("n").finish();
    assert_eq!(status.code(), Some(i32::from(exit_code::REFUSED)), "{shown}");
    assert!(
        registry
            .requests()
            .iter()
            .all(|(_, authorization)| authorization.is_none())
    );
    // The daemon does not rely on the question: a registry may name another service by then.
    let request = serde_json::json!({
        "v": 1, "method": "add-registry", "name": "corp", "kind": "oci", "username": USER, "scopes": [scope], "ca-file": ca,
        "token": PASSWORD, "offer-locations": true,
    });
    let refused = ask(&daemon, &request.to_string());
    assert!(refused.contains("not-verified") && refused.contains(&own), "{refused}");
    assert!(
        registry
            .requests()
            .iter()
            .all(|(_, authorization)| authorization.is_none())
    );
    let mut terminal = at_terminal("y");
    terminal.read_until("Token for corp");
    terminal.type_without_echo(PASSWORD);
    let (shown, status) = terminal.finish();
    assert!(status.success(), "{shown}");
    let added = daemon.ctl(&["show", "corp"]).json;
    assert_eq!(added["token-service"], own, "{added}");
    assert_eq!(
        Curl::new()
            .behind(&daemon)
            .get(&registry.url("/v2/team/app/tags/list"))
            .status,
        200
    );
    registry.end_tokens();
    registry.set_realm(&thief.url("/token"));
    let refused = Curl::new().behind(&daemon).get(&registry.url("/v2/team/app/tags/list"));
    assert_eq!(code(&refused), (502, Some("credential-unavailable")));
    assert!(thief.requests().is_empty());
    assert_tokens_stay(&registry, &daemon);
}

#[test]
fn a_registry_without_a_token_service_gets_the_password() {
    let registry = ContainerRegistry::with_password(USER, PASSWORD);
    let daemon = Daemon::start();
    let location = ["--kind", "oci", "--scope", &registry.nginx.url("/")];
    let added = daemon.try_add("corp", &location, &Scheme::basic(USER), &registry.ca(), PASSWORD);
    let added = added.succeeds().json;
    assert_eq!(
        (&added["verified"], &added["registry"]["token-service"]),
        (&true.into(), &serde_json::Value::Null)
    );
    let (source, image) = (registry.sample_image(), registry.image("team/app:1"));
    let push = || registry.skopeo(&daemon, &daemon.proxy(), &["copy", &source, &image]);
    push().fails().says("regauthctl allow corp --for 5m");
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    push().succeeds();
}
