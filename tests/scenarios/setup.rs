//! `regauthctl setup`: real clients are set up, used, and restored byte for byte.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::privilege::require_root;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-the-daemon";
const SHIP: &str = r#"ship = { version = "1", registry = "corp" }"#;
const CONFIG: &str = "cargo/config.toml";

fn registry_with_auth_required() -> Registry {
    Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .start()
}

#[test]
fn cargo_is_set_up_used_and_restored() {
    let (registry, daemon) = (registry_with_auth_required(), Daemon::start());
    daemon.add_with("corp", &registry, &["--writes", "allow"]);
    let cargo = Cargo::new().depends_on(SHIP);
    let user = User::at(&daemon, cargo.home());
    let mine = "# mine\n[term]\nquiet = false # loud\n\n[http]\ntimeout = 20\n# the end";
    user.write(CONFIG, mine);
    user.ctl(&["setup", "cargo"]).succeeds().says("cargo is set up");
    cargo.build().succeeds().says("Compiling anchor v1.0.0");
    cargo.publish("corp").succeeds();
    cargo.yank("corp", "project@0.1.0").succeeds();
    let set_up = user.read(CONFIG).unwrap();
    assert!(set_up.starts_with("# mine\n[term]\nquiet = false # loud\n"), "{set_up}");
    assert!(!set_up.contains(TOKEN), "{set_up}");
    user.ctl(&["setup", "cargo"]).succeeds().says("Nothing to change");
    assert_eq!(user.read(CONFIG).unwrap(), set_up);
    user.ctl(&["setup", "cargo", "--undo"])
        .succeeds()
        .says("cargo is as it was before");
    assert_eq!(user.read(CONFIG).unwrap(), mine);
    user.ctl(&["setup", "cargo", "--undo"])
        .succeeds()
        .says("cargo is not set up");
}

/// Cargo until 1.39 named its files `config` and `credentials`; it still reads them.
#[test]
fn cargo_with_old_file_names_is_set_up_and_restored() {
    let (registry, daemon) = (registry_with_auth_required(), Daemon::start());
    daemon.add_with("corp", &registry, &["--writes", "allow"]);
    let cargo = Cargo::new().depends_on(SHIP);
    let user = User::at(&daemon, cargo.home());
    fs::remove_file(cargo.home().join(CONFIG)).unwrap();
    let mine = "# mine, since 2018\n[http]\nproxy = \"http://old.corp:3128\"   # gone\nmultiplexing = true\n";
    let credentials = "[registries.corp]\ntoken = \"of the year before\"\n";
    user.write("cargo/config", mine);
    user.write("cargo/credentials", credentials);
    user.ctl(&["setup", "cargo"]).succeeds().says("cargo/config\n");
    assert_eq!(user.read(CONFIG), None);
    cargo.build().succeeds();
    cargo.publish("corp").succeeds();
    user.ctl(&["setup", "cargo", "--undo"]).succeeds();
    assert_eq!(user.read("cargo/config").unwrap(), mine);
    assert_eq!(user.read("cargo/credentials").unwrap(), credentials);
}

#[test]
fn adding_and_removing_registries_updates_cargos_configuration() {
    let (registry, other, daemon) = (
        registry_with_auth_required(),
        registry_with_auth_required(),
        Daemon::start(),
    );
    let cargo = Cargo::new().depends_on(SHIP);
    let user = User::at(&daemon, cargo.home());
    user.write(CONFIG, "[build]\njobs = 2\n");
    user.ctl(&["setup", "cargo"]).succeeds();
    let without = user.read(CONFIG).unwrap();
    daemon.add("corp", &registry);
    cargo.build().succeeds();
    let with_one = user.read(CONFIG).unwrap();
    daemon.add("other", &other);
    assert!(user.read(CONFIG).unwrap().contains("[registries.other]"));
    daemon.ctl(&["remove-registry", "other"]).succeeds();
    assert_eq!(user.read(CONFIG).unwrap(), with_one);
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert_eq!(user.read(CONFIG).unwrap(), without);
    user.ctl(&["setup", "cargo", "--undo"]).succeeds();
    assert_eq!(user.read(CONFIG).unwrap(), "[build]\njobs = 2\n");
}

