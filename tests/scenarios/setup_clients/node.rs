//! npm and its relatives: yarn, pnpm, bun.

use std::fs;
use std::process::Command;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::npm_server::NpmServer;
use regauth_tests::programs::tool;
use regauth_tests::user::User;

use super::{Client, PASSWORD, USER};

/// npm registry with a package, a daemon that serves it, and a user with a project that needs the package.
fn npm_server_daemon_user() -> (NpmServer, Daemon, User) {
    let (server, daemon) = (NpmServer::start(USER, PASSWORD), Daemon::start());
    let location = ["--kind", "npm", "--scope", &server.url()];
    daemon
        .try_add("corp", &location, &Scheme::basic(USER), &server.ca(), PASSWORD)
        .succeeds();
    let user = User::new(&daemon);
    user.write(
        "treasure/package.json",
        r#"{"name":"treasure","version":"1.0.0","license":"MIT"}"#,
    );
    let manifest = r#"{"name":"project","version":"1.0.0","license":"MIT","dependencies":{"treasure":"1.0.0"}}"#;
    user.write("project/package.json", manifest);
    (server, daemon, user)
}

fn node_client(user: &User, program: &str, folder: &str, arguments: &[&str]) -> Output {
    let mut command = node_command(user, program);
    exec::run(command.args(arguments).current_dir(user.home().join(folder)))
}

fn node_command(user: &User, program: &str) -> Command {
    let path = tool(&format!("node_clients/node_modules/{program}"));
    if program.starts_with("@oven") {
        return user.command(path);
    }
    let mut command = user.command("node");
    command.arg(path);
    command
}

#[test]
fn yarn_publishes_and_installs_after_setup() {
    let (server, daemon, user) = npm_server_daemon_user();
    let project = format!(
        "npmRegistryServer: \"{}\"\nnodeLinker: node-modules\nenableTelemetry: false\nnpmMinimalAgeGate: 0\n",
        server.url()
    );
    for folder in ["treasure", "project"] {
        user.write(&format!("{folder}/.yarnrc.yml"), &project);
        user.write(&format!("{folder}/yarn.lock"), "");
    }
    let yarn = |folder: &str, arguments: &[&str]| node_client(&user, YARN, folder, arguments);
    let client = Client {
        name: "yarn",
        files: &[(
            ".yarnrc.yml",
            "# mine\nenableGlobalCache: false # each project has its own\n\n",
        )],
    };
    let publish = || {
        yarn("treasure", &["install"]).succeeds();
        let refused = yarn("treasure", &["npm", "publish"]);
        if refused.stdout.contains("regauthctl allow corp") {
            daemon.ctl(&["allow", "corp"]).succeeds();
            yarn("treasure", &["npm", "publish"]).succeeds();
            return yarn("project", &["install"]);
        }
        refused
    };
    client.check(&user, publish);
    assert!(user.home().join("project/node_modules/treasure/package.json").exists());
}

/// All four read `.npmrc`. bun takes the proxy from the shell.
#[test]
fn npms_relatives_publish_and_install_after_setup() {
    let (server, daemon, user) = npm_server_daemon_user();
    daemon.ctl(&["allow", "corp"]).succeeds();
    user.write(".npmrc", &format!("registry={}\n", server.url()));
    // By default, pnpm repeats a failed request for more than a minute.
    let without_retries = User::at(&daemon, user.home()).env("PNPM_CONFIG_FETCH_RETRIES", "0");
    let without_retries = without_retries.env("npm_config_fetch_retries", "0");
    node_client(&without_retries, PNPM, "project", &["install"]).fails();
    for (client, bunfig) in [("pnpm", None), ("bun", Some("[install]\nexact = true\n"))] {
        if let Some(text) = bunfig {
            user.write(".bunfig.toml", text);
        }
        user.ctl(&["setup", client]).succeeds();
    }
    let flags: [(&str, &[&str], &[&str]); 3] = [
        (PNPM, &["publish", "--no-git-checks"], &["install"]),
        (
            YARN_CLASSIC,
            &["publish", "--non-interactive"],
            &["install", "--non-interactive"],
        ),
        (BUN, &["publish"], &["install"]),
    ];
    for (number, (program, publish, install)) in flags.into_iter().enumerate() {
        let version = format!("1.0.{number}");
        // Yarn 1 ignores the home folder of root, but not of a fake root.
        let user = User::at(&daemon, user.home()).env("FAKEROOTKEY", "1");
        let user = if program == BUN {
            user.env("HTTPS_PROXY", &daemon.proxy())
        } else {
            user
        };
        for folder in ["treasure", "project"] {
            let file = format!("{folder}/package.json");
            let text = user.read(&file).unwrap();
            user.write(
                &file,
                &text.replace(&format!("1.0.{}", number.saturating_sub(1)), &version),
            );
        }
        node_client(&user, program, "treasure", publish).succeeds();
        node_client(&user, program, "project", install).succeeds();
        let installed = user.home().join("project/node_modules");
        assert!(installed.join("treasure/package.json").exists(), "{program}");
        fs::remove_dir_all(installed).unwrap();
    }
    LeakScan::new(PASSWORD).scan_folder(user.home(), &[]).assert_clean();
    for client in ["npm", "bun"] {
        user.ctl(&["setup", client, "--undo"]).succeeds();
    }
    assert_eq!(user.read(".bunfig.toml").unwrap(), "[install]\nexact = true\n");
}

const YARN: &str = "@yarnpkg/cli-dist/bin/yarn.js";
const PNPM: &str = "pnpm/bin/pnpm.mjs";
const YARN_CLASSIC: &str = "yarn-classic/bin/yarn.js";
#[cfg(target_arch = "x86_64")]
const BUN: &str = "@oven/bun-linux-x64-baseline/bin/bun";
#[cfg(not(target_arch = "x86_64"))]
const BUN: &str = "@oven/bun-linux-aarch64/bin/bun";
