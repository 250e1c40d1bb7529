use std::path::Path;

use regauth_shared::response::{GrantView, RegistryView};
use serde_json::json;

use super::*;

const URL: &str = "http://regauth:tok-en@127.0.0.1:9001";

fn registry(name: &str, kind: &str, index: &str) -> RegistryView {
    serde_json::from_value(json!({
        "name": name, "kind": kind, "index": index, "scopes": ["https://corp.example/"], "scheme": "bearer",
        "source": "store", "writes": "deny", "requests": 0, "credential": {"state": "ready", "generation": 1},
    }))
    .unwrap()
}

fn info(listen: &str) -> DaemonInfo {
    DaemonInfo {
        listen: listen.to_owned(),
        registries: vec![
            registry("my-corp", "cargo", "sparse+https://corp.example/index/"),
            registry("other", "cargo", "https://corp.example/index.git"),
            registry("wheels", "pypi", "https://corp.example/simple/"),
        ],
        ..DaemonInfo::sample()
    }
}

fn grant(registries: &[&str]) -> GrantView {
    serde_json::from_value(json!({
        "id": "1", "registries": registries, "write": false,
        "created": "2026-03-04T05:06:07Z", "expires": "2026-03-04T06:06:07Z",
    }))
    .unwrap()
}

fn made(client: ClientKind, listen: &str, overrides: Overrides) -> Recipe {
    let info = info(listen);
    let plan = Plan::new(client, &info, overrides).unwrap();
    let grant = grant(&["my-corp"]);
    let file = plan.file(&grant, Path::new("/r"));
    plan.complete(&grant, URL, file)
}

fn value(recipe: &Recipe, name: &str) -> Option<String> {
    let found = recipe.variables.iter().find(|(known, _)| known == name);
    found.and_then(|(_, value)| value.clone())
}

#[test]
#[cfg(not(target_os = "macos"))]
fn a_container_reaches_each_kind_of_listener() {
    for (client, listen, proxy, flags) in [
        (ClientKind::Docker, "127.0.0.1:9001", "127.0.0.1:9001", "--network host"),
        (ClientKind::Podman, "[::1]:9001", "[::1]:9001", "--network host"),
        (
            ClientKind::Docker,
            "0.0.0.0:9001",
            "host.docker.internal:9001",
            "--add-host host.docker.internal:host-gateway",
        ),
        (ClientKind::Podman, "[::]:9001", "host.containers.internal:9001", ""),
        (ClientKind::Docker, "172.17.0.1:9001", "172.17.0.1:9001", ""),
    ] {
        let recipe = made(client, listen, Overrides::default());
        let expected = format!("http://regauth:tok-en@{proxy}");
        assert_eq!(value(&recipe, "HTTPS_PROXY").as_deref(), Some(&*expected), "{listen}");
        let command = recipe.command.join(" ");
        assert!(command.contains(flags), "{command}");
        assert_eq!(
            command.contains("--network") || command.contains("--add-host"),
            !flags.is_empty(),
            "{command}"
        );
        assert_eq!(
            recipe.notes.iter().any(|note| note.contains("clients = \"grants\"")),
            command.contains("--network"),
            "{listen}"
        );
    }
}

#[test]
fn no_command_and_no_text_has_the_grant() {
    use clap::ValueEnum;
    for client in ClientKind::value_variants() {
        let recipe = made(*client, "127.0.0.1:9001", Overrides::default());
        let shown = format!("{:?} {:?}", recipe.command, recipe.snippet);
        assert!(!shown.contains("tok-en"), "{shown}");
        if recipe.file.is_some() {
            assert!(!recipe.text.contains("tok-en"), "{}", recipe.text);
            assert!(recipe.file_text.contains("tok-en"), "{}", recipe.file_text);
        }
    }
}

#[test]
fn variables_are_those_of_the_grants_registries() {
    let recipe = made(ClientKind::Env, "127.0.0.1:9001", Overrides::default());
    assert_eq!(
        value(&recipe, "CARGO_REGISTRIES_MY_CORP_INDEX").as_deref(),
        Some("sparse+https://corp.example/index/")
    );
    assert!(value(&recipe, "CARGO_REGISTRIES_MY_CORP_TOKEN").is_some());
    assert_eq!(value(&recipe, "CARGO_REGISTRIES_OTHER_INDEX"), None);
    assert_eq!(value(&recipe, "UV_INDEX_WHEELS_USERNAME"), None);
    let cargo = made(ClientKind::Cargo, "127.0.0.1:9001", Overrides::default());
    assert!(cargo.variables.iter().all(|(name, _)| name.starts_with("CARGO_")));
}

#[test]
fn a_file_has_a_lasting_name_for_each_client_and_set_of_registries() {
    let info = info("127.0.0.1:9001");
    let file = |client, registries: &[&str]| {
        let plan = Plan::new(client, &info, Overrides::default()).unwrap();
        plan.file(&grant(registries), Path::new("/r"))
    };
    assert_eq!(
        file(ClientKind::Compose, &["a", "b"]),
        Some("/r/grants/compose-a-b.env".into())
    );
    assert_eq!(file(ClientKind::Maven, &[]), Some("/r/grants/maven.xml".into()));
    assert_eq!(file(ClientKind::Env, &[]), None);
}

#[test]
fn names_of_the_user_replace_the_defaults() {
    let overrides = Overrides {
        host: Some("regauth".to_owned()),
        bundle_folder: Some("/certs/".to_owned()),
        file: None,
    };
    let recipe = made(ClientKind::Compose, "127.0.0.1:9001", overrides);
    assert_eq!(
        value(&recipe, "HTTPS_PROXY").as_deref(),
        Some("http://regauth:tok-en@regauth:9001")
    );
    assert_eq!(value(&recipe, "SSL_CERT_FILE").as_deref(), Some("/certs/ca-bundle.pem"));
    let snippet = recipe.snippet.unwrap();
    assert!(snippet.contains("[\"/s/bundle:/certs:ro,z\"]"), "{snippet}");
    assert!(
        !snippet.contains("network_mode") && !snippet.contains("extra_hosts"),
        "{snippet}"
    );
}

#[test]
fn hosts_and_folders_that_would_break_a_command_are_rejected() {
    for (text, is_host) in [
        ("regauth", true),
        ("10.0.0.1", true),
        ("[::1]", true),
        ("host:9001", false),
        ("http://host", false),
        ("me@host", false),
        ("a b", false),
        ("", false),
    ] {
        assert_eq!(host(text).is_ok(), is_host, "{text}");
    }
    for (text, is_folder) in [
        ("/certs", true),
        ("/a b/c", true),
        ("/", false),
        ("certs", false),
        ("/a:b", false),
    ] {
        assert_eq!(client_folder(text).is_ok(), is_folder, "{text}");
    }
}

#[test]
fn a_recipe_that_cannot_work_is_an_error_before_the_grant() {
    let mut without_folder = info("127.0.0.1:9001");
    without_folder.bundle_folder = None;
    let planned = |client, info: &DaemonInfo| Plan::new(client, info, Overrides::default()).map(drop);
    assert!(
        planned(ClientKind::Docker, &without_folder)
            .unwrap_err()
            .hint
            .unwrap()
            .contains("REGAUTH_BUNDLE")
    );
    assert!(planned(ClientKind::Env, &without_folder).is_ok());
    let mut blank = info("127.0.0.1:9001");
    blank.bundle = "/my folder/ca-bundle.pem".to_owned();
    assert!(planned(ClientKind::Maven, &blank).is_err());
}
