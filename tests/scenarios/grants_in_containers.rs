//! `grant --as`: what it prints is executed, by real builders, containers and sandboxes with real cargo.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::containers::{self, Containers};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output, RunningCommand};
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::network::NetworkNamespace;
use regauth_tests::poll;
use regauth_tests::privilege::require_root;
use regauth_tests::programs::{binary, tool};
use regauth_tests::registry::Registry;
use regauth_tests::user::User;
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";
const BEARER: u32 = 4711;

/// Registry with `auth-required`, and a daemon that serves bearers of grants only.
struct Fixture {
    registry: Registry,
    daemon: Daemon,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
        let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
        daemon.add("corp", &registry);
        let folder = TempDir::new().unwrap();
        Self {
            registry,
            daemon,
            folder,
        }
    }

    fn grant(&self, client: &str, more: &[&str]) -> Granted {
        let file = self.folder.path().join(format!("{client}-grant"));
        let arguments = ["grant", "--as", client, "--file", file.to_str().unwrap()];
        let json = self.daemon.ctl(&[&arguments, more].concat()).succeeds().json;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        Granted { json, file }
    }
}

/// Answer of `grant --as`.
struct Granted {
    json: Value,
    file: PathBuf,
}

impl Granted {
    fn command(&self) -> Vec<String> {
        serde_json::from_value(self.json["recipe"]["command"].clone()).unwrap()
    }

    fn snippet(&self) -> &str {
        self.json["recipe"]["snippet"].as_str().unwrap()
    }

    fn secret(&self) -> &str {
        let url = self.json["proxy"].as_str().unwrap();
        url.split(['@', ':']).nth(2).unwrap()
    }

    fn id(&self) -> &str {
        self.json["grant"]["id"].as_str().unwrap()
    }
}

/// Two builds of one image: by buildah's recipe, and by that of docker, whose secrets buildah understands too.
#[test]
fn an_image_is_built_with_a_grant_and_keeps_no_trace_of_it() {
    if !require_root("buildah") {
        return;
    }
    let fixture = Fixture::new();
    for client in ["buildah", "buildx"] {
        let granted = fixture.grant(client, &["--registry", "corp"]);
        let containers = Containers::new();
        containers.containerfile(&format!("RUN env > /environment\n{}", granted.snippet()));
        let mut words = granted.command();
        if client == "buildx" {
            assert_eq!(words[..3], ["docker", "buildx", "build"]);
            words.splice(..3, ["buildah", "build", "--http-proxy=false"].map(str::to_owned));
        }
        assert!(!words.concat().contains(granted.secret()));
        let mut build = containers.build(&words, &[]);
        // As in a shell after `eval "$(regauthctl env)"`.
        build.env("HTTPS_PROXY", granted.json["proxy"].as_str().unwrap());
        let built = exec::run(&mut build).succeeds();
        let history = exec::run(
            containers
                .command("buildah")
                .args(["inspect", "--type", "image", "built"]),
        );
        assert!(history.stdout.contains("cargo build --release"), "{}", history.report());
        assert!(has_file(&containers.storage(), "libproject.rlib") && has_file(&containers.storage(), "environment"));
        for secret in [granted.secret(), TOKEN] {
            LeakScan::new(secret)
                .scan("output", built.report())
                .scan("history and configuration", &history.stdout)
                .scan_folder(&containers.storage(), &[])
                .assert_clean();
        }
    }
    let got = fixture.registry.nginx.requests();
    assert!(
        got.iter().any(|request| request.uri.contains("/crates/ship")),
        "{got:?}"
    );
}

fn has_file(folder: &Path, name: &str) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).any(|entry| {
        let is_folder = entry.file_type().unwrap().is_dir();
        entry.file_name() == name || is_folder && has_file(&entry.path(), name)
    })
}

