//! Operations that the method alone does not tell: token requests, Git LFS, fetches from any kind of registry. And how
//! a client sees that a write was refused.

mod lfs;
mod refusal_texts;

use base64::Engine;
use regauth_shared::kind::KINDS;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::container_registry::ContainerRegistry;
use regauth_tests::curl::{Curl, Response};
use regauth_tests::daemon::Daemon;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::nginx::Nginx;

const USER: &str = "me";
const PASSWORD: &str = "passw0rd-of-the-daemon";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const LFS: &str = "Content-Type: application/vnd.git-lfs+json; charset=utf-8";

/// Daemon with one registry, `corp`.
fn daemon_for(kind: &str, scope: &str, ca: &std::path::Path, more: &[&str]) -> Daemon {
    let daemon = Daemon::start();
    let location = [&["--kind", kind, "--scope", scope], more].concat();
    daemon
        .try_add("corp", &location, &Scheme::basic(USER), ca, PASSWORD)
        .succeeds();
    daemon
}

/// Daemon in front of a server that answers everything.
fn mock(kind: &str) -> (MockServer, Daemon) {
    let authority = Authority::new("Corp Root");
    let server = MockServer::builder(&authority, "localhost").start();
    let daemon = daemon_for(kind, &server.url("/"), &authority.file(), &["--no-verify"]);
    server.clear_requests();
    (server, daemon)
}

fn read_only_proxy(daemon: &Daemon) -> String {
    let created = daemon
        .ctl(&["grant", "--registry", "corp", "--for", "10m"])
        .succeeds()
        .json;
    created["grant"]["proxy"]
        .as_str()
        .or(created["proxy"].as_str())
        .unwrap()
        .to_owned()
}

#[track_caller]
fn assert_is_refused(answer: &Response) {
    assert_eq!(
        (answer.status, answer.header("regauth-error")),
        (403, Some("write-denied")),
        "{}",
        answer.headers
    );
}

fn puts(nginx: &Nginx) -> usize {
    let is_write = |method: &str| matches!(method, "PUT" | "PATCH" | "DELETE");
    nginx
        .requests()
        .iter()
        .filter(|request| is_write(&request.method))
        .count()
}

#[test]
fn a_token_service_gives_no_power_to_push_while_writes_are_closed() {
    let registry = ContainerRegistry::with_token_service(USER, PASSWORD);
    let realm = registry.nginx.url("/token");
    let daemon = daemon_for("generic", &realm, &registry.ca(), &["--no-verify"]);
    let (source, image) = (registry.sample_image(), registry.image("team/app:1"));
    let push = |proxy: &str| registry.skopeo(&daemon, proxy, &["copy", &source, &image]);
    // skopeo 1.9 shows the status of a token service and no more.
    push(&daemon.proxy())
        .fails()
        .says("Requesting bearer token: invalid status code from registry 403");
    push(&read_only_proxy(&daemon)).fails().says("Requesting bearer token");
    assert_eq!(puts(&registry.nginx), 0);
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    push(&daemon.proxy()).succeeds();
    daemon.ctl(&["deny", "corp"]).succeeds();
    for proxy in [daemon.proxy(), read_only_proxy(&daemon)] {
        registry
            .skopeo(&daemon, &proxy, &["inspect", "--raw", &image])
            .succeeds();
    }
    let deleting = registry.skopeo(&daemon, &daemon.proxy(), &["delete", &image]);
    deleting.fails().says("Requesting bearer token");
    assert_eq!(
        registry
            .nginx
            .requests()
            .iter()
            .filter(|request| request.method == "DELETE")
            .count(),
        0
    );
}

#[test]
fn add_registry_names_the_token_service_of_a_container_registry() {
    let registry = ContainerRegistry::with_token_service(USER, PASSWORD);
    let daemon = Daemon::start();
    let add = |scope: &str| {
        let location = ["--kind", "generic", "--scope", scope];
        daemon.try_add("corp", &location, &Scheme::basic(USER), &registry.ca(), PASSWORD)
    };
    let refused = add(&registry.nginx.url("/v2/"));
    let realm = registry.image("").replace("docker://LOCALHOST", "https://localhost");
    let realm = format!("{}token", realm);
    assert_ne!(refused.exit, 0);
    refused
        .output
        .clone()
        .says(&format!("--kind oci --token-service {realm}"));
    add(&realm).succeeds();
}

