//! Package managers besides cargo: pip, uv and npm, set up and undone by `regauthctl setup`, with private servers that
//! need a password. Java, by `regauthctl env`.

use std::fs;
use std::path::Path;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::npm_server::NpmServer;
use regauth_tests::programs::{binary, tool};
use regauth_tests::pypi_server::PypiServer;
use regauth_tests::registry::Registry;
use regauth_tests::user::User;

const USER: &str = "me@corp.example";
const PASSWORD: &str = "passw0rd-of-the-daemon";
/// Part of the refusal of a program that a registry does not list.
const OTHER_PROGRAMS: &str = "serves only the programs that its";

/// Python index with a package, a daemon that serves it, and a user.
fn python() -> (PypiServer, Daemon, User) {
    let (server, daemon) = (PypiServer::start(USER, PASSWORD), Daemon::start());
    server.package("treasure");
    add(&daemon, "pypi", &server.index(), &server.ca());
    let folder = tool("python/bin/uv");
    let path = std::env::var("PATH").unwrap();
    let user = User::new(&daemon)
        .env("PATH", &format!("{}:{path}", folder.parent().unwrap().display()))
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_NO_INPUT", "1")
        .env("SHELL", "/bin/bash");
    let without = ["-s", "--cacert", server.ca().to_str().unwrap(), &server.index()].map(str::to_owned);
    let anonymous = user.run("curl", &without.each_ref().map(String::as_str)).succeeds();
    assert!(!anonymous.stdout.contains("treasure"), "{}", anonymous.report());
    (server, daemon, user)
}

/// Adds a registry; asserts that the daemon verifies the password.
fn add(daemon: &Daemon, kind: &str, scope: &str, ca: &Path) {
    let root = scope.strip_suffix("simple/").unwrap_or(scope);
    let location = ["--kind", kind, "--scope", root];
    let wrong = daemon.try_add("corp", &location, &Scheme::basic(USER), ca, "not-the-password");
    assert_ne!(wrong.exit, 0, "{}", wrong.output.report());
    let added = daemon.try_add("corp", &location, &Scheme::basic(USER), ca, PASSWORD);
    added.succeeds();
}

#[test]
fn pip_installs_from_a_pypiserver_without_a_password() {
    let (server, daemon, user) = python();
    let mine = "# mine\n[global]\ntimeout = 20\n\n[install]\nno-compile = yes\n";
    user.write(".config/pip/pip.conf", mine);
    let index = server.index();
    user.pip_install("t", &index).fails();
    user.ctl(&["setup", "pip"]).succeeds();
    user.pip_install("t", &index)
        .succeeds()
        .says("Successfully installed treasure-1.0");
    assert!(user.home().join("t/treasure/__init__.py").exists());
    LeakScan::new(PASSWORD).scan_folder(user.home(), &[]).assert_clean();
    daemon.ctl(&["set", "corp", "programs", "cargo"]).succeeds();
    // pip keeps the status of an index page to its debug output.
    let pip = [
        "-m",
        "pip",
        "install",
        "-vv",
        "--target",
        "t2",
        "--index-url",
        &index,
        "treasure",
    ];
    user.run("python3", &pip).fails().says(OTHER_PROGRAMS);
    user.ctl(&["setup", "pip", "--undo"]).succeeds();
    assert_eq!(user.read(".config/pip/pip.conf").unwrap(), mine);
}