#[test]
fn a_build_whose_grant_ends_in_the_middle_says_so() {
    if !require_root("buildah") {
        return;
    }
    let fixture = Fixture::new();
    let granted = fixture.grant("buildah", &["--registry", "corp"]);
    let containers = Containers::new();
    let steps = "cargo fetch && touch /signal/fetched && while [ ! -e /signal/revoked ]; do sleep 0.05; done && \
                 rm -r cargo/registry && cargo fetch";
    containers.containerfile(&granted.snippet().replace("cargo build --release", steps));
    let signals = format!("{}:/signal", fixture.folder.path().display());
    let mut build = containers.build(&granted.command(), &["--volume", &signals]);
    let build = RunningCommand::start(&mut build, b"");
    let fetched = fixture.folder.path().join("fetched");
    poll::wait_for("the first fetch", || fetched.exists().then_some(()));
    fixture.daemon.ctl(&["revoke", granted.id()]).succeeds();
    fs::write(fixture.folder.path().join("revoked"), "").unwrap();
    let failed = build.finish().fails();
    assert!(!failed.report().contains(granted.secret()), "{}", failed.report());
    failed.says("response 407");
}

/// The bundle's folder is mounted once, and the daemon replaces the file in it.
#[test]
fn a_podman_container_follows_registries_that_are_added_later() {
    if !require_root("podman") {
        return;
    }
    let fixture = Fixture::new();
    let containers = image();
    let granted = fixture.grant("podman", &[]);
    let other = Registry::builder(Scheme::bearer(), TOKEN)
        .host("127.0.0.1")
        .auth_required()
        .start();
    let script = format!(
        "cargo fetch && touch /signal/fetched && while [ ! -e /signal/added ]; do sleep 0.05; done && \
         curl -sSf --noproxy '' {}",
        other.nginx.url("/api/cargo/index/config.json")
    );
    let signals = format!("{}:/signal", fixture.folder.path().display());
    let mut run = containers.run(&granted.command(), &["--volume", &signals], &script);
    let run = RunningCommand::start(run.env("HTTPS_PROXY", "http://127.0.0.1:1"), b"");
    let mut run = Some(run);
    let fetched = fixture.folder.path().join("fetched");
    let is_over = poll::within(poll::TIMEOUT, || {
        (fetched.exists() || !run.as_mut().unwrap().is_running()).then_some(())
    });
    assert!(
        is_over.is_some() && fetched.exists(),
        "{}",
        run.take().unwrap().finish().report()
    );
    fixture.daemon.add("other", &other);
    fs::write(fixture.folder.path().join("added"), "").unwrap();
    run.unwrap().finish().succeeds().says("auth-required");
}

/// Image with the project.
fn image() -> Containers {
    let containers = Containers::new();
    containers.containerfile("");
    let build = ["buildah", "build", "."].map(str::to_owned);
    exec::run(&mut containers.build(&build, &[])).succeeds();
    containers
}

/// The network is made by hand, since a test machine has no container network.
#[test]
fn a_podman_container_with_a_network_of_its_own_reaches_a_daemon_that_listens_on_all_addresses() {
    if !require_root("podman and network namespaces") {
        return;
    }
    let [machine, container] = [(); 2].map(|()| NetworkNamespace::start(&[]));
    machine.link_to("203.0.113.1/24", &container, "203.0.113.2/24");
    let registry = machine.enter(|| Registry::builder(Scheme::bearer(), TOKEN).auth_required().start());
    let daemon = Daemon::builder()
        .config("clients = \"grants\"\n")
        .wrapped_in(&machine.enter_command())
        .listen("0.0.0.0:0")
        .start();
    daemon.add("corp", &registry);
    let fixture = Fixture {
        registry,
        daemon,
        folder: TempDir::new().unwrap(),
    };
    let granted = fixture.grant("podman", &["--registry", "corp"]);
    let words = granted.command();
    assert!(!words.contains(&"--network".to_owned()), "{words:?}");
    let [.., pid] = container.enter_command();
    let network = format!("ns:/proc/{pid}/ns/net");
    // podman gives this name to the machine in a network that it makes.
    let more = [
        "--network",
        &network,
        "--add-host",
        "host.containers.internal:203.0.113.1",
    ];
    exec::run(&mut image().run(&words, &more, "cargo fetch")).succeeds();
    let docker = fixture.grant("docker", &["--registry", "corp"]).command();
    assert!(
        docker.contains(&"host.docker.internal:host-gateway".to_owned()),
        "{docker:?}"
    );
}

