//! cargo and git through the proxy: builds, publishes, clones and pushes work as they do directly, without a token in the
//! client.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::nginx::LoggedRequest;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Downloads, Registry, USERNAME};
use regauth_tests::terminal::Terminal;
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-the-company";
const PLACEHOLDER: &str = "any-token-will-do";
const SHIP: &str = r#"ship = { version = "1", registry = "corp" }"#;

fn cargo(registry: &Registry, daemon: &Daemon) -> Cargo {
    Cargo::new()
        .registry("corp", &registry.index())
        .behind(daemon)
        .depends_on(SHIP)
}

/// Successful requests at the registry; asserts that each carried its credential.
fn authorized_requests(registry: &Registry) -> Vec<LoggedRequest> {
    let requests = registry.nginx.requests();
    let successful: Vec<LoggedRequest> = requests.into_iter().filter(|request| request.status < 400).collect();
    for request in &successful {
        assert_eq!(
            request.authorization(),
            Some(registry.credential().as_str()),
            "{request:?}"
        );
    }
    successful
}

#[test]
fn cargo_builds_from_a_basic_registry() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    cargo(&registry, &daemon)
        .build()
        .succeeds()
        .says("Compiling anchor v1.0.0");
    let download = registry
        .nginx
        .wait_for_request(|request| request.uri.ends_with("/anchor/1.0.0/download"));
    assert_eq!(download.protocol, "HTTP/2.0");
    assert!(authorized_requests(&registry).len() > 5);
}

#[test]
fn cargo_builds_from_a_bearer_registry_that_speaks_only_http1() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).http1_only().start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    cargo(&registry, &daemon).build().succeeds();
    assert!(
        authorized_requests(&registry)
            .iter()
            .all(|request| request.protocol == "HTTP/1.1")
    );
}

#[test]
fn cargo_builds_with_raw_tokens_and_header_templates() {
    for scheme in [Scheme::raw(), Scheme::header("X-Api-Key", "Key ")] {
        let registry = Registry::builder(scheme, TOKEN).start();
        let daemon = Daemon::start();
        daemon.add("corp", &registry);
        cargo(&registry, &daemon).build().succeeds();
    }
}

#[test]
fn a_placeholder_token_satisfies_cargo_when_the_index_says_auth_required() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    cargo(&registry, &daemon).build().fails();
    cargo(&registry, &daemon)
        .placeholder("corp", PLACEHOLDER)
        .build()
        .succeeds();
    authorized_requests(&registry);
}

#[test]
fn cargo_builds_from_a_git_index() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).git_index().start();
    let daemon = Daemon::start();
    // git reads the index, and the person is asked about what it names.
    let person = User::new(&daemon);
    let (index, ca) = (registry.index(), registry.ca().display().to_string());
    let words = [
        "add-registry",
        "corp",
        "--index",
        &index,
        "--ca-file",
        &ca,
        "--username",
        USERNAME,
    ];
    let mut terminal = Terminal::start(person.command(binary("regauthctl")).args(words));
    terminal.read_until("Token for corp");
    terminal.type_without_echo(TOKEN);
    let named = terminal.read_until("Send the token there as well? (y/N) ");
    assert!(named.contains(&registry.nginx.url("/api/cargo/crates/")), "{named}");
    assert!(
        !daemon.ctl(&["show", "corp"]).json["scopes"]
            .to_string()
            .contains("crates")
    );
    terminal.type_line("y");
    let (shown, status) = terminal.finish();
    assert!(status.success(), "{shown}");
    cargo(&registry, &daemon).build().succeeds();
    authorized_requests(&registry);
}

#[test]
fn cargo_builds_with_a_private_git_dependency() {
    let host = Authority::new("Corp Root");
    let git = GitServer::start(&host, Scheme::basic("x-access-token"), TOKEN);
    git.library("treasure");
    let daemon = Daemon::start();
    daemon.add_git("code", &git);
    Cargo::new()
        .behind(&daemon)
        .depends_on(&format!("treasure.git = \"{}\"", git.url("treasure")))
        .build()
        .succeeds();
}

#[test]
fn publish_yank_owner_and_search_work_when_writes_are_allowed() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--writes", "allow"]);
    let cargo = cargo(&registry, &daemon).placeholder("corp", PLACEHOLDER);
    cargo.publish("corp").succeeds();
    cargo.yank("corp", "project@0.1.0").succeeds();
    assert_eq!(registry.crate_index.entry("project", "0.1.0").unwrap()["yanked"], true);
    cargo.owner("corp", "project", &["--add", "jo"]).succeeds();
    cargo.owner("corp", "project", &["--list"]).succeeds().says("jo");
    cargo.owner("corp", "project", &["--remove", "jo"]).succeeds();
    cargo.search("corp", "project").succeeds().says("project = \"0.1.0\"");
    authorized_requests(&registry);
}

