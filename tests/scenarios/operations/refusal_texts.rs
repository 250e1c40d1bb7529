//! Texts of refused writes, as real clients show them.

use regauth_tests::container_registry::ContainerRegistry;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::programs::{binary, tool};
use regauth_tests::pypi_server::PypiServer;
use regauth_tests::user::User;

use super::{PASSWORD, PUT, USER, daemon_for, mock};

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