/// A container of docker, as far as its settings go: the variables of the file, the mount, another user.
fn contained(fixture: &Fixture, env_file: &Path, volume: &str, more: &[(&Path, &str)], script: &str) -> Output {
    let work = TempDir::new_in(fixture.folder.path()).unwrap();
    containers::write_project(work.path());
    exec::run(Command::new("chown").args(["-R", "4711"]).arg(work.path())).succeeds();
    let (source, target) = volume.strip_suffix(":ro,z").unwrap().split_once(':').unwrap();
    let mut command = containers::sandbox(work.path());
    for (source, target) in more {
        command.arg("--ro-bind").arg(source).arg(target);
    }
    command
        .args(["--ro-bind", source, target, "--bind"])
        .arg(work.path())
        .args(["/work", "--chdir", "/work", "--setenv", "HOME", "/work"])
        .args(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "setpriv"])
        .args([
            format!("--reuid={BEARER}"),
            format!("--regid={BEARER}"),
            "--clear-groups".to_owned(),
        ])
        .args(["sh", "-c", script]);
    // docker takes each line as it is.
    for line in fs::read_to_string(env_file).unwrap().lines() {
        let (name, value) = line.split_once('=').unwrap();
        command.env(name, value);
    }
    exec::run(&mut command)
}

#[test]
fn settings_for_docker_compose_and_devcontainers_let_another_user_build() {
    if !require_root("another user") {
        return;
    }
    let fixture = Fixture::new();
    let docker = fixture.grant("docker", &["--registry", "corp"]);
    let words = docker.command();
    let after = |flag: &str| &words[words.iter().position(|word| word == flag).unwrap() + 1];
    assert_eq!(
        (&*words[0], &*words[1], &**after("--network")),
        ("docker", "run", "host")
    );

    let compose = fixture.grant("compose", &["--registry", "corp"]);
    let file = fixture.folder.path().join("compose.yaml");
    fs::write(&file, compose.snippet()).unwrap();
    let service = yaml(&file)["services"]["app"].clone();
    assert_eq!(service["network_mode"], "host");

    let devcontainer = fixture.grant("devcontainer", &["--registry", "corp"]);
    let settings: Value = serde_json::from_str(devcontainer.snippet()).unwrap();
    let flags: Vec<String> = serde_json::from_value(settings["runArgs"].clone()).unwrap();
    let of_flag = |flag: &str| &flags[flags.iter().position(|word| word == flag).unwrap() + 1];

    let text = |value: &Value| value[0].as_str().unwrap().to_owned();
    for (granted, env_file, volume) in [
        (&docker, after("--env-file").clone(), after("--volume").clone()),
        (&compose, text(&service["env_file"]), text(&service["volumes"])),
        (
            &devcontainer,
            of_flag("--env-file").clone(),
            of_flag("--volume").clone(),
        ),
    ] {
        assert_eq!(Path::new(&env_file), granted.file);
        contained(&fixture, &granted.file, &volume, &[], "cargo build").succeeds();
    }
    fixture.daemon.ctl(&["revoke", docker.id()]).succeeds();
    contained(&fixture, &docker.file, after("--volume"), &[], "cargo fetch")
        .fails()
        .says("407");
}

