//! Programs: each event names the program behind its request, and a registry can be kept for some of them.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::poll;
use regauth_tests::registry::Registry;
use regauth_tests::viewer::Viewer;
use serde_json::Value;

const TOKEN: &str = "t0ken-of-the-company";

/// Build script that reads the registry through curl, as a malicious dependency would.
fn reads_through_curl(daemon: &Daemon, url: &str) -> String {
    format!(
        "fn main() {{
            let out = std::env::var(\"OUT_DIR\").unwrap();
            let status = std::process::Command::new(\"curl\")
                .args([\"--silent\", \"--proxy\", {:?}, \"--cacert\", {:?}, \"--output\", \"stolen\", {url:?}])
                .current_dir(out)
                .status();
            assert!(status.unwrap().success());
        }}",
        daemon.proxy(),
        daemon.bundle().display().to_string(),
    )
}

fn program(event: &Value) -> &str {
    event["client"]["program"].as_str().unwrap_or_default()
}

#[test]
fn a_build_script_that_reads_through_curl_shows_up_under_its_own_name() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let mut viewer = Viewer::start(daemon.home());
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .depends_on("ship = { version = \"1\", registry = \"corp\" }");
    let url = registry.file("secret-source", 4000);
    std::fs::write(cargo.project().join("build.rs"), reads_through_curl(&daemon, &url)).unwrap();
    cargo.build().succeeds();
    let mut by_cargo = 0;
    let by_curl = loop {
        let event = viewer.next_of("request");
        if program(&event).ends_with("/cargo") {
            by_cargo += 1;
            assert_eq!(event["client"]["folder"], cargo.project().display().to_string());
        } else {
            break event;
        }
    };
    assert!(by_cargo > 0);
    assert!(program(&by_curl).ends_with("/curl"), "{by_curl}");
    assert!(url.ends_with(by_curl["path"].as_str().unwrap()), "{by_curl}");
    let client = &by_curl["client"];
    assert!(client["parent"].as_str().unwrap().contains("build-script"), "{by_curl}");
    assert!(client["folder"].as_str().unwrap().contains("/out"), "{by_curl}");
    // The record on disk keeps each program's first use of a registry.
    let recorded = poll::wait_for("curl in the record", || {
        let lines = daemon.ctl(&["audit", "--program", "curl", "--registry", "corp"]).json;
        lines["lines"].get(0).map(|line| line["event"].clone())
    });
    assert!(program(&recorded).ends_with("/curl"), "{recorded}");
}

#[test]
fn a_registry_for_cargo_refuses_the_curl_of_a_build_script() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    let arguments = ["--scope", &registry.scope(), "--program", "cargo"];
    daemon.add_with("corp", &registry, &arguments);
    let shown = daemon.ctl(&["show", "corp"]).succeeds();
    assert_eq!(shown.json["programs"][0], "cargo");
    let mut viewer = Viewer::start(daemon.home());
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .depends_on("ship = { version = \"1\", registry = \"corp\" }");
    cargo.build().succeeds();
    let before = registry.nginx.requests().len();
    let refused = Curl::new().behind(&daemon).get(&registry.file("secret-source", 4000));
    assert_eq!(
        (refused.status, refused.header("regauth-error")),
        (403, Some("program-denied"))
    );
    assert!(
        refused.body().contains("regauthctl watch --refused"),
        "{}",
        refused.body()
    );
    let event = viewer.next_of("refusal");
    assert_eq!(event["code"], "program-denied");
    assert!(program(&event).ends_with("/curl"), "{event}");
    assert_eq!(registry.nginx.requests().len(), before, "nothing was sent");
}

#[test]
fn a_git_host_for_another_program_tells_git_so() {
    let server = GitServer::start(&Authority::new("Corp Root"), Scheme::basic("me"), TOKEN);
    server.repository("plans", &[("README", "secret\n")]);
    let daemon = Daemon::start();
    daemon.add_git("code", &server);
    let git = Git::new().behind(&daemon);
    git.clone_from(&server.url("plans")).succeeds();
    daemon.ctl(&["set", "code", "programs", "cargo"]).succeeds();
    git.run(["ls-remote", &server.url("plans")])
        .fails()
        .says("serves only the programs that its `programs` lists");
}

#[test]
fn a_registry_for_another_program_tells_cargo_so() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--program", "/usr/bin/not-cargo"]);
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .depends_on("ship = { version = \"1\", registry = \"corp\" }");
    cargo
        .build()
        .fails()
        .says("serves only the programs that its `programs` lists");
    let script = daemon.try_add(
        "scripts",
        &["--scope", "https://other.example/", "--program", "npm", "--no-verify"],
        &Scheme::bearer(),
        &registry.ca(),
        TOKEN,
    );
    assert!(script.exits(2).output.stdout.contains("node"));
}
