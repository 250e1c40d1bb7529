//! Operations that the method alone does not tell: token requests, Git LFS, fetches from any kind of registry. And how
//! a client sees that a write was refused.

use std::fs;

use base64::Engine;
use regauth_shared::kind::KINDS;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::container_registry::ContainerRegistry;
use regauth_tests::curl::{Curl, Response};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::git::{Git, random_bytes};
use regauth_tests::git_server::GitServer;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::lfs_server::LfsServer;
use regauth_tests::mock_server::MockServer;
use regauth_tests::nginx::Nginx;
use regauth_tests::programs::{binary, tool};
use regauth_tests::pypi_server::PypiServer;
use regauth_tests::user::User;

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

/// Clone of a repository with Git LFS on, for files `*.bin`.
fn lfs_clone(daemon: &Daemon, proxy: &str, url: &str) -> (Git, Output) {
    let git = Git::new().proxy(proxy).trusts(&daemon.bundle());
    git.run(["lfs", "install", "--skip-repo"]).succeeds();
    let cloned = git.clone_from(url);
    (git, cloned)
}

fn commit_large_file(git: &Git, name: &str) {
    git.in_work(["lfs", "track", "*.bin"]).succeeds();
    git.in_work(["add", ".gitattributes"]).succeeds();
    git.commit_random_file(name, 70_000).succeeds();
    git.in_work(["branch", "--move", "--force", "main"]).succeeds();
}

/// A push with writes open, then clones with writes closed, by the user and by a read-only grant.
fn lfs_day(server: &LfsServer) -> (Daemon, String) {
    let daemon = daemon_for("git", &server.scope(), &server.ca(), &["--no-verify"]);
    let url = server.repository("app");
    let (git, cloned) = lfs_clone(&daemon, &daemon.proxy(), &url);
    cloned.succeeds();
    commit_large_file(&git, "model.bin");
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    git.push().succeeds();
    daemon.ctl(&["deny", "corp"]).succeeds();
    for proxy in [daemon.proxy(), read_only_proxy(&daemon)] {
        let (git, cloned) = lfs_clone(&daemon, &proxy, &url);
        cloned.succeeds();
        let file = fs::read(git.work().join("model.bin")).unwrap();
        assert!(file == random_bytes("model.bin", 70_000), "the clone has another file");
        LeakScan::new(PASSWORD).scan_folder(git.home(), &[]).assert_clean();
    }
    let before = server.nginx.requests().len();
    commit_large_file(&git, "more.bin");
    git.push().fails();
    assert_eq!(puts(&server.nginx), 1, "only the first push has stored an object");
    assert!(server.nginx.requests().len() <= before + 2);
    (daemon, url)
}

/// giftless takes its own token for an object and no other.
#[test]
fn an_lfs_server_gets_the_token_that_it_gave_for_an_object() {
    let server = LfsServer::giftless(USER, PASSWORD);
    let (daemon, _) = lfs_day(&server);
    assert!(!daemon.log().contains("withheld"));
}

