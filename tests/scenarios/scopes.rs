//! Scopes: `regauthctl add-scope` extends a registry at once and after a restart. URLs outside the scopes get no credential,
//! no client certificate and no session.

use std::fs;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::mock_server::MockServer;
use regauth_tests::nginx::Nginx;
use regauth_tests::registry::{Downloads, Registry};

const TOKEN: &str = "t0ken-of-the-daemon";

#[test]
fn downloads_on_another_host_get_the_token_after_add_scope() {
    let registry = Registry::builder(Scheme::raw(), TOKEN)
        .downloads(Downloads::OtherHost)
        .start();
    let mut daemon = Daemon::start();
    let added = daemon.add("corp", &registry);
    let notes = added.json["notes"].to_string();
    let (_, command) = notes.split_once("if it needs it: `regauthctl ").unwrap();
    let command: Vec<&str> = command.split('`').next().unwrap().split(' ').collect();
    let cargo = Cargo::new()
        .behind(&daemon)
        .registry("corp", &registry.index())
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    cargo.build().fails();
    let config = daemon.home().join("config.toml");
    let mine = fs::read_to_string(&config).unwrap() + "# mine\n";
    fs::write(&config, &mine).unwrap();
    let command = [&command[..], &["--token-stdin"]].concat();
    let covered = daemon.ctl_with_input(&command, TOKEN).succeeds();
    assert_eq!(covered.json["scopes"].as_array().unwrap().len(), 3, "{}", covered.json);
    cargo.build().succeeds();
    let written = fs::read_to_string(&config).unwrap();
    assert!(
        written.ends_with("# mine\n") && written.contains(command[2]),
        "{written}"
    );
    daemon.ctl_with_input(&command, TOKEN).succeeds();
    assert_eq!(fs::read_to_string(&config).unwrap(), written);
    daemon.restart();
    let shown = daemon.ctl(&["show", "corp"]).succeeds();
    assert_eq!(shown.json["scopes"], covered.json["scopes"]);
}

#[test]
fn a_scope_of_another_registry_or_an_invalid_scope_is_refused() {
    let (registry, other, daemon) = (
        Registry::builder(Scheme::bearer(), TOKEN).start(),
        Registry::builder(Scheme::bearer(), TOKEN).start(),
        Daemon::start(),
    );
    daemon.add("corp", &registry);
    daemon.add("other", &other);
    let before = daemon.ctl(&["show", "corp"]).json;
    let index = other.index().replace("sparse+", "");
    daemon.ctl(&["add-scope", "corp", &index]).exits(7);
    daemon.ctl(&["add-scope", "corp", "http://corp.example/"]).exits(2);
    daemon.ctl(&["add-scope", "corp", "corp.example"]).exits(2);
    daemon.ctl(&["add-scope", "nobody", &index]).exits(6);
    assert_eq!(daemon.ctl(&["show", "corp"]).json["scopes"], before["scopes"]);
}

/// A client certificate is a credential too.
#[test]
fn a_client_certificate_is_sent_inside_the_scopes_only() {
    let root = Authority::new("Corp Root");
    let (identity, ca) = (root.issue(&["me.corp.example"]), root.file());
    let server = Nginx::builder(&root.issue(&["localhost"]))
        .server(&format!(
            "ssl_verify_client optional; ssl_client_certificate {};",
            ca.display()
        ))
        .location("/", "return 200 $ssl_client_verify;")
        .start();
    let config = format!(
        "[registries.corp]\nkind = 'generic'\nscopes = ['{}']\nscheme = 'bearer'\nsource = 'env:CORP_TOKEN'\n\
         ca-file = '{}'\nclient-cert = '{}'\nclient-key = '{}'\n",
        server.url("/in/"),
        ca.display(),
        identity.chain_file().display(),
        identity.key_file().display()
    );
    let daemon = Daemon::builder().config(&config).env("CORP_TOKEN", TOKEN).start();
    let curl = Curl::new().behind(&daemon);
    for (path, shown) in [
        ("/in/a", "SUCCESS"),
        ("/out", "NONE"),
        ("/in", "SUCCESS"),
        ("/", "NONE"),
    ] {
        assert_eq!(curl.get(&server.url(path)).body(), shown, "{path}");
    }
    for request in server.requests() {
        assert_eq!(
            request.authorization().is_some(),
            request.uri.starts_with("/in"),
            "{request:?}"
        );
    }
}

/// A client with a session cookie needs neither the token nor the proxy.
#[test]
fn a_session_cookie_set_inside_the_scopes_is_removed() {
    let root = Authority::new("Corp Root");
    let session = [("set-cookie", "session=s1; Path=/"), ("x-request-id", "7")];
    let registry = MockServer::builder(&root, "localhost")
        .answer(200, &session, "")
        .start();
    let daemon = Daemon::start();
    let location = ["--kind", "generic", "--no-verify", "--scope", &registry.url("/in/")];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &root.file(), TOKEN)
        .succeeds();
    let curl = Curl::new().behind(&daemon);
    for (path, cookie) in [("/in/a", None), ("/out", Some("session=s1; Path=/"))] {
        let answer = curl.get(&registry.url(path));
        assert_eq!(
            (answer.header("set-cookie"), answer.header("x-request-id")),
            (cookie, Some("7")),
            "{path}"
        );
    }
}

/// `dl` decides where cargo downloads, and the registry writes it.
#[test]
fn an_index_widens_its_scope_to_folders_of_its_host_and_never_to_the_whole_host() {
    let root = Authority::new("Corp Root");
    for (dl, expected) in [
        ("/files/{crate}", vec!["/index/", "/files/"]),
        ("/x?token={crate}", vec!["/index/"]),
        ("", vec!["/index/"]),
    ] {
        // A host cannot know its own port before it listens, so the text takes it from the request.
        let index = format!(r#"return 200 '{{"dl":"https://localhost:$server_port{dl}","api":null}}';"#);
        let server = Nginx::builder(&root.issue(&["localhost"]))
            .location("/index/", &index)
            .location("/", "return 200 'other';")
            .start();
        let daemon = Daemon::start();
        let sparse = format!("sparse+{}", server.url("/index/"));
        let location = ["--kind", "cargo", "--index", &sparse];
        let added = daemon
            .try_add("corp", &location, &Scheme::bearer(), &root.file(), "t0ken-of-the-index")
            .succeeds()
            .json;
        let scopes: Vec<_> = expected.iter().map(|path| server.url(path)).collect();
        assert_eq!(added["registry"]["scopes"], serde_json::json!(scopes), "{added}");
        let command = format!("regauthctl add-scope corp {}", server.url("/"));
        let is_told = added["notes"].to_string().contains(&command);
        assert_eq!(is_told, expected.len() == 1, "{added}");
        let other = Curl::new().behind(&daemon).get(&server.url("/another/tenant"));
        assert_eq!(other.status, 200);
        assert_eq!(server.requests().pop().unwrap().authorization(), None);
    }
}