#[test]
fn cargo_prints_the_refusal_of_a_write_until_writes_are_allowed() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let cargo = cargo(&registry, &daemon).placeholder("corp", PLACEHOLDER);
    cargo.publish("corp").fails().says("regauthctl allow corp --for 5m");
    assert!(
        !registry.nginx.requests().iter().any(|request| request.method == "PUT"),
        "a refused write reached the registry"
    );
    daemon.ctl(&["allow", "corp", "--for", "1m"]).succeeds();
    cargo.publish("corp").succeeds();
    daemon.ctl(&["deny", "corp"]).succeeds();
    cargo
        .yank("corp", "project@0.1.0")
        .fails()
        .says("regauthctl allow corp --for 5m");
}

#[test]
fn git_fetches_and_pushes_small_and_large() {
    let host = Authority::new("Corp Root");
    let server = GitServer::start(&host, Scheme::basic("me"), TOKEN);
    server.repository("plans", &[("README", "secret\n")]);
    server.branches("plans", 40);
    let daemon = Daemon::start();
    daemon.add_git("code", &server);
    let git = Git::new().behind(&daemon);
    git.clone_from(&server.url("plans")).succeeds();
    git.commit_random_file("early", 100).succeeds();
    git.push().fails().says("regauthctl allow code");
    daemon.ctl(&["allow", "code", "--for", "5m"]).succeeds();
    git.push().succeeds();
    // git's default is a chunked push, which sometimes hangs on HTTP/2: the proxy must not offer it.
    let chunked = Git::new().behind(&daemon);
    let with_length = Git::new().behind(&daemon).with_content_length();
    for (mode, git) in [("chunked", chunked), ("with_length", with_length)] {
        git.clone_from(&server.url("plans")).succeeds();
        for length in [100, 3 << 20] {
            git.commit_random_file(&format!("noise-{length}-{mode}"), length)
                .succeeds();
            git.push().succeeds();
            assert_eq!(server.head("plans", "main"), git.head(), "{mode}");
        }
    }
    server
        .nginx
        .wait_for_request(|request| request.header("content-encoding") == Some("gzip"));
}

#[test]
fn head_and_range_requests_are_forwarded() {
    let registry = Registry::start(TOKEN);
    let daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let url = registry.file("piece", 1000);
    let curl = Curl::new().behind(&daemon);
    let head = curl.clone().with(&["--head"]).get(&url);
    assert_eq!((head.status, head.header("content-length")), (200, Some("1000")));
    for protocol in ["--http1.1", "--http2"] {
        let part = curl.clone().with(&[protocol, "--range", "10-19"]).get(&url);
        assert_eq!((part.status, part.length), (206, 10));
        assert_eq!(part.header("content-range"), Some("bytes 10-19/1000"));
    }
}

#[test]
fn the_longest_scope_wins_between_two_registries_on_one_host() {
    let registry = Registry::builder(Scheme::Open, "").start();
    let daemon = Daemon::start();
    let add = |name: &str, path: &str, token: &str| {
        let scope = registry.nginx.url(path);
        let location = ["--scope", &scope, "--no-verify"];
        daemon
            .try_add(name, &location, &Scheme::raw(), &registry.ca(), token)
            .succeeds();
    };
    add("wide", "/api/", "wide-token");
    add("narrow", "/api/cargo/index/", "narrow-token");
    let sent = |path: &str| {
        Curl::new().behind(&daemon).get(&registry.nginx.url(path));
        let request = registry.nginx.wait_for_request(|request| request.uri == path);
        request.authorization().map(str::to_owned)
    };
    assert_eq!(sent("/api/cargo/index/config.json").as_deref(), Some("narrow-token"));
    assert_eq!(sent("/api/cargo/indexes").as_deref(), Some("wide-token"));
    assert_eq!(sent("/apis/cargo"), None);
    assert_eq!(sent("/"), None);
}

#[test]
fn add_registry_covers_urls_on_the_same_host_and_names_those_on_others() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .downloads(Downloads::OtherHost)
        .start();
    let daemon = Daemon::start();
    let added = daemon.add("corp", &registry).json;
    let cdn = registry.cdn.as_ref().unwrap().authority();
    let notes = added["notes"].to_string();
    assert!(
        notes.contains(&cdn) && notes.contains("regauthctl add-scope corp"),
        "{notes}"
    );
    let scopes = added["registry"]["scopes"].to_string();
    assert!(scopes.contains("/api/v1/") && !scopes.contains(&cdn), "{scopes}");
    cargo(&registry, &daemon).build().fails();
    let cdn = registry.cdn.as_ref().unwrap().url("/");
    daemon.add_scope("corp", &cdn, TOKEN);
    cargo(&registry, &daemon).build().succeeds();
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    daemon.add_with("corp", &registry, &["--scope", &cdn]);
    cargo(&registry, &daemon).build().succeeds();
}