#[test]
fn an_lfs_server_that_repeats_the_token_gives_it_to_no_client() {
    let server = LfsServer::echoing(USER, PASSWORD);
    let (daemon, url) = lfs_day(&server);
    let batch = format!("{url}/info/lfs/objects/batch");
    let body = |operation: &str| format!(r#"{{"operation":"{operation}","objects":[{{"oid":"ab","size":3}}]}}"#);
    let post = |operation: &str| {
        let curl = Curl::new()
            .behind(&daemon)
            .header(LFS)
            .with(&["--compressed", "--data-binary"]);
        curl.with(&[&body(operation)]).get(&batch)
    };
    assert_is_refused(&post("upload"));
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    for operation in ["download", "upload"] {
        let answer = post(operation);
        assert_eq!(answer.status, 200);
        let text = answer.body();
        LeakScan::new(PASSWORD).scan("the answer", &text).assert_clean();
        assert!(!text.contains("Authorization") && text.contains("X-Kept"), "{text}");
    }
}

#[test]
fn only_a_whole_batch_request_for_downloads_is_a_read() {
    let (server, daemon) = mock("git");
    let url = server.url("/r.git/info/lfs/objects/batch");
    let post = |body: &str, content_type: &str, url: &str| {
        Curl::new()
            .behind(&daemon)
            .header(content_type)
            .with(&["--data-binary", body])
            .get(url)
    };
    let download = r#"{"operation":"download","objects":[{"oid":"ab","size":3}]}"#;
    let json = "Content-Type: application/json";
    let long = format!(r#"{{"operation":"download","objects":["{}"]}}"#, "a".repeat(70_000));
    let api = server.url("/api/v1/repos/me/r/contents/r.git/info/lfs/objects/batch");
    for (body, content_type, url) in [
        (r#"{"operation":"upload","objects":[]}"#, LFS, &url),
        (
            r#"{"operation":"download","operation":"upload","objects":[]}"#,
            LFS,
            &url,
        ),
        (
            r#"{"operation":"download","Operation":"upload","objects":[]}"#,
            LFS,
            &url,
        ),
        (r#"{"operation":"download","objects":[],"content":"YQ=="}"#, LFS, &url),
        (&long, LFS, &url),
        (download, json, &url),
        (download, LFS, &api),
    ] {
        assert_is_refused(&post(body, content_type, url));
    }
    assert!(server.requests().is_empty());
    assert_eq!(post(download, LFS, &url).status, 200);
    let sent = server.requests().pop().unwrap();
    assert_eq!(sent.body, download.as_bytes());
    assert_eq!(sent.header("accept-encoding").as_deref(), Some("identity"));
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

#[test]
fn the_reason_phrase_over_http1_has_the_whole_text() {
    let (server, daemon) = mock("generic");
    let curl = Curl::new().behind(&daemon).with(&["--http1.1"]);
    let expected = "403 Forbidden: regauth keeps writes to the registry corp closed, so nothing was sent. Open them for a \
                    while with regauthctl allow corp --for 5m, then repeat.\r\n";
    for answer in [
        curl.upload(&server.url("/z"), 3),
        curl.get(&server.url("/token?scope=repository:x:push")),
    ] {
        assert!(
            answer.headers.contains(&format!("HTTP/1.1 {expected}")),
            "{}",
            answer.headers
        );
    }
    // npm prints the phrase and the body.
    let npm = curl.clone().header("npm-command: publish").upload(&server.url("/z"), 3);
    assert!(npm.headers.contains("HTTP/1.1 403 Forbidden\r\n"), "{}", npm.headers);
    assert!(npm.body().starts_with("{\"error\":\"regauth keeps"), "{}", npm.body());
}

#[test]
fn a_refused_connect_has_the_text_in_its_reason_phrase() {
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    let refused = Curl::new()
        .behind(&daemon)
        .with(&["--verbose"])
        .fetch("https://localhost:1/");
    refused
        .output
        .fails()
        .says("407 Proxy Authentication Required: regauth serves its own user and the bearers of grants");
    // Go prints the phrase and nothing else.
    let registry = ContainerRegistry::with_password(USER, PASSWORD);
    let image = registry.image("team/app:1");
    let refused = registry.skopeo(&daemon, &daemon.proxy(), &["inspect", &image]);
    refused
        .fails()
        .says("Run regauthctl grant as the user who runs regauthd");
}

/// twine prints the reason phrase only.
#[test]
fn twine_shows_that_writes_are_closed() {
    let server = PypiServer::start(USER, PASSWORD);
    server.package("treasure");
    let daemon = daemon_for("pypi", &server.nginx.url("/"), &server.ca(), &[]);
    let folder = tempfile::TempDir::new().unwrap();
    let upload = || {
        let mut twine = exec::command(tool("python/bin/twine"), folder.path());
        twine
            .args([
                "upload",
                "--non-interactive",
                "--disable-progress-bar",
                "--repository-url",
            ])
            .args([server.nginx.url("/"), server.wheel("treasure").display().to_string()])
            .env("TWINE_USERNAME", "placeholder")
            .env("TWINE_PASSWORD", "placeholder")
            .env("HTTPS_PROXY", daemon.proxy())
            .env("REQUESTS_CA_BUNDLE", daemon.bundle());
        exec::run(&mut twine)
    };
    let refused = upload().fails();
    let words = [&refused.stdout, &*refused.stderr].concat();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("regauthctl allow corp --for 5m"), "{}", refused.report());
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    let posts = || {
        server
            .nginx
            .requests()
            .iter()
            .filter(|request| request.method == "POST")
            .count()
    };
    assert_eq!(posts(), 0);
    upload();
    assert!(posts() > 0, "the upload did not reach the index");
}

/// Maven and Gradle print what `getResponseMessage` gives.
#[test]
fn java_shows_that_writes_are_closed() {
    let (server, daemon) = mock("generic");
    let user = User::new(&daemon).env("JAVA_TOOL_OPTIONS", "-Dhttp.nonProxyHosts=");
    user.write("Put.java", PUT);
    let url = server.url("/maven/team/app/1.0/app-1.0.jar");
    let line = format!(
        "eval \"$({} env --shell bash)\"; exec java Put.java {url}",
        binary("regauthctl").display()
    );
    let refused = user.run("bash", &["-c", &line]).succeeds();
    refused.says("403 Forbidden: regauth keeps writes to the registry corp closed");
    assert!(server.requests().is_empty());
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
