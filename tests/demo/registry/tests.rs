//! The demo's registry against real cargo, which here holds the token itself: index, download and packaging are sound.

use std::fs;

use super::*;
use crate::command::Typed;
use crate::project;
use crate::stage::Stage;
use crate::telling::Telling;

async fn package(stage: &mut Stage) -> Crate {
    let folder = stage.folder().join("greeting");
    project::write_crate(&folder).unwrap();
    let packaged = Typed::cargo(&folder, "package --no-verify").run_unseen(stage).await;
    packaged.unwrap().ok().unwrap();
    Crate {
        name: "greeting".to_owned(),
        version: "1.0.0".to_owned(),
        archive: fs::read(folder.join("target/package/greeting-1.0.0.crate")).unwrap(),
    }
}

fn terms(authorization: &str, auth_required: bool) -> Terms {
    Terms {
        authorization: authorization.to_owned(),
        auth_required,
    }
}

async fn stage_and_registry(terms: Terms) -> (Stage, Registry) {
    let mut stage = Stage::set(Telling::to_stdout()).unwrap();
    let crates = vec![package(&mut stage).await];
    let registry = Registry::open(terms, crates).await.unwrap();
    project::write_project(&stage.project(), &registry.index()).unwrap();
    fs::write(stage.company_ca(), registry.ca_pem()).unwrap();
    let trust = format!("[http]\ncainfo = \"{}\"\n", stage.company_ca().display());
    fs::write(stage.cargo_home().join("config.toml"), trust).unwrap();
    (stage, registry)
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_with_the_token_builds_and_asks_no_other_registry() {
    let token = basic("me", "right");
    let (mut stage, registry) = stage_and_registry(terms(&token, true)).await;
    let credentials = format!("[registries.corp]\ntoken = \"{token}\"\n");
    fs::write(stage.cargo_home().join("credentials.toml"), credentials).unwrap();
    let build = Typed::cargo(&stage.project(), "build")
        .run_unseen(&mut stage)
        .await
        .unwrap();
    build.ok().unwrap();
    let program = stage.project().join("target/debug/hello");
    let hello = Typed::new(&program, stage.folder(), "")
        .run_unseen(&mut stage)
        .await
        .unwrap();
    assert_eq!(hello.stdout.trim(), project::GREETING);
    assert!(
        registry
            .visits()
            .iter()
            .any(|visit| visit.request.ends_with("/download") && visit.status == 200)
    );
    let indexes = fs::read_dir(stage.cargo_home().join("registry/index")).unwrap();
    assert_eq!(indexes.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_without_a_token_is_turned_away() {
    let (mut stage, registry) = stage_and_registry(terms(&basic("me", "right"), false)).await;
    let build = Typed::cargo(&stage.project(), "build")
        .run_unseen(&mut stage)
        .await
        .unwrap();
    assert!(!build.success);
    assert!(build.printed.contains("no token found"), "{}", build.printed);
    let visits: Vec<_> = registry
        .visits()
        .into_iter()
        .map(|visit| (visit.authorization, visit.status))
        .collect();
    assert_eq!(visits, [(None, 401)]);
}

#[tokio::test]
async fn a_changed_token_is_the_only_good_one() {
    let registry = Registry::open(terms("Basic old", false), Vec::new()).await.unwrap();
    assert_eq!(registry.ask("Basic old").await.unwrap(), "HTTP/1.1 200 OK");
    registry.change_authorization("Basic new");
    assert_eq!(registry.ask("Basic old").await.unwrap(), "HTTP/1.1 401 Unauthorized");
    assert_eq!(registry.ask("Basic new").await.unwrap(), "HTTP/1.1 200 OK");
}