#[test]
fn setup_cargo_with_a_git_index_says_that_git_needs_setup_too() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN)
        .auth_required()
        .git_index()
        .start();
    let daemon = Daemon::start();
    // add-registry reads the scopes of downloads and the API from the index.
    daemon.add_with("corp", &registry, &["--writes", "allow"]);
    let cargo = Cargo::new().depends_on(SHIP);
    let user = User::at(&daemon, cargo.home());
    user.ctl(&["setup", "cargo"])
        .succeeds()
        .says("`regauthctl setup git` as well");
    user.ctl(&["setup", "git"]).succeeds();
    cargo.build().succeeds();
    cargo.publish("corp").succeeds();
}

#[test]
fn git_is_set_up_for_registry_hosts_only_and_restored() {
    let host = Authority::new("Corp Root");
    let server = GitServer::start(&host, Scheme::basic("me"), TOKEN);
    server.repository("plans", &[("README", "secret\n")]);
    let daemon = Daemon::start();
    let git = Git::new();
    let user = User::at(&daemon, git.home());
    let mine = user.read(".gitconfig").unwrap() + "; the end";
    user.write(".gitconfig", &mine);
    user.ctl(&["setup", "git"]).succeeds().says("as soon as one is added");
    assert_eq!(user.read(".gitconfig").unwrap(), mine);
    let added = daemon.add_git("plans", &server);
    assert_eq!(added.exit, 0);
    daemon.ctl(&["allow", "plans"]).succeeds();
    git.clone_from(&server.url("plans")).succeeds();
    git.commit_random_file("small", 100).succeeds();
    git.push().succeeds();
    git.in_work(["fetch"]).succeeds();
    assert_eq!(server.head("plans", "main"), git.head());
    git.run(["config", "--get-urlmatch", "http.proxy", "https://other.example/"])
        .fails();
    user.ctl(&["setup", "git", "--undo"]).succeeds();
    assert_eq!(user.read(".gitconfig").unwrap(), mine);
    git.in_work(["fetch"]).fails();
}

#[test]
fn undo_keeps_edits_made_since() {
    let (registry, daemon) = (registry_with_auth_required(), Daemon::start());
    daemon.add("corp", &registry);
    let user = User::new(&daemon);
    user.write(CONFIG, "[http]\nproxy = \"http://corp:3128\" # theirs\n");
    user.ctl(&["setup", "cargo"]).succeeds();
    let edited = user.read(CONFIG).unwrap() + "\n[build]\njobs = 7\n";
    user.write(CONFIG, &edited);
    user.ctl(&["setup", "cargo", "--undo"])
        .succeeds()
        .says("was edited since");
    let after = user.read(CONFIG).unwrap();
    assert_eq!(
        after.replace("\n\n", "\n"),
        "[http]\nproxy = \"http://corp:3128\" # theirs\n[build]\njobs = 7\n"
    );
}

#[test]
fn a_dry_run_shows_the_difference_and_changes_nothing() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    user.ctl(&["setup", "cargo", "--dry-run"])
        .succeeds()
        .says("--- /dev/null")
        .says("+[http]")
        .says(&format!("+proxy = \"{}\"", daemon.proxy()));
    assert_eq!(user.read(CONFIG), None);
    user.ctl(&["setup", "cargo", "--undo", "--dry-run"])
        .succeeds()
        .says("Nothing would change");
}

#[test]
fn undo_removes_files_and_folders_that_setup_created() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    for (client, file) in [
        ("cargo", "cargo/config.toml"),
        ("pip", ".config/pip/pip.conf"),
        ("npm", ".npmrc"),
        ("shell", ".profile"),
    ] {
        user.ctl(&["setup", client]).succeeds();
        assert!(user.read(file).is_some(), "{client}");
        user.ctl(&["setup", client, "--undo"]).succeeds();
    }
    let left: Vec<_> = fs::read_dir(user.home()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn setup_keeps_symbolic_links_and_file_modes() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    user.write("dotfiles/npmrc", "//npm.corp.example/:_authToken=mine\n");
    let real = user.home().join("dotfiles/npmrc");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&real, user.home().join(".npmrc")).unwrap();
    user.ctl(&["setup", "npm"]).succeeds();
    assert!(user.home().join(".npmrc").is_symlink());
    assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(user.read("dotfiles/npmrc").unwrap().contains("cafile="));
    // regauth's record must not contain the user's own token.
    let record = fs::read_to_string(daemon.home().join("state/setup/npm.json")).unwrap();
    assert!(!record.contains("mine"), "{record}");
    user.ctl(&["setup", "npm", "--undo"]).succeeds();
    assert_eq!(user.read(".npmrc").unwrap(), "//npm.corp.example/:_authToken=mine\n");
    symlink("dotfiles/wgetrc", user.home().join(".wgetrc")).unwrap();
    user.ctl(&["setup", "wget"]).succeeds();
    assert!(user.read("dotfiles/wgetrc").unwrap().contains("ca_certificate"));
    user.ctl(&["setup", "wget", "--undo"]).succeeds();
    assert!(user.home().join(".wgetrc").is_symlink() && user.read("dotfiles/wgetrc").is_none());
}

