//! Tokens that registries give out themselves: those of Git LFS servers for their objects, and those of token services.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::{Curl, Response};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::git::Git;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::lfs_server::LfsServer;
use regauth_tests::misbehaving_server::MisbehavingServer;
use regauth_tests::mock_server::MockServer;
use regauth_tests::path_server::PathServer;
use regauth_tests::poll;
use regauth_tests::programs::binary;
use serde_json::{Value, json};
use tempfile::TempDir;

const OURS: &str = "t0ken-of-the-daemon";
const THEIRS: &str = "t0ken-of-the-lfs-server";
const SEALED: &str = "regauth-action-authorization";
const LFS: &str = "Content-Type: application/vnd.git-lfs+json";
const BATCH: &str = "/r.git/info/lfs/objects/batch";
const OBJECT: &str = "/r.git/objects/ab";

/// Registry that gives its own token for an object, and a daemon for it.
fn lfs_registry(kind: &str) -> (PathServer, Daemon) {
    let (server, daemon) = (lfs_server(), Daemon::start());
    add(&daemon, &server, kind);
    (server, daemon)
}

fn lfs_server() -> PathServer {
    let server = PathServer::start(OURS);
    let action = json!({"href": server.url(OBJECT), "header": {"Authorization": format!("Bearer {THEIRS}")}});
    let answer = json!({"objects": [{"oid": "ab", "size": 3, "actions": {"download": action}}]});
    let media_type = [("content-type", "application/vnd.git-lfs+json")];
    server.answer(BATCH, 200, &media_type, &answer.to_string());
    server.answer_everybody(OBJECT, 200, &[], "object");
    server
}

fn add(daemon: &Daemon, server: &PathServer, kind: &str) {
    let location = ["--scope", &server.url("/"), "--kind", kind, "--no-verify"];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &server.ca(), OURS);
    added.succeeds();
}

/// The token for the object, as the client gets it.
fn sealed_token(daemon: &Daemon, server: &PathServer) -> String {
    let batch = r#"{"operation":"download","objects":[{"oid":"ab","size":3}]}"#;
    let curl = Curl::new().behind(daemon).header(LFS).with(&["--data-binary", batch]);
    let answer: Value = serde_json::from_str(&curl.get(&server.url(BATCH)).body()).unwrap();
    let header = answer["objects"][0]["actions"]["download"]["header"]
        .as_object()
        .unwrap();
    assert_eq!(header.len(), 1, "{answer}");
    header[SEALED].as_str().unwrap().to_owned()
}

fn error(answer: &Response) -> (u16, Option<&str>) {
    (answer.status, answer.header("regauth-error"))
}

#[test]
fn a_token_for_an_object_replaces_ours_and_opens_no_writes() {
    let (server, daemon) = lfs_registry("git");
    let token = sealed_token(&daemon, &server);
    let curl = Curl::new().behind(&daemon).header(&format!("{SEALED}: {token}"));
    let refused = curl.upload(&server.url(OBJECT), 3);
    assert_eq!(error(&refused), (403, Some("write-denied")));
    assert!(server.tokens(OBJECT).is_empty());
    assert_eq!(curl.get(&server.url(OBJECT)).status, 200);
    assert_eq!(server.tokens(OBJECT), [THEIRS]);
}

#[test]
fn only_a_token_that_was_given_for_the_host_is_sent() {
    let (server, daemon) = lfs_registry("git");
    let (other, _) = lfs_registry("git");
    let location = ["--scope", &other.url("/"), "--kind", "git", "--no-verify"];
    let added = daemon.try_add("other", &location, &Scheme::bearer(), &other.ca(), "t0ken-of-another");
    added.succeeds();
    let token = sealed_token(&daemon, &server);
    for (target, value) in [
        (&other, token.as_str()),
        (&server, "Bearer t0ken-of-the-client"),
        (&server, &token[1..]),
    ] {
        let curl = Curl::new().behind(&daemon).header(&format!("{SEALED}: {value}"));
        let refused = curl.get(&target.url(OBJECT));
        assert_eq!(error(&refused), (400, Some("bad-request")), "{}", refused.body());
        assert!(
            refused.body().contains("Run the git command again"),
            "{}",
            refused.body()
        );
        assert!(target.tokens(OBJECT).is_empty());
    }
}

