//! Examples in packaging/container: settings and commands are taken from the files and executed, with real cargo.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::containers;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::programs::{binary, tool};
use regauth_tests::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";

fn registry() -> Registry {
    Registry::builder(Scheme::bearer(), TOKEN).auth_required().start()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging/container")
        .join(name)
}

/// Runs a command in a container's stand-in: these variables, the bundle's folder, and a project that needs the registry.
fn build(variables: &[(String, String)], bundle_folder: &Path, target: &str, command: &str) {
    let work = TempDir::new().unwrap();
    containers::write_project(work.path());
    fs::write(work.path().join("hosts"), "127.0.0.1 regauth\n").unwrap();
    let mut sandbox = containers::sandbox(work.path());
    sandbox
        .arg("--ro-bind")
        .arg(bundle_folder)
        .arg(target)
        .arg("--bind")
        .arg(work.path())
        .args(["/src", "--ro-bind"])
        .arg(work.path().join("hosts"))
        .args([
            "/etc/hosts",
            "--chdir",
            "/src",
            "--setenv",
            "HOME",
            "/src",
            "sh",
            "-c",
            command,
        ])
        .envs(variables.iter().map(|(name, value)| (name, value)));
    exec::run(&mut sandbox).succeeds();
    assert!(work.path().join("target/debug/libproject.rlib").exists());
    LeakScan::new(TOKEN).scan_folder(work.path(), &[]).assert_clean();
}

/// Lines of an environment file, as docker reads them.
fn variables(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_compose_example_builds_for_a_registry_with_auth_required() {
    let registry = registry();
    let file = fs::read_to_string(example("compose.yaml")).unwrap();
    let compose = yaml(&file);
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("corp-token");
    fs::write(&token, TOKEN).unwrap();
    let config = compose["configs"]["regauth"]["content"].as_str().unwrap();
    let config = config
        .replace("sparse+https://corp.example/api/cargo/index/", &registry.index())
        .replace("https://corp.example/api/cargo/", &registry.scope())
        .replace("/run/secrets/corp-token", token.to_str().unwrap());
    let config = format!("{config}\nca-file = {:?}\n", registry.ca());
    let daemon = Daemon::builder()
        .config(&config)
        .without_store_flag()
        .listen("0.0.0.0:0")
        .start();

    let app = &compose["services"]["app"];
    let line = file.lines().find(|line| line.contains("regauthctl grant")).unwrap();
    let (command, target) = line
        .split_once("/usr/bin/regauthctl ")
        .unwrap()
        .1
        .split_once(" > ")
        .unwrap();
    assert_eq!(app["env_file"][0]["path"], target);
    let mut grant = exec::command(binary("regauthctl"), daemon.home());
    grant.env("REGAUTH_HOME", daemon.home()).args(command.split(' '));
    let printed = exec::run(&mut grant).succeeds().stdout;
    let volumes = app["volumes"].as_array().unwrap();
    assert!(volumes.contains(&"bundle:/regauth:ro".into()), "{volumes:?}");
    let command = app["command"].as_str().unwrap();
    build(
        &variables(&printed),
        &daemon.home().join("state/bundle"),
        "/regauth",
        command,
    );
}

fn yaml(text: &str) -> Value {
    let read = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let mut python = exec::command(tool("python/bin/python"), Path::new("/"));
    let output = exec::run_with_input(python.args(["-c", read]), text).succeeds();
    serde_json::from_str(&output.stdout).unwrap()
}

/// A dev container runs `initializeCommand` by a shell of the machine, and replaces `${localEnv:HOME}`.
#[test]
fn the_devcontainer_example_builds_with_a_grant_of_its_own() {
    let registry = registry();
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    daemon.add("corp", &registry);
    let home = TempDir::new().unwrap();
    fs::create_dir_all(home.path().join(".local/state")).unwrap();
    symlink(daemon.home().join("state"), home.path().join(".local/state/regauth")).unwrap();

    let text = fs::read_to_string(example("devcontainer.json")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("//")).collect();
    let text = lines
        .join("\n")
        .replace("${localEnv:HOME}", home.path().to_str().unwrap());
    let settings: Value = serde_json::from_str(&text).unwrap();
    let folder = binary("regauthctl").parent().unwrap().display().to_string();
    let script = format!(
        "PATH={folder}:$PATH; {}",
        settings["initializeCommand"].as_str().unwrap()
    );
    let mut shell = exec::command("sh", home.path());
    exec::run(shell.args(["-c", &script]).env("REGAUTH_HOME", daemon.home())).succeeds();

    let flags: Vec<String> = serde_json::from_value(settings["runArgs"].clone()).unwrap();
    let of_flag = |flag: &str| &flags[flags.iter().position(|word| word == flag).unwrap() + 1];
    assert_eq!(of_flag("--network"), "host");
    let (source, target) = of_flag("--volume")
        .strip_suffix(":ro,z")
        .unwrap()
        .split_once(':')
        .unwrap();
    let env_file = fs::read_to_string(of_flag("--env-file")).unwrap();
    build(&variables(&env_file), Path::new(source), target, "cargo build");
}
