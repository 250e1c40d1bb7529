//! Names of registries: those that cargo's configuration has stay as they are, also with capitals and dots. An index gets no
//! second name.

use std::fs;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::ctl;
use regauth_tests::daemon::Daemon;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::terminal::Terminal;
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-a-name";

#[test]
fn a_cargo_registry_with_capitals_is_imported_under_its_name_and_builds() {
    let registry = Registry::builder(Scheme::raw(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    let cargo = Cargo::new()
        .registry("Internal", &registry.index())
        .token("Internal", TOKEN)
        .depends_on(r#"ship = { version = "1", registry = "Internal" }"#);
    let user = User::at(&daemon, cargo.home());
    let ca = registry.ca();
    let imported = user
        .ctl(&[
            "import",
            "--only",
            "Internal",
            "--remove-originals",
            "--ca-file",
            ca.to_str().unwrap(),
        ])
        .succeeds();
    assert!(imported.stdout.contains("Internal"), "{}", imported.report());
    user.ctl(&["setup", "cargo"]).succeeds();
    let config = fs::read_to_string(cargo.home().join("cargo/config.toml")).unwrap();
    assert_eq!(config.matches("index = ").count(), 1, "{config}");
    let usual = cargo::command(cargo.home());
    let (_, path) = usual.get_envs().find(|(name, _)| *name == "PATH").unwrap();
    let programs = binary("regauthctl").parent().unwrap().to_owned();
    let path = [programs.as_os_str(), path.unwrap()].join(std::ffi::OsStr::new(":"));
    cargo
        .env("REGAUTH_HOME", daemon.home().to_str().unwrap())
        .env("PATH", path.to_str().unwrap())
        .build()
        .succeeds()
        .says("Compiling ship");
}

#[test]
fn names_with_a_dot_work_and_those_that_cargo_cannot_use_are_refused() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let mut daemon = Daemon::builder().store("vault").start();
    daemon.add("my.corp", &registry);
    daemon.restart();
    assert_eq!(daemon.ctl(&["show", "my.corp"]).json["credential"]["state"], "ready");
    let config = fs::read_to_string(daemon.home().join("config.toml")).unwrap();
    assert!(config.contains("[registries.\"my.corp\"]"), "{config}");
    daemon.ctl(&["set", "my.corp", "read-ahead", "false"]).succeeds();
    daemon.rotate("my.corp", TOKEN).succeeds();

    let (scheme, ca) = (Scheme::bearer(), registry.ca());
    let other = ["--scope", "https://other.example/"];
    let reserved = daemon.try_add("crates-io", &other, &scheme, &ca, TOKEN).exits(2);
    assert!(
        reserved.output.stdout.contains("cargo reserves the name"),
        "{}",
        reserved.output.report()
    );
    let same = daemon.try_add("My.Corp", &other, &scheme, &ca, TOKEN).exits(7);
    assert!(same.output.stdout.contains("cannot tell"), "{}", same.output.report());
    for invalid in ["a..b", ".a", "a/b", "a."] {
        daemon.try_add(invalid, &other, &scheme, &ca, TOKEN).exits(2);
    }
    daemon.ctl(&["remove-registry", "my.corp"]).succeeds();
}

#[test]
fn an_index_that_cargo_calls_by_a_name_is_offered_that_name() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    let user = User::new(&daemon).env("TOKEN", "not-the-token");
    user.write(
        "cargo/config.toml",
        &format!("[registries.Internal]\nindex = \"{}\"\n", registry.index()),
    );
    let (index, ca) = (registry.index(), registry.ca());
    let add = ctl::add_index("corp", &index, ca.to_str().unwrap());
    let noted = user.ctl(&[&add[..], &["--token-env", "TOKEN"]].concat()).fails();
    assert!(
        noted.stderr.contains("calls this index `Internal`"),
        "{}",
        noted.report()
    );

    let mut command = user.command(binary("regauthctl"));
    command.args(add);
    let mut terminal = Terminal::start(&command);
    terminal.read_until("calls this index Internal. Use that name here too? (y/N) ");
    terminal.type_line("y");
    terminal.read_until("): ");
    terminal.type_without_echo(TOKEN);
    terminal.read_until("Send the token there as well? (y/N) ");
    terminal.type_line("y");
    let (rest, status) = terminal.finish();
    assert!(status.success() && rest.contains("Added Internal"), "{rest}");
    daemon.ctl(&["show", "Internal"]).succeeds();
}

#[test]
fn the_index_of_the_project_is_shown_and_used_when_none_is_given() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    let user = User::new(&daemon).env("TOKEN", "not-the-token");
    user.write(
        ".cargo/config.toml",
        &format!("[registries.corp]\nindex = \"{}\"\n", registry.index()),
    );
    let ca = registry.ca();
    let add = ["add-registry", "corp", "--ca-file", ca.to_str().unwrap()];
    // Without a terminal nobody would see where the token goes.
    user.ctl(&[&add[..], &["--token-env", "TOKEN"]].concat())
        .fails()
        .says("NAME and --index");
    let mut command = user.command(binary("regauthctl"));
    command.args(add);
    let mut terminal = Terminal::start(&command);
    let shown = terminal.read_until("): ");
    assert!(
        shown.contains("The index of corp in") && shown.contains(&registry.index()),
        "{shown}"
    );
    terminal.type_without_echo(TOKEN);
    terminal.read_until("Send the token there as well? (y/N) ");
    terminal.type_line("y");
    let (rest, status) = terminal.finish();
    assert!(status.success(), "{rest}");
}