#[test]
fn a_replica_takes_the_token_for_an_object_that_another_one_has_given_out() {
    let folder = TempDir::new().unwrap();
    let mut create = exec::command(binary("regauthd"), folder.path());
    let created = exec::run(create.args(["--create-authority", "localhost"])).succeeds();
    fs::write(folder.path().join("localhost.pem"), created.stdout).unwrap();
    let config = format!("authorities = \"{}\"\n", folder.path().display());
    let replicas = [(); 2].map(|()| Daemon::builder().config(&config).start());
    let (server, alone) = (lfs_server(), Daemon::start());
    let [one, two] = &replicas;
    for daemon in [one, two, &alone] {
        add(daemon, &server, "git");
    }
    let token = sealed_token(one, &server);
    let fetch = |daemon: &Daemon| {
        let curl = Curl::new().behind(daemon).header(&format!("{SEALED}: {token}"));
        curl.get(&server.url(OBJECT))
    };
    assert_eq!(error(&fetch(&alone)), (400, Some("bad-request")));
    assert_eq!(fetch(two).status, 200);
    assert_eq!(server.tokens(OBJECT), [THEIRS]);
}

/// git-lfs would ask a person for a password.
#[test]
fn a_refused_token_for_an_object_asks_for_no_password() {
    let challenge = [("www-authenticate", "Basic realm=\"corp\"")];
    for (kind, expected) in [("git", (403, Some("access-denied"))), ("generic", (401, None))] {
        let (server, daemon) = lfs_registry(kind);
        let token = sealed_token(&daemon, &server);
        server.answer_everybody(OBJECT, 401, &challenge, "expired");
        let curl = Curl::new().behind(&daemon).header(&format!("{SEALED}: {token}"));
        let refused = curl.get(&server.url(OBJECT));
        assert_eq!(error(&refused), expected, "{kind}");
        assert_eq!(refused.header("www-authenticate"), None, "{kind}");
        assert_eq!(server.tokens(OBJECT), [THEIRS]);
    }
}

#[test]
fn only_git_registries_get_the_token_for_an_object() {
    let authority = Authority::new("Corp Root");
    for kind in ["npm", "pypi", "cargo"] {
        let (server, daemon) = (MockServer::builder(&authority, "localhost").start(), Daemon::start());
        let location = ["--scope", &server.url("/"), "--kind", kind, "--no-verify"];
        let added = daemon.try_add("corp", &location, &Scheme::bearer(), &authority.file(), OURS);
        added.succeeds();
        server.clear_requests();
        let curl = Curl::new().behind(&daemon).header(&format!("{SEALED}: Bearer x"));
        assert_eq!(curl.get(&server.url("/file")).status, 200, "{kind}");
        let sent = server.requests().pop().unwrap();
        assert_eq!(
            sent.header("authorization").unwrap(),
            format!("Bearer {OURS}"),
            "{kind}"
        );
        assert_eq!(sent.header(SEALED), None, "{kind}");
    }
}

#[test]
fn the_token_for_an_object_goes_to_no_plain_host() {
    let authority = Authority::new("Corp Root");
    let plain = MockServer::builder(&authority, "127.0.0.1").plain().start();
    let daemon = Daemon::start();
    let curl = Curl::new().behind(&daemon).header(&format!("{SEALED}: sealed"));
    assert_eq!(curl.with(&["--noproxy", ""]).get(&plain.url("/file")).status, 200);
    assert_eq!(plain.requests().pop().unwrap().header(SEALED), None);
}