#[test]
fn a_container_client_shows_the_whole_refusal() {
    let registry = ContainerRegistry::with_password(USER, PASSWORD);
    let daemon = daemon_for("generic", &registry.nginx.url("/v2/"), &registry.ca(), &[]);
    let (source, image) = (registry.sample_image(), registry.image("team/app:1"));
    let push = || registry.skopeo(&daemon, &daemon.proxy(), &["copy", &source, &image]);
    push().fails().says("regauthctl allow corp --for 5m");
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    push().succeeds();
}

#[test]
fn a_request_for_more_than_pulling_is_a_write_for_every_kind() {
    for kind in KINDS {
        let (server, daemon) = mock(kind);
        let curl = Curl::new().behind(&daemon);
        for query in [
            "service=corp&scope=repository:team/app:pull,push",
            "scope=repository%3Ateam%2Fapp%3Apull%2Cpush",
            "scope=repository:a:pull&scope=repository:b:delete",
            "scope=repository:a:pull+repository:b:*",
            "%73cope=repository:a:push",
            "offline_token=true&service=corp",
        ] {
            assert_is_refused(&curl.get(&server.url(&format!("/token?{query}"))));
        }
        assert!(server.requests().is_empty());
        for query in [
            "service=corp&scope=repository:team/app:pull",
            "scope=repository%3Ateam%2Fapp%3Apull",
            "scope=registry:catalog:*",
        ] {
            assert_eq!(curl.get(&server.url(&format!("/token?{query}"))).status, 200, "{query}");
        }
        assert_eq!(server.requests().len(), 3);
    }
}