fn yaml(file: &Path) -> Value {
    let read = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let mut python = exec::command(tool("python/bin/python"), Path::new("/"));
    let output = exec::run(python.args(["-c", read]).arg(file)).succeeds();
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn doctor_in_a_container_names_the_grant_the_bundle_or_the_network() {
    if !require_root("another user") {
        return;
    }
    let fixture = Fixture::new();
    let granted = fixture.grant("docker", &["--registry", "corp"]);
    let programs = fixture.folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    exec::copy_program(&binary("regauthctl"), &programs.join("regauthctl"));
    let outdated = fixture.folder.path().join("outdated");
    fs::create_dir(&outdated).unwrap();
    fs::write(outdated.join("ca-bundle.pem"), "").unwrap();
    fs::set_permissions(fixture.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let bundle = fixture.daemon.home().join("state/bundle");
    let doctor = |bundle: &Path, before: &str| {
        let volume = format!("{}:/regauth:ro,z", bundle.display());
        let script = format!("{before} /programs/regauthctl doctor");
        contained(&fixture, &granted.file, &volume, &[(&programs, "/programs")], &script)
    };
    doctor(&bundle, "").succeeds().says("All is well.");
    doctor(&outdated, "").fails().says("has no authority for localhost");
    doctor(&bundle, "NO_PROXY=localhost")
        .fails()
        .says("NO_PROXY contains localhost");
    doctor(&bundle, "HTTPS_PROXY=http://regauth:x@127.0.0.1:1")
        .fails()
        .says("cannot be reached");
    fixture.daemon.ctl(&["revoke", granted.id()]).succeeds();
    let ended = doctor(&bundle, "").fails().says("refuses the grant");
    assert!(!ended.report().contains(granted.secret()), "{}", ended.report());
}

/// A sandbox of the daemon's own user, as agents have it: the network is the machine's, or none at all.
#[test]
fn a_bubblewrap_sandbox_builds_with_a_grant_if_it_has_the_network() {
    let fixture = Fixture::new();
    let granted = fixture.grant("env", &["--registry", "corp", "--bundle-folder", "/regauth"]);
    let work = TempDir::new().unwrap();
    containers::write_project(work.path());
    let bundle_folder = fixture.daemon.home().join("state/bundle");
    let run = |network: &[&str]| {
        let mut bwrap = containers::sandbox(work.path());
        bwrap
            .arg("--unshare-all")
            .args(network)
            .arg("--ro-bind")
            .arg(&bundle_folder)
            .args(["/regauth", "--bind"]);
        bwrap.arg(work.path()).args([
            "/work", "--chdir", "/work", "--setenv", "HOME", "/work", "cargo", "fetch",
        ]);
        let words: Vec<_> = std::iter::once(bwrap.get_program()).chain(bwrap.get_args()).collect();
        let mut shell = exec::command("sh", work.path());
        shell
            .args(["-c", "set -a; . \"$1\"; shift; exec \"$@\"", "sh"])
            .arg(&granted.file)
            .args(words);
        exec::run(&mut shell)
    };
    run(&["--share-net"]).succeeds();
    fs::remove_dir_all(work.path().join(".cargo")).unwrap();
    run(&[]).fails().says("onnect");
}

#[test]
fn the_file_has_a_lasting_name_and_the_text_names_it() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    let expected = daemon.home().join("run/grants/compose.env");
    let printed = user.ctl(&["grant", "--as", "compose"]).succeeds();
    let first = fs::read_to_string(&expected).unwrap();
    let secret = first.split(['@', ':']).nth(2).unwrap();
    assert!(!printed.stdout.contains(secret), "{}", printed.stdout);
    printed
        .says(&expected.display().to_string())
        .says("network_mode: host")
        .says("listens on 127.0.0.1");
    user.ctl(&["grant", "--as", "compose"]).succeeds();
    assert_ne!(
        fs::read_to_string(&expected).unwrap(),
        first,
        "a new grant replaces the file"
    );
    let script = user.ctl(&["grant", "--as", "env"]).succeeds();
    assert!(
        script.stdout.contains("\nHTTPS_PROXY=http://regauth:"),
        "{}",
        script.stdout
    );
    assert!(user.run("sh", &["-c", &script.stdout]).succeeds().stderr.is_empty());
}

#[test]
fn a_recipe_that_fails_leaves_no_grant_behind() {
    let daemon = Daemon::start();
    let folder = TempDir::new().unwrap();
    let is_folder = folder.path().to_str().unwrap();
    daemon.ctl(&["grant", "--as", "docker", "--file", is_folder]).exits(1);
    for wrong in [
        ["grant", "--host", "regauth"].as_slice(),
        &["grant", "--as", "docker", "--host", "http://regauth"],
        &["grant", "--as", "docker", "--bundle-folder", "certs"],
        &["grant", "--as", "buildx", "--bundle-folder", "/certs"],
    ] {
        daemon.ctl(wrong).exits(2);
    }
    let grants = daemon.ctl(&["grants"]).succeeds().json;
    assert_eq!(grants["grants"], serde_json::json!([]));
}
