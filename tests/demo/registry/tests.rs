//! The demo's registry with real cargo, which has the token itself: index, download and packaging work.

use std::fs;

use super::*;
use crate::command::ShellCommand;
use crate::project;
use crate::sandbox::Sandbox;
use crate::terminal::Terminal;

async fn package(sandbox: &mut Sandbox) -> Crate {
    let folder = sandbox.folder().join("greeting");
    project::write_crate(&folder).unwrap();
    let packaged = ShellCommand::cargo(&folder, "package --no-verify")
        .run_silently(sandbox)
        .await;
    packaged.unwrap().ok().unwrap();
    Crate {
        name: "greeting".to_owned(),
        version: "1.0.0".to_owned(),
        archive: fs::read(folder.join("target/package/greeting-1.0.0.crate")).unwrap(),
    }
}

fn rules(authorization: &str, auth_required: bool) -> AccessRules {
    AccessRules {
        authorization: authorization.to_owned(),
        auth_required,
    }
}

async fn sandbox_and_registry(rules: AccessRules) -> (Sandbox, Registry) {
    let mut sandbox = Sandbox::create(Terminal::stdout()).unwrap();
    let crates = vec![package(&mut sandbox).await];
    let registry = Registry::start(rules, crates).await.unwrap();
    project::write_project(&sandbox.project(), &registry.index()).unwrap();
    fs::write(sandbox.company_ca(), registry.ca_pem()).unwrap();
    let trust = format!("[http]\ncainfo = \"{}\"\n", sandbox.company_ca().display());
    fs::write(sandbox.cargo_home().join("config.toml"), trust).unwrap();
    (sandbox, registry)
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_with_the_token_builds_and_contacts_no_other_registry() {
    let token = basic("me", "right");
    let (mut sandbox, registry) = sandbox_and_registry(rules(&token, true)).await;
    let credentials = format!("[registries.corp]\ntoken = \"{token}\"\n");
    fs::write(sandbox.cargo_home().join("credentials.toml"), credentials).unwrap();
    let build = ShellCommand::cargo(&sandbox.project(), "build")
        .run_silently(&mut sandbox)
        .await
        .unwrap();
    build.ok().unwrap();
    let program = sandbox.project().join("target/debug/hello");
    let hello = ShellCommand::new(&program, sandbox.folder(), "")
        .run_silently(&mut sandbox)
        .await
        .unwrap();
    assert_eq!(hello.stdout.trim(), project::GREETING);
    assert!(
        registry
            .take_requests()
            .iter()
            .any(|request| request.line.ends_with("/download") && request.status == 200)
    );
    let indexes = fs::read_dir(sandbox.cargo_home().join("registry/index")).unwrap();
    assert_eq!(indexes.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_without_a_token_gets_401() {
    let (mut sandbox, registry) = sandbox_and_registry(rules(&basic("me", "right"), false)).await;
    let build = ShellCommand::cargo(&sandbox.project(), "build")
        .run_silently(&mut sandbox)
        .await
        .unwrap();
    assert!(!build.success);
    assert!(build.printed.contains("no token found"), "{}", build.printed);
    let requests: Vec<_> = registry
        .take_requests()
        .into_iter()
        .map(|request| (request.authorization, request.status))
        .collect();
    assert_eq!(requests, [(None, 401)]);
}

#[tokio::test]
async fn accepts_only_the_new_authorization_after_a_change() {
    let registry = Registry::start(rules("Basic old", false), Vec::new()).await.unwrap();
    assert_eq!(registry.status_line_for("Basic old").await.unwrap(), "HTTP/1.1 200 OK");
    registry.set_authorization("Basic new");
    assert_eq!(
        registry.status_line_for("Basic old").await.unwrap(),
        "HTTP/1.1 401 Unauthorized"
    );
    assert_eq!(registry.status_line_for("Basic new").await.unwrap(), "HTTP/1.1 200 OK");
}