/// git-lfs sends all headers of an object but Authorization to wherever its URL redirects.
#[test]
fn a_token_for_an_object_is_worthless_where_its_url_redirects() {
    const CONTENT: &str = "an object in the storage of another host\n";
    let authority = Authority::new("Storage Root");
    let storage = MockServer::builder(&authority, "localhost")
        .answer(200, &[], CONTENT)
        .start();
    let server = LfsServer::redirecting("me", OURS, THEIRS, &storage.url("/"));
    let daemon = Daemon::start();
    let location = ["--scope", &server.scope(), "--kind", "git", "--no-verify"];
    let added = daemon.try_add("corp", &location, &Scheme::basic("me"), &server.ca(), OURS);
    added.succeeds();
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    let url = server.repository("app");
    let roots = tempfile::NamedTempFile::new().unwrap();
    let root = |file| fs::read_to_string(file).unwrap();
    fs::write(&roots, root(daemon.bundle()) + &root(authority.file())).unwrap();
    let clone = || {
        let git = Git::new().proxy(&daemon.proxy()).trusts(roots.path());
        git.run(["lfs", "install", "--skip-repo"]).succeeds();
        git.clone_from(&url).succeeds();
        git
    };
    let git = clone();
    git.in_work(["lfs", "track", "*.bin"]).succeeds();
    fs::write(git.work().join("model.bin"), CONTENT).unwrap();
    git.in_work(["add", ".gitattributes", "model.bin"]).succeeds();
    git.in_work(["commit", "--quiet", "--message", "model"]).succeeds();
    git.in_work(["branch", "--move", "--force", "main"]).succeeds();
    git.push().succeeds();
    assert!(storage.requests().is_empty());
    let cloned = clone();
    assert_eq!(fs::read_to_string(cloned.work().join("model.bin")).unwrap(), CONTENT);
    let sent = storage.requests().pop().unwrap();
    assert!(sent.header(SEALED).is_some(), "git-lfs sends the headers of an object");
    for secret in [THEIRS, OURS] {
        LeakScan::new(secret)
            .scan("the redirected request", sent.text())
            .assert_clean();
    }
}

#[test]
fn the_answer_of_a_token_service_is_checked_in_every_spelling_of_its_path() {
    let authority = Authority::new("Corp Root");
    let answer = format!(r#"{{"token":"{}"}}"#, STANDARD.encode(OURS));
    let media_type = [("content-type", "application/json")];
    let service = MockServer::builder(&authority, "localhost")
        .answer(200, &media_type, &answer)
        .start();
    let daemon = Daemon::start();
    let location = ["--scope", &service.url("/"), "--kind", "generic", "--no-verify"];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &authority.file(), OURS);
    added.succeeds();
    let curl = Curl::new().behind(&daemon).with(&["--path-as-is"]);
    assert!(
        curl.get(&service.url("/page")).body().contains("token"),
        "pages are not checked"
    );
    for path in [
        "/token",
        "/v2/token/",
        "/TOKEN",
        "/tok%65n",
        "/tok%2565n",
        "/token;v=1",
        "/token%3Fpage",
        "/token.",
        "/auth%2F",
        "//auth",
        "/a/./auth",
        "/page?scope=repository%3Ax%3Apull",
        "/page?SCOPE[]=repository:x:pull",
    ] {
        let withheld = curl.get(&service.url(path));
        assert_eq!(error(&withheld), (502, Some("upstream-unsafe")), "{path}");
        LeakScan::new(OURS).scan(path, withheld.body()).assert_clean();
    }
}

/// The registry has the token already when it begins to answer.
#[test]
fn a_rotation_does_not_wait_for_the_end_of_an_answer_that_is_checked() {
    let authority = Authority::new("Corp Root");
    let (server, daemon) = (MisbehavingServer::http1(&authority).start(), Daemon::start());
    let location = ["--scope", &server.url("/"), "--kind", "generic", "--no-verify"];
    let added = daemon.try_add("corp", &location, &Scheme::bearer(), &authority.file(), OURS);
    added.succeeds();
    let asking = Curl::new()
        .behind(&daemon)
        .start(&server.url("/stops?scope=repository:x:pull"));
    poll::wait_for("the request for a token", || {
        let asked = |line: &String| line.contains("/stops");
        server.requests().iter().any(asked).then_some(())
    });
    let rotated = daemon.ctl_with_input(&["rotate", "corp", "--token-stdin", "--no-verify"], "t0ken-of-today");
    assert_eq!(rotated.succeeds().json["notes"], Value::Null);
    drop(asking);
}
