//! Writes: refused until `regauthctl allow` permits them for a time. The tests use cargo, git and curl.

use std::time::{Duration, Instant};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::Output;
use regauth_tests::git::{Git, random_bytes};
use regauth_tests::git_server::GitServer;
use regauth_tests::nginx::{LoggedRequest, Nginx};
use regauth_tests::registry::Registry;

const TOKEN: &str = "t0ken-of-the-company";

/// Waits until a permission given at `since` for `duration` has expired.
fn wait_until_expired(since: Instant, duration: Duration) {
    let left = (duration + Duration::from_secs(1)).saturating_sub(since.elapsed());
    // The expiry itself is tested, and has no other sign than the time.
    std::thread::sleep(left);
}

fn writes(nginx: &Nginx) -> usize {
    let is_write = |request: &LoggedRequest| {
        request.method != "GET" && request.method != "HEAD" && !request.uri.contains("upload-pack")
    };
    let announces = |request: &LoggedRequest| request.uri.contains("receive-pack");
    nginx
        .requests()
        .iter()
        .filter(|request| is_write(request) || announces(request))
        .count()
}

fn assert_refused(output: Output, name: &str) {
    output.fails().says(&format!("regauthctl allow {name} --for 5m"));
}

#[test]
fn publish_and_yank_pass_while_writes_are_allowed() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .placeholder("corp", "any-token-will-do");
    // Large enough that cargo still sends when the proxy refuses.
    std::fs::write(cargo.project().join("noise"), random_bytes("noise", 6 << 20)).unwrap();
    assert_refused(cargo.publish("corp"), "corp");
    assert_refused(cargo.yank("corp", "ship@1.0.0"), "corp");
    assert_refused(cargo.owner("corp", "ship", &["--add", "jo"]), "corp");
    assert_eq!(writes(&registry.nginx), 0);
    let opened = Instant::now();
    daemon.ctl(&["allow", "corp", "--for", "10s"]).succeeds();
    cargo.publish("corp").succeeds();
    cargo.yank("corp", "project@0.1.0").succeeds();
    assert!(
        opened.elapsed() < Duration::from_secs(10),
        "the machine is too slow for this test"
    );
    let passed = writes(&registry.nginx);
    assert!(passed >= 2);
    wait_until_expired(opened, Duration::from_secs(10));
    assert_refused(cargo.yank("corp", "ship@1.0.0"), "corp");
    assert_eq!(writes(&registry.nginx), passed);
}

#[test]
fn pushes_pass_while_writes_are_allowed() {
    let server = GitServer::start(&Authority::new("Corp Root"), Scheme::basic("me"), TOKEN);
    server.repository("plans", &[("README", "secret\n")]);
    let daemon = Daemon::start();
    daemon.add_git("code", &server);
    let git = Git::new().behind(&daemon);
    git.clone_from(&server.url("plans")).succeeds();
    git.commit_random_file("noise", 3 << 20).succeeds();
    assert_refused(git.push(), "code");
    assert_eq!(writes(&server.nginx), 0);
    let opened = Instant::now();
    daemon.ctl(&["allow", "code", "--for", "10s"]).succeeds();
    git.push().succeeds();
    assert_eq!(server.head("plans", "main"), git.head());
    let passed = writes(&server.nginx);
    wait_until_expired(opened, Duration::from_secs(10));
    git.commit_random_file("more", 100).succeeds();
    assert_refused(git.push(), "code");
    assert_eq!(writes(&server.nginx), passed);
}

/// Some web frameworks take the method from a header.
#[test]
fn a_method_override_header_makes_a_read_a_write() {
    let server = GitServer::start(&Authority::new("Corp Root"), Scheme::basic("me"), TOKEN);
    server.repository("plans", &[("README", "secret\n")]);
    let daemon = Daemon::start();
    daemon.add_git("code", &server);
    let url = format!("{}/info/refs?service=git-upload-pack", server.url("plans"));
    let curl = Curl::new().behind(&daemon);
    assert_eq!(curl.get(&url).status, 200);
    let before = server.nginx.requests().len();
    for name in [
        "X-HTTP-Method-Override",
        "x-http-method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "x-http_method",
    ] {
        let answer = curl.clone().header(&format!("{name}: DELETE")).get(&url);
        assert_eq!(
            (answer.status, answer.header("regauth-error")),
            (403, Some("write-denied")),
            "{name}"
        );
    }
    assert_eq!(server.nginx.requests().len(), before);
}

/// Some web frameworks take the path from a header, while the scope is checked for the path of the request.
#[test]
fn a_path_override_header_is_refused() {
    let server = GitServer::start(&Authority::new("Corp Root"), Scheme::basic("me"), TOKEN);
    let daemon = Daemon::start();
    daemon.add_git("code", &server);
    let before = server.nginx.requests().len();
    for name in ["X-Original-URL", "x-rewrite-url", "X_Original_Url"] {
        let curl = Curl::new().behind(&daemon).header(&format!("{name}: /elsewhere"));
        let answer = curl.get(&server.url("plans"));
        assert_eq!(
            (answer.status, answer.header("regauth-error")),
            (400, Some("bad-request")),
            "{name}"
        );
    }
    assert_eq!(server.nginx.requests().len(), before);
}

/// A file in the web API of a git host can be named like a fetch.
#[test]
fn a_post_to_a_file_named_like_a_fetch_is_a_write() {
    let server = GitServer::start(&Authority::new("Corp Root"), Scheme::basic("me"), TOKEN);
    let daemon = Daemon::start();
    daemon.add_git("code", &server);
    let url = server.nginx.url("/git/api/v1/repos/me/plans/contents/git-upload-pack");
    let before = server.nginx.requests().len();
    for more in [
        &["--header", "Content-Type: application/json"][..],
        &[],
        &[
            "--header",
            "Content-Type: application/x-git-upload-pack-request",
            "--header",
            "Content-Type: application/json",
        ],
        // A header that the proxy removes as hop-by-hop must not decide.
        &[
            "--header",
            "Content-Type: application/x-git-upload-pack-request",
            "--header",
            "Connection: content-type",
        ],
    ] {
        let curl = Curl::new()
            .behind(&daemon)
            .with(&["--http1.1", "--data", "{}"])
            .with(more);
        let answer = curl.get(&url);
        assert_eq!(
            (answer.status, answer.header("regauth-error")),
            (403, Some("write-denied")),
            "{more:?}"
        );
    }
    assert_eq!(server.nginx.requests().len(), before);
}
