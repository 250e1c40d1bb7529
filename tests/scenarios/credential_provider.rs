//! Credential provider `cargo-credential-regauth`: cargo works with a registry and never has its token.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::daemon::Daemon;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};

const TOKEN: &str = "t0ken-of-the-daemon";
const SHIP: &str = r#"ship = { version = "1", registry = "corp" }"#;

/// Cargo behind the daemon, with the provider for all registries and no token.
fn cargo(daemon: &Daemon, registry: &Registry) -> Cargo {
    Cargo::new()
        .registry("corp", &registry.index())
        .behind(daemon)
        .config(&provider())
        .env("REGAUTH_HOME", daemon.home().to_str().unwrap())
}

/// Cargo that does not use the proxy, with the provider.
fn cargo_without_proxy(daemon: &Daemon, registry: &Registry) -> Cargo {
    Cargo::new()
        .registry("corp", &registry.index())
        .trusts(&registry.ca())
        .config(&provider())
        .env("REGAUTH_HOME", daemon.home().to_str().unwrap())
        .depends_on(SHIP)
}

fn provider() -> String {
    let program = binary("cargo-credential-regauth");
    format!(
        "registry.global-credential-providers = [\"cargo:token\", \"{}\"]",
        program.display()
    )
}

fn assert_all_commands_work(registry: &Registry) {
    let daemon = Daemon::start();
    daemon.add_with("corp", registry, &["--writes", "allow"]);
    let cargo = cargo(&daemon, registry).depends_on(SHIP);
    cargo.build().succeeds().says("Compiling anchor v1.0.0");
    cargo.publish("corp").succeeds().says("Published project v0.1.0");
    cargo.yank("corp", "project@0.1.0").succeeds();
    assert_eq!(registry.crate_index.entry("project", "0.1.0").unwrap()["yanked"], true);
    cargo.owner("corp", "project", &["--add", "jo"]).succeeds();
    cargo.owner("corp", "project", &["--list"]).succeeds().says("jo");
    cargo.search("corp", "project").succeeds().says("project = \"0.1.0\"");
    LeakScan::new(TOKEN).scan_folder(cargo.home(), &[]).assert_clean();
    registry
        .nginx
        .requests()
        .iter()
        .for_each(|request| assert!(!format!("{:?}", request.authorization()).contains("placeholder")));
}

#[test]
fn a_sparse_registry_that_says_auth_required_works_without_a_token_in_cargo() {
    assert_all_commands_work(
        &Registry::builder(Scheme::basic(USERNAME), TOKEN)
            .auth_required()
            .start(),
    );
}

#[test]
fn a_git_index_that_says_auth_required_works_without_a_token_in_cargo() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN)
        .auth_required()
        .git_index()
        .start();
    let daemon = Daemon::start();
    // add-registry cannot read a git index, so the scope of the API must be given.
    daemon.add_with("corp", &registry, &["--scope", &registry.scope(), "--writes", "allow"]);
    let cargo = cargo(&daemon, &registry).depends_on(SHIP);
    cargo.build().succeeds();
    cargo.publish("corp").succeeds();
    cargo.yank("corp", "project@0.1.0").succeeds();
    cargo.owner("corp", "project", &["--list"]).succeeds();
    cargo.search("corp", "project").succeeds();
}

#[test]
fn a_registry_that_does_not_say_auth_required_can_be_published_to() {
    assert_all_commands_work(&Registry::start(TOKEN));
}

