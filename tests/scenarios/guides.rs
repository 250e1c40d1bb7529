//! Guides in `docs/guides`: their commands, run as printed, end with a build. The servers have the products' names, URL
//! layouts and authentication; nginx checks the token.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::git_server::GitServer;
use regauth_tests::name_proxy::NameProxy;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::terminal::Terminal;
use regauth_tests::user::User;

const TOKEN: &str = "t0ken-of-a-guide";
const MARK: &str = "<!-- tests/scenarios/guides.rs runs these commands -->\n```console\n";

fn guides() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides")
}

/// Command of a guide, with the output that the guide shows.
struct Step {
    command: String,
    shown: Vec<String>,
}

/// Commands of all marked blocks of a guide.
fn steps(guide: &str) -> Vec<Step> {
    let text = fs::read_to_string(guides().join(guide)).unwrap().replace("\\\n", " ");
    let blocks = text.split(MARK).skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command: command.to_owned(),
                shown: Vec::new(),
            }),
            None => steps.last_mut().unwrap().shown.push(line.trim().to_owned()),
        }
    }
    assert!(!steps.is_empty(), "{guide} has no commands to run");
    steps
}

/// Runs a guide's commands in a project, with the programs in `PATH`.
fn follow(guide: &str, daemon: &Daemon, cargo: &Cargo) {
    let user = User::at(daemon, cargo.home());
    let usual = cargo::command(cargo.home());
    let (_, path) = usual.get_envs().find(|(name, _)| *name == "PATH").unwrap();
    let ours = binary("regauthctl").parent().unwrap().display().to_string();
    let path = format!("{ours}:{}", path.unwrap().to_str().unwrap());
    for Step { command, shown } in steps(guide) {
        let mut shell: Command = user.command("sh");
        shell
            .env("PATH", &path)
            .args(["-c", &command])
            .current_dir(cargo.project());
        let wants_token = shown.first().is_some_and(|line| line.starts_with("Token for "));
        let (output, succeeded) = if wants_token {
            let mut terminal = Terminal::start(&shell);
            let prompt = terminal.read_until(&shown[0]);
            terminal.type_without_echo(TOKEN);
            let (rest, status) = terminal.finish();
            (prompt + &rest, status.success())
        } else {
            let output = exec::run(&mut shell);
            (output.report(), output.status.success())
        };
        assert!(succeeded, "{guide}: $ {command}\n{output}");
        for line in shown {
            // A commit differs each time.
            let line = line.split('#').next().unwrap();
            assert!(
                output.contains(line),
                "{guide}: $ {command}\nhas no line {line:?}:\n{output}"
            );
        }
    }
    assert!(
        !fs::read_to_string(cargo.home().join("cargo/config.toml"))
            .unwrap()
            .contains(TOKEN)
    );
}

/// Index URL in a guide's command.
fn index_of(guide: &str) -> String {
    let steps = steps(guide);
    let words = steps.iter().flat_map(|step| step.command.split_whitespace());
    words
        .filter_map(|word| word.strip_prefix("sparse+"))
        .next()
        .unwrap()
        .to_owned()
}

/// A registry as the guide describes it, and a daemon on a machine that trusts its authority.
fn follow_with_registry(guide: &str, scheme: Scheme) {
    let index = index_of(guide);
    let registry = Registry::builder(scheme, TOKEN)
        .auth_required()
        .public_index(&index)
        .start();
    let host = index.split('/').nth(2).unwrap();
    let proxy = NameProxy::start(&[(host, registry.nginx.port())]);
    let programs = aws();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.path().display());
    let daemon = Daemon::builder()
        .env("https_proxy", &proxy.url())
        .env("SSL_CERT_FILE", registry.ca().to_str().unwrap())
        .env("PATH", &path)
        .start();
    let cargo = Cargo::new().depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    fs::remove_file(cargo.home().join("cargo/config.toml")).unwrap();
    follow(guide, &daemon, &cargo);
    let archives = registry
        .nginx
        .requests()
        .into_iter()
        .filter(|request| request.uri.contains("/download"));
    assert!(
        archives.count() >= 3,
        "{guide}: the build took no archive from the registry"
    );
}

/// Folder with an `aws` that knows the one command that regauthd runs.
fn aws() -> tempfile::TempDir {
    let folder = tempfile::TempDir::new().unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2 $4 $6 $8\" = 'codeartifact get-authorization-token corp 123456789012 eu-west-1' ] || exit 9\n\
         printf '{{\"authorizationToken\":\"{TOKEN}\",\"expiration\":\"2099-01-01T00:00:00Z\"}}'\n"
    );
    exec::write_program(&folder.path().join("aws"), script);
    folder
}

fn header(prefix: &str) -> Scheme {
    Scheme::Header {
        name: "Authorization".to_owned(),
        prefix: prefix.to_owned(),
    }
}

#[test]
fn each_guide_to_a_registry_ends_with_a_build() {
    let guides: [(&str, Scheme); 9] = [
        ("artifactory.md", Scheme::bearer()),
        ("azure.md", Scheme::basic("PAT")),
        ("cloudsmith.md", header("Token ")),
        ("codeartifact.md", Scheme::raw()),
        ("gitea.md", Scheme::bearer()),
        ("gitlab.md", Scheme::bearer()),
        ("kellnr.md", Scheme::raw()),
        ("nexus.md", Scheme::bearer()),
        ("from-mitmproxy.md", Scheme::basic("me@corp.example")),
    ];
    for some in guides.chunks(3) {
        thread::scope(|scope| {
            for (guide, registry_scheme) in some {
                scope.spawn(move || follow_with_registry(guide, registry_scheme.clone()));
            }
        });
    }
}

#[test]
fn the_guide_to_github_ends_with_a_build_of_a_git_dependency() {
    let host = GitServer::start_at(
        &Authority::new("Corp Root"),
        Scheme::basic("x-access-token"),
        TOKEN,
        "/corp/",
    );
    host.library("plans");
    let proxy = NameProxy::start(&[("github.com", host.nginx.port())]);
    let daemon = Daemon::builder()
        .env("https_proxy", &proxy.url())
        .env("SSL_CERT_FILE", host.ca().to_str().unwrap())
        .start();
    let cargo = Cargo::new().depends_on(r#"plans = { git = "https://github.com/corp/plans" }"#);
    fs::write(cargo.home().join("cargo/config.toml"), "").unwrap();
    follow("github.md", &daemon, &cargo);
}

/// The list of guides and the list of tests are the same.
#[test]
fn every_guide_is_run_by_a_test_and_listed() {
    let this = include_str!("guides.rs");
    let list = fs::read_to_string(guides().join("README.md")).unwrap();
    for file in fs::read_dir(guides()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name != "README.md" {
            assert!(this.contains(&format!("\"{name}\"")), "{name} is not run");
            assert!(list.contains(&format!("]({name})")), "{name} is not listed");
        }
    }
}
