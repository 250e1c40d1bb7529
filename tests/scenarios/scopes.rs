//! `regauthctl add-scope`: a registry that is served covers more, from the next request on and after a restart.

use std::fs;

use regauth_tests::cargo::Cargo;
use regauth_tests::daemon::Daemon;
use regauth_tests::gate::Scheme;
use regauth_tests::registry::{Downloads, Registry};

const TOKEN: &str = "t0ken-of-the-daemon";

#[test]
fn downloads_on_another_host_get_the_token_once_a_person_says_so() {
    let registry = Registry::builder(Scheme::raw(), TOKEN)
        .downloads(Downloads::OnAnotherHost)
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
    let covered = daemon.ctl(&command).succeeds();
    assert_eq!(covered.json["scopes"].as_array().unwrap().len(), 3, "{}", covered.json);
    cargo.build().succeeds();
    let written = fs::read_to_string(&config).unwrap();
    assert!(
        written.ends_with("# mine\n") && written.contains(command[2]),
        "{written}"
    );
    daemon.ctl(&command).succeeds();
    assert_eq!(fs::read_to_string(&config).unwrap(), written);
    daemon.restart();
    let shown = daemon.ctl(&["show", "corp"]).succeeds();
    assert_eq!(shown.json["scopes"], covered.json["scopes"]);
}

#[test]
fn what_another_registry_covers_or_nobody_may_have_is_refused() {
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
