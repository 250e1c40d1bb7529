//! Tests of the hand-over with configurations of every form.

use regauth_shared::paths::Folders;

use super::*;
use crate::credential::store::StoreKind;

const CONFIG: &str = r#"
store = "vault"

[registries.a-copy]
scopes = ["https://a.example/copy/"]
credential-of = "corp"

[registries.corp]
index = "sparse+https://corp.example/index/"
scheme = "basic"
username = "me"

[registries.minted]
scopes = ["https://minted.example/"]
source = { command = ["mint"] }

[registries.plain]
scopes = ["http://127.0.0.1:8000/x/"]

[registries.plain-service]
kind = "oci"
scopes = ["https://images.example/v2/"]
token-service = "http://127.0.0.1:8000/token"
"#;

#[tokio::test]
async fn registries_and_tokens_are_handed_over_and_removed_only_when_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let folders = Folders::below(home.path());
    fs::create_dir_all(&folders.state).unwrap();
    fs::write(folders.config_file(), CONFIG).unwrap();
    let item = Item::Credential(name("corp"));
    let store = OpenStore::new(&folders, StoreKind::Vault);
    let token = Secret::parse("t0ken").unwrap();
    store.thread.write(&item, &token).await.unwrap();
    record_binding(&store, CONFIG).await;

    let lines = hand_over(home.path(), "").await;
    assert!(
        lines[0].contains(r#""name":"corp""#) && lines[0].contains("t0ken"),
        "{lines:?}"
    );
    assert!(lines[0].contains(r#""scheme":"basic""#) && lines[0].contains(r#""username":"me""#));
    for (line, name, reason) in [
        (1, "minted", "another user"),
        (2, "plain", "can listen"),
        (3, "plain-service", "can listen"),
    ] {
        assert!(lines[line].contains(name) && lines[line].contains(reason), "{lines:?}");
    }
    assert!(
        lines[4].contains(r#""credential-of":"corp""#),
        "an owner comes first: {lines:?}"
    );
    assert_eq!(lines[5..], [r#""end""#, "0"]);
    assert!(store.thread.read(&item).await.unwrap().is_some());

    store.thread.write(&Item::ProxyUrl, &token).await.unwrap();
    assert_eq!(
        hand_over(home.path(), "corp\nupstream:proxy\n").await.last().unwrap(),
        "2"
    );
    for item in [item, Item::Binding(name("corp")), Item::ProxyUrl] {
        assert!(store.thread.read(&item).await.unwrap().is_none(), "{item}");
    }
    assert!(hand_over(home.path(), "").await[0].contains("it has no token"));
}

#[tokio::test]
async fn a_registry_whose_token_was_given_for_less_stays() {
    let home = tempfile::tempdir().unwrap();
    let folders = Folders::below(home.path());
    fs::create_dir_all(&folders.state).unwrap();
    let store = OpenStore::new(&folders, StoreKind::Vault);
    let token = Secret::parse("t0ken").unwrap();
    store
        .thread
        .write(&Item::Credential(name("corp")), &token)
        .await
        .unwrap();
    fs::write(folders.config_file(), CONFIG).unwrap();
    assert!(hand_over(home.path(), "").await[0].contains("nothing records what its token was given for"));
    record_binding(&store, CONFIG).await;
    for (before, after, says) in [
        (
            "corp.example/index/",
            "evil.example/index/",
            "https://evil.example/index/",
        ),
        ("a.example/copy/", "evil.example/", "https://evil.example/"),
        (
            "scheme = \"basic\"\nusername = \"me\"",
            "scheme = \"X: {token}\"",
            "in the header",
        ),
        (
            "username = \"me\"",
            "username = \"me\"\nwrites = \"allow\"",
            "opens writes",
        ),
    ] {
        let changed = CONFIG.replace(before, after);
        assert_ne!(changed, CONFIG);
        fs::write(folders.config_file(), changed).unwrap();
        let lines = hand_over(home.path(), "").await;
        let left = lines
            .iter()
            .find(|line| line.contains("was not given for all"))
            .unwrap();
        assert!(left.contains(says) && left.contains("regauthctl confirm "), "{left}");
        assert!(left.starts_with(r#"{"left""#) && !left.contains("t0ken"), "{left}");
    }
    fs::write(folders.config_file(), CONFIG).unwrap();
    assert!(hand_over(home.path(), "").await[0].contains("t0ken"));
}

fn name(text: &str) -> RegistryName {
    text.parse().unwrap()
}

/// Records that the token of `corp` was given for all that a configuration says.
async fn record_binding(store: &OpenStore, config: &str) {
    let config = Config::read(config).unwrap();
    let users = config
        .registries
        .iter()
        .filter(|(user, _)| config.owner(user).as_str() == "corp");
    let binding = Binding {
        source: source_record(&Source::Store),
        uses: users
            .map(|(user, registry)| (user.clone(), token_use(registry)))
            .collect(),
    };
    let record = Secret::parse(&binding.to_record()).unwrap();
    store.thread.write(&Item::Binding(name("corp")), &record).await.unwrap();
}

async fn hand_over(home: &Path, answers: &str) -> Vec<String> {
    let mut lines = Vec::new();
    run(Some(home), true, answers.as_bytes(), &mut lines).await.unwrap();
    let text = String::from_utf8(lines).unwrap();
    text.lines().map(str::to_owned).collect()
}