#[test]
fn an_unknown_registry_is_left_to_other_providers() {
    let registry = Registry::builder(Scheme::raw(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    cargo_without_proxy(&daemon, &registry)
        .build()
        .fails()
        .says("no token found for `corp`");
    let with_another = cargo_without_proxy(&daemon, &registry).env("CARGO_REGISTRIES_CORP_TOKEN", TOKEN);
    with_another.build().succeeds();
}

#[test]
fn without_a_daemon_cargo_prints_the_reason() {
    let registry = Registry::builder(Scheme::raw(), TOKEN).auth_required().start();
    let mut daemon = Daemon::start();
    let cargo = cargo_without_proxy(&daemon, &registry);
    daemon.stop();
    let failed = cargo.build().fails();
    failed
        .says("regauth: cannot tell whether corp")
        .says("start it: regauthd --home");
}

#[test]
fn cargo_login_rotates_and_cargo_logout_forgets_the_token_and_keeps_the_registry() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let mut daemon = Daemon::builder().store("vault").start();
    daemon.add("corp", &registry);
    let cargo = cargo(&daemon, &registry).depends_on(SHIP);
    // Cargo reads the index with the old token before it asks for the new one.
    registry.accept(&[TOKEN, "an0ther-token"]);
    cargo
        .run(["login", "--registry", "corp", "wrong-token"])
        .fails()
        .says("does not accept this token");
    cargo
        .run(["login", "--registry", "corp", "me:an0ther-token"])
        .fails()
        .says("only the part after the colon");
    cargo
        .run(["login", "--registry", "corp", "Bearer an0ther-token"])
        .succeeds()
        .says("generation 2");
    registry.accept(&["an0ther-token"]);
    cargo.build().succeeds();
    LeakScan::new("an0ther-token")
        .scan_folder(cargo.home(), &[])
        .assert_clean();
    let before = daemon.ctl(&["show", "corp"]).succeeds().json;
    cargo.run(["logout", "--registry", "corp"]).succeeds();
    let after = daemon.ctl(&["show", "corp"]).succeeds().json;
    assert_eq!(
        (&after["index"], &after["scopes"]),
        (&before["index"], &before["scopes"])
    );
    assert_eq!(after["credential"]["state"], "missing");
    cargo
        .owner("corp", "project", &["--list"])
        .fails()
        .says("cargo login --registry corp");
    // A restart finds no token either.
    daemon.restart();
    assert_eq!(
        daemon.ctl(&["show", "corp"]).succeeds().json["credential"]["state"],
        "missing"
    );
    cargo
        .run(["login", "--registry", "corp", "an0ther-token"])
        .succeeds()
        .says("generation 3");
    cargo.build().succeeds();
}

#[test]
fn cargo_login_without_a_daemon_writes_no_token_into_a_file() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let mut daemon = Daemon::start();
    let cargo = cargo_without_proxy(&daemon, &registry);
    daemon.stop();
    cargo.run(["login", "--registry", "corp", "an0ther-token"]).fails();
    LeakScan::new("an0ther-token")
        .scan_folder(cargo.home(), &[])
        .assert_clean();
}

#[test]
fn cargo_logout_leaves_a_token_that_is_not_in_the_store() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    let file = daemon.home().join("token-file");
    std::fs::write(&file, TOKEN).unwrap();
    let (ca, source) = (registry.ca(), format!("file:{}", file.display()));
    let index = registry.index();
    let add = [
        "add-registry",
        "corp",
        "--index",
        &index,
        "--scheme",
        "bearer",
        "--source",
        &source,
    ];
    daemon
        .ctl(&[&add[..], &["--ca-file", ca.to_str().unwrap()]].concat())
        .succeeds();
    let cargo = cargo(&daemon, &registry).depends_on(SHIP);
    cargo.build().succeeds();
    cargo
        .run(["logout", "--registry", "corp"])
        .fails()
        .says("not from the store");
    cargo.clear_downloads();
    cargo.build().succeeds();
}

#[test]
fn cargo_login_works_after_cargo_logout_for_a_cargo_that_has_not_read_the_index() {
    for auth_required in [true, false] {
        let registry = Registry::builder(Scheme::bearer(), TOKEN);
        let registry = if auth_required {
            registry.auth_required()
        } else {
            registry
        };
        let registry = registry.start();
        let daemon = Daemon::start();
        daemon.add("corp", &registry);
        cargo(&daemon, &registry)
            .run(["logout", "--registry", "corp"])
            .succeeds();
        // It has no cache that says `auth-required`.
        let fresh = cargo(&daemon, &registry).depends_on(SHIP);
        fresh.build().fails().says("cargo login --registry corp");
        fresh
            .run(["login", "--registry", "corp", TOKEN])
            .succeeds()
            .says("generation 2");
        fresh.build().succeeds();
    }
}
