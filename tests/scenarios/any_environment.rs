//! Any environment: without `XDG_RUNTIME_DIR`, with another `PATH`, in login shells, and by hand as printed.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::process::Process;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-any-environment";
const SHIP: &str = r#"ship = { version = "1", registry = "corp" }"#;

fn registry() -> Registry {
    Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .start()
}

/// Project that names the registry, in a home without any configuration of cargo.
fn project() -> Cargo {
    let cargo = Cargo::new().depends_on(SHIP);
    fs::remove_file(cargo.home().join("cargo/config.toml")).unwrap();
    cargo
}

/// `PATH` with cargo, and with or without our programs.
fn path(with_ours: bool) -> String {
    let cargo = cargo::command(Path::new("/"));
    let (_, path) = cargo.get_envs().find(|(name, _)| *name == "PATH").unwrap();
    let path = path.unwrap().to_str().unwrap();
    let ours = binary("regauthctl").parent().unwrap().to_owned();
    if with_ours {
        format!("{}:{path}", ours.display())
    } else {
        path.to_owned()
    }
}

/// A daemon that cron started has its socket in the state folder. A client in a session looks there, too.
#[test]
fn a_daemon_and_a_client_with_other_runtime_folders_find_each_other() {
    let (registry, cargo) = (registry(), project());
    let home = cargo.home();
    let mut regauthd = exec::command(binary("regauthd"), home);
    regauthd.args(["--listen", "127.0.0.1:0", "--store", "memory"]);
    let mut daemon = Process::spawn("regauthd", &mut regauthd, &home.join("regauthd.log"));
    let runtime = home.join("runtime");
    DirBuilder::new().mode(0o700).create(&runtime).unwrap();
    let in_session = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", home).env("PATH", path(true));
        command
            .env("CARGO_HOME", home.join("cargo"))
            .env("XDG_RUNTIME_DIR", &runtime);
        command.args(arguments).current_dir(cargo.project());
        command
    };
    let ctl = binary("regauthctl");
    daemon.wait_until("regauthctl status", || {
        exec::run(&mut in_session(&ctl, &["status"]))
            .status
            .success()
            .then_some(())
    });
    let ca = registry.ca().display().to_string();
    let index = registry.index();
    let add = [
        "add-registry",
        "corp",
        "--index",
        &index,
        "--username",
        USERNAME,
        "--ca-file",
        &ca,
        "--token-stdin",
    ];
    exec::run_with_input(&mut in_session(&ctl, &add), TOKEN).succeeds();
    exec::run(&mut in_session(&ctl, &["setup", "cargo"])).succeeds();
    // cargo starts the credential provider, which looks for the socket as well.
    exec::run(&mut in_session(Path::new("cargo"), &["build"]))
        .succeeds()
        .says("Compiling ship");
    daemon.stop();
}

#[test]
fn an_ide_with_another_path_than_the_shell_builds() {
    let (registry, daemon, cargo) = (registry(), Daemon::start(), project());
    daemon.add("corp", &registry);
    let user = User::at(&daemon, cargo.home()).env("PATH", &path(true));
    user.ctl(&["setup", "cargo"]).succeeds();
    let provider = binary("cargo-credential-regauth").display().to_string();
    let config = user.read("cargo/config.toml").unwrap();
    assert!(config.contains(&provider), "{config}");
    cargo.build().succeeds().says("Compiling ship v1.0.0");
}

#[test]
fn the_settings_printed_for_cargo_and_git_work_by_hand() {
    let (registry, daemon, cargo) = (registry(), Daemon::start(), project());
    let host = GitServer::start(&Authority::new("Corp Root"), Scheme::basic("me"), TOKEN);
    host.repository("plans", &[("README", "secret\n")]);
    let git = Git::new();
    let (ca, host_ca) = (registry.ca().display().to_string(), host.ca().display().to_string());
    let (index, scope) = (registry.index(), host.scope());
    let cargo_flags = ["--index", &index, "--username", USERNAME, "--ca-file", &ca];
    let git_flags = [
        "--kind",
        "git",
        "--scope",
        &scope,
        "--username",
        "me",
        "--ca-file",
        &host_ca,
    ];
    for (name, flags, file) in [
        ("corp", &cargo_flags[..], cargo.home().join("cargo/config.toml")),
        ("plans", &git_flags, git.home().join(".gitconfig")),
    ] {
        let user = User::new(&daemon);
        let mut add = user.command(binary("regauthctl"));
        add.args(["add-registry", name, "--token-stdin"]).args(flags);
        let shown = exec::run_with_input(&mut add, TOKEN).succeeds().stdout;
        let (_, snippet) = shown.split_once(", in ~/").unwrap();
        let (_, snippet) = snippet.split_once(":\n\n").unwrap();
        fs::write(file, snippet).unwrap();
    }
    cargo.build().succeeds().says("Compiling ship v1.0.0");
    git.clone_from(&host.url("plans")).succeeds();
}

/// The usual `.bashrc` ends at once in a shell that is not interactive.
const BASHRC: &str = "case $- in\n    *i*) ;;\n      *) return;;\nesac\nalias ll='ls -l'\n";

#[test]
fn every_kind_of_bash_builds_with_a_registry_that_only_setup_shell_names() {
    let (registry, daemon, cargo) = (registry(), Daemon::start(), project());
    daemon.add("corp", &registry);
    let user = User::at(&daemon, cargo.home())
        .env("SHELL", "/bin/bash")
        .env("PATH", &path(false));
    user.write(".bashrc", BASHRC);
    user.ctl(&["setup", "shell"]).succeeds();
    // /etc/profile sets another PATH.
    let line = format!("export PATH={}; cd project && cargo build", path(false));
    for options in ["-lc", "-ic"] {
        fs::remove_dir_all(cargo.project().join("target")).ok();
        user.run("bash", &[options, &line]).succeeds().says("Compiling ship");
    }
    // A shell that a set-up shell starts has its environment.
    user.run("bash", &["-lc", &format!("bash -c '{line}'")]).succeeds();
    user.ctl(&["setup", "shell", "--undo"]).succeeds();
    assert_eq!(user.read(".bashrc").unwrap(), BASHRC);
    assert_eq!(user.read(".profile"), None);
}

#[test]
fn the_printed_environment_names_the_registries_and_gives_no_index_a_second_name() {
    let (registry, daemon, cargo) = (registry(), Daemon::start(), project());
    daemon.add("corp", &registry);
    let user = User::at(&daemon, cargo.home()).env("PATH", &path(false));
    let build = format!(
        "eval \"$({} env --shell sh)\"; cd project && cargo build",
        binary("regauthctl").display()
    );
    user.run("sh", &["-c", &build]).succeeds().says("Compiling ship");
    let env = user.ctl(&["env", "--shell", "sh"]).succeeds().stdout;
    assert!(env.contains("CARGO_REGISTRIES_CORP_INDEX="), "{env}");
    let named = format!("[registries.internal]\nindex = \"{}\"\n", registry.index());
    user.write("cargo/config.toml", &named);
    let env = user.ctl(&["env", "--shell", "sh"]).succeeds().stdout;
    assert!(!env.contains("CARGO_REGISTRIES_CORP_INDEX="), "{env}");
}