#[test]
fn uv_installs_from_a_pypiserver_without_a_password() {
    let (server, _daemon, user) = python();
    let (mine, profile) = ("# mine\ncompile-bytecode = false\n", "alias ll='ls -l'\n");
    user.write(".config/uv/uv.toml", mine);
    user.write(".bashrc", profile);
    let uv = |before: &str| {
        let line = format!(
            "{before} exec uv pip install --target t --index-url {} treasure",
            server.index()
        );
        user.run("bash", &["-c", &line])
    };
    uv("").fails().says("invalid peer certificate");
    user.ctl(&["setup", "uv"])
        .succeeds()
        .says("`regauthctl setup shell` as well");
    user.ctl(&["setup", "shell"]).succeeds();
    // The shell sets the bundle; uv's own file sets the proxy.
    uv(". ~/.bashrc; unset HTTPS_PROXY https_proxy;")
        .succeeds()
        .says("+ treasure==1.0");
    assert!(user.home().join("t/treasure/__init__.py").exists());
    LeakScan::new(PASSWORD).scan_folder(user.home(), &[]).assert_clean();
    for client in ["shell", "uv"] {
        user.ctl(&["setup", client, "--undo"]).succeeds();
    }
    assert_eq!(user.read(".config/uv/uv.toml").unwrap(), mine);
    assert_eq!(user.read(".bashrc").unwrap(), profile);
}

#[test]
fn npm_publishes_to_and_installs_from_a_verdaccio_without_a_password() {
    let (server, daemon) = (NpmServer::start(USER, PASSWORD), Daemon::start());
    add(&daemon, "npm", &server.url(), &server.ca());
    let user = User::new(&daemon);
    let mine = format!("; mine\nregistry={}\nfund=false\n", server.url());
    user.write(".npmrc", &mine);
    user.write("treasure/package.json", r#"{"name":"treasure","version":"1.0.0"}"#);
    user.write(
        "project/package.json",
        r#"{"name":"project","version":"1.0.0","dependencies":{"treasure":"1"}}"#,
    );
    npm(&user, "treasure", "publish").fails();
    user.ctl(&["setup", "npm"]).succeeds();
    npm(&user, "treasure", "publish")
        .fails()
        .says("403 Forbidden")
        .says("regauthctl allow corp --for 5m");
    let requests = server.nginx.requests();
    assert!(requests.iter().all(|request| request.method != "PUT"), "{requests:?}");
    daemon.ctl(&["allow", "corp"]).succeeds();
    npm(&user, "treasure", "publish").succeeds().says("+ treasure@1.0.0");
    npm(&user, "project", "install").succeeds();
    assert!(user.home().join("project/node_modules/treasure/package.json").exists());
    LeakScan::new(PASSWORD).scan_folder(user.home(), &[]).assert_clean();
    daemon.ctl(&["set", "corp", "programs", "cargo"]).succeeds();
    npm(&user, "treasure", "view").fails().says(OTHER_PROGRAMS);
    user.ctl(&["setup", "npm", "--undo"]).succeeds();
    assert_eq!(user.read(".npmrc").unwrap(), mine);
    for kept in ["project/node_modules", ".npm"] {
        fs::remove_dir_all(user.home().join(kept)).unwrap();
    }
    npm(&user, "project", "install").fails();
}

fn npm(user: &User, project: &str, verb: &str) -> Output {
    let mut npm = user.command("npm");
    npm.arg(verb).args(["--no-update-notifier", "--fetch-retries=0"]);
    exec::run(npm.current_dir(user.home().join(project)))
}

/// Options that the user has set stay. The ones here send loopback through the proxy too.
#[test]
fn java_fetches_from_a_registry_with_the_printed_environment() {
    let registry = Registry::builder(Scheme::bearer(), PASSWORD).auth_required().start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let user = User::new(&daemon).env("JAVA_TOOL_OPTIONS", "-Dhttp.nonProxyHosts= -Dhttps.proxyPort=1");
    user.write("Get.java", GET);
    let url = registry.nginx.url("/api/cargo/index/config.json");
    user.run("java", &["Get.java", &url]).fails();
    let line = format!(
        "eval \"$({} env --shell bash)\"; exec java Get.java {url}",
        binary("regauthctl").display()
    );
    user.run("bash", &["-c", &line]).succeeds().says("auth-required");
}

const GET: &str = r#"
public class Get {
    public static void main(String[] arguments) throws Exception {
        try (var body = new java.net.URL(arguments[0]).openStream()) {
            body.transferTo(System.out);
        }
    }
}
"#;