/// Some services give out the token that they were asked with, in base64.
#[test]
fn a_token_service_that_gives_out_the_token_itself_is_withheld() {
    let authority = Authority::new("Corp Root");
    let token = base64::engine::general_purpose::STANDARD.encode(PASSWORD);
    let leaking = MockServer::builder(&authority, "localhost")
        .answer(
            200,
            &[("content-type", "application/json")],
            &format!(r#"{{"token":"{token}"}}"#),
        )
        .start();
    let daemon = daemon_for("generic", &leaking.url("/"), &authority.file(), &["--no-verify"]);
    let curl = Curl::new().behind(&daemon).with(&["--compressed"]);
    for query in [
        "scope=repository:x:pull",
        "service=corp",
        "account=me&service=corp&scope=repository%3Ax%3Apull",
    ] {
        let answer = curl.get(&leaking.url(&format!("/token?{query}")));
        assert_eq!(
            (answer.status, answer.header("regauth-error")),
            (502, Some("upstream-unsafe")),
            "{query}"
        );
        LeakScan::new(PASSWORD).scan("the answer", answer.body()).assert_clean();
    }
    let form = curl.header(FORM).with(&["--data", "grant_type=password&service=corp"]);
    assert_eq!(form.get(&leaking.url("/token")).status, 502);
}

#[test]
fn the_form_of_a_token_request_tells_pulling_from_pushing() {
    let (server, daemon) = mock("generic");
    let url = server.url("/oauth2/token");
    let post = |form: &str, more: &[&str]| {
        let curl = Curl::new().behind(&daemon).header(FORM).with(&["--data-binary", form]);
        curl.with(more).get(&url)
    };
    let pull = "grant_type=refresh_token&service=corp&refresh_token=r&scope=repository%3Ax%3Apull";
    assert_is_refused(&post(&format!("{pull}%2Cpush"), &[]));
    assert_is_refused(&post(&format!("{pull}&scope=repository:y:push"), &[]));
    assert_is_refused(&post(&format!("{pull}&access_type=offline"), &[]));
    assert_is_refused(&post(&format!("{pull}&name=another"), &[]));
    assert_is_refused(&post(&format!("{pull}{}", "+repository:x:pull".repeat(5000)), &[]));
    assert_is_refused(&post(pull, &["--header", "Content-Encoding: gzip"]));
    // Rails reads parameters from the body of a GET.
    assert_is_refused(&post("scope=repository:x:push", &["--request", "GET"]));
    assert!(server.requests().is_empty());
    for version in ["--http1.1", "--http2"] {
        assert_eq!(post(pull, &[version]).status, 200);
        assert_eq!(server.requests().last().unwrap().body, pull.as_bytes());
    }
}

#[test]
fn a_registry_of_any_kind_lets_git_read_and_not_push() {
    let server = GitServer::start(&Authority::new("Corp Root"), Scheme::basic(USER), PASSWORD);
    server.repository("plans", &[("README", "secret\n")]);
    let daemon = daemon_for("generic", &server.scope(), &server.ca(), &["--no-verify"]);
    let git = Git::new().behind(&daemon);
    git.clone_from(&server.url("plans")).succeeds();
    git.in_work(["fetch", "--refetch"]).succeeds();
    git.commit_random_file("noise", 100).succeeds();
    git.push().fails().says("regauthctl allow corp --for 5m");
    let remote = format!("--remote={}", server.url("plans"));
    let archive = git.run(["archive", &remote, "HEAD"]);
    assert!(!archive.report().contains("403"), "{}", archive.report());
    let is_archive = |uri: &str| uri.contains("git-upload-archive");
    assert!(server.nginx.requests().iter().any(|request| is_archive(&request.uri)));
}

#[test]
fn npm_audits_are_reads_for_generic_registries() {
    for kind in ["npm", "generic"] {
        let (server, daemon) = mock(kind);
        let post = |path: &str| {
            let curl = Curl::new().behind(&daemon).header("Content-Type: application/json");
            curl.with(&["--data", "{}"]).get(&server.url(path))
        };
        for audit in ["advisories/bulk", "audits/quick", "audits"] {
            assert_eq!(post(&format!("/-/npm/v1/security/{audit}")).status, 200);
        }
        assert_is_refused(&post("/-/npm/v1/tokens"));
        assert_is_refused(&post("/api/v1/repos/me/r/contents/-/npm/v1/security/audits"));
    }
}

/// libcurl 7.88 of Debian 12 reports an error if the stream is reset right after the answer.
#[test]
fn a_refused_upload_over_http2_gets_its_answer() {
    let (server, daemon) = mock("generic");
    let curl = Curl::new().behind(&daemon).with(&["--http2"]);
    for length in [3, 1000, 30_000, 100_000, 1_000_000, 20_000_000] {
        for _ in 0..5 {
            let answer = curl.upload(&server.url("/z"), length);
            assert_is_refused(&answer);
            assert_eq!(answer.version, "2");
            assert!(answer.body().contains("regauthctl allow corp --for 5m"));
        }
    }
    assert!(server.requests().is_empty());
}

/// The registry answers before the upload has ended.
#[test]
fn an_upload_that_the_registry_refuses_early_gets_its_answer() {
    let authority = Authority::new("Corp Root");
    let nginx = Nginx::builder(&authority.issue(&["localhost"]))
        .location("/", "client_max_body_size 10k; proxy_pass http://127.0.0.1:1;")
        .start();
    let daemon = daemon_for("generic", &nginx.url("/"), &authority.file(), &["--no-verify"]);
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    let curl = Curl::new().behind(&daemon).with(&["--http2"]);
    for length in [60_000, 1_000_000, 5_000_000] {
        assert_eq!(curl.upload(&nginx.url("/z"), length).status, 413, "{length}");
    }
}

const PUT: &str = r#"
public class Put {
    public static void main(String[] arguments) throws Exception {
        var connection = (java.net.HttpURLConnection) new java.net.URL(arguments[0]).openConnection();
        connection.setRequestMethod("PUT");
        connection.setDoOutput(true);
        connection.getOutputStream().write(new byte[1000]);
        System.out.println(connection.getResponseCode() + " " + connection.getResponseMessage());
    }
}
"#;