#[test]
fn a_file_with_another_name_is_shown_and_not_replaced() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    user.write(".wgetrc", "timeout = 5\n");
    let names = [".wgetrc", "shared"].map(|name| user.home().join(name));
    fs::hard_link(&names[0], &names[1]).unwrap();
    user.ctl(&["setup", "wget", "--dry-run"])
        .succeeds()
        .says("+ca_certificate");
    let refused = user.ctl(&["setup", "wget"]).fails().says("has 2 names");
    assert!(!daemon.home().join("state/setup/wget.json").exists());
    let fix = refused.stderr.rsplit_once("repeat: ").unwrap().1;
    user.run("sh", &["-euc", fix]).succeeds();
    user.ctl(&["setup", "wget"]).succeeds();
    assert_eq!(user.read("shared").unwrap(), "timeout = 5\n");
}

/// As `sudo regauthctl setup` with the home of a user.
#[test]
fn setup_leaves_a_file_to_its_owner() {
    if !require_root("a file of another user") {
        return;
    }
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    user.write(".wgetrc", "timeout = 5\n");
    let file = user.home().join(".wgetrc");
    chown(&file, Some(4711), Some(4712)).unwrap();
    for more in [None, Some("--undo")] {
        user.ctl(&["setup", "wget"].into_iter().chain(more).collect::<Vec<_>>())
            .succeeds();
        let known = fs::metadata(&file).unwrap();
        assert_eq!((known.uid(), known.gid()), (4711, 4712), "{more:?}");
    }
}

#[test]
fn setup_project_changes_the_project_only() {
    let (registry, daemon) = (registry_with_auth_required(), Daemon::start());
    daemon.add("corp", &registry);
    let cargo = Cargo::new().depends_on(SHIP);
    let user = User::at(&daemon, cargo.home());
    let in_project = |arguments: &[&str]| {
        let mut ctl = user.command(binary("regauthctl"));
        regauth_tests::exec::run(ctl.args(arguments).current_dir(cargo.project()))
    };
    let mine = user.read(CONFIG);
    in_project(&["setup", "cargo", "--project"]).succeeds();
    assert_eq!(user.read(CONFIG), mine);
    cargo.build().succeeds();
    in_project(&["setup", "cargo", "--project", "--undo"]).succeeds();
    assert!(!cargo.project().join(".cargo").exists());
}

#[test]
fn setup_shell_gives_clients_the_environment() {
    let (registry, daemon) = (registry_with_auth_required(), Daemon::start());
    daemon.add("corp", &registry);
    let user = User::new(&daemon).env("SHELL", "/bin/bash");
    user.write(".bashrc", "alias ll='ls -l'\n");
    user.ctl(&["setup", "shell"]).succeeds();
    let url = registry.nginx.url("/api/cargo/index/config.json");
    let line = format!(". ~/.bashrc; exec curl -sf {url}");
    user.run("bash", &["-c", &line]).succeeds().says("auth-required");
    user.ctl(&["setup", "shell", "--undo"]).succeeds();
    assert_eq!(user.read(".bashrc").unwrap(), "alias ll='ls -l'\n");
}

#[test]
fn the_printed_environment_is_enough_for_cargo_git_and_curl() {
    let (registry, daemon) = (registry_with_auth_required(), Daemon::start());
    daemon.add("corp", &registry);
    let cargo = Cargo::new().depends_on(SHIP).registry("corp", &registry.index());
    let user = User::at(&daemon, cargo.home()).env("NO_PROXY", "localhost,other.example");
    let printed = user.ctl(&["env", "--shell", "json"]).succeeds().stdout;
    let variables: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(variables["NO_PROXY"], "other.example");
    let mut cargo = cargo.env("NO_PROXY", "localhost");
    for (name, value) in variables.as_object().unwrap() {
        cargo = cargo.env(name, value.as_str().unwrap());
    }
    cargo.build().succeeds();
    let url = registry.nginx.url("/api/cargo/index/config.json");
    let line = format!(
        "eval \"$({} env --shell bash)\"; exec curl -sf {url}",
        binary("regauthctl").display()
    );
    user.run("bash", &["-c", &line]).succeeds().says("auth-required");
}
