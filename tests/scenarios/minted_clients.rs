//! Clients besides cargo with minted tokens: real pip, npm and git, each in the scheme that its service wants. Keys of AWS's
//! command line in place of an identity.

use std::fs;
use std::path::Path;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::forge::Forge;
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::moto::Moto;
use regauth_tests::pypi_server::write_wheel;
use regauth_tests::registry::Registry;
use regauth_tests::token_service::{TokenService, Vendor, app_key};
use regauth_tests::user::User;
use tempfile::TempDir;

fn codeartifact(service: &TokenService, more: &str) -> String {
    let url = service.url();
    format!("codeartifact:domain=corp,owner=123456789012,region=eu-central-1,url={url},{more}")
}

fn add(forge: &Forge, daemon: &Daemon, kind: &str, scope: &str, source: &str) {
    let ca = forge.registry.ca();
    let source = format!("{source},identity-host={}", forge.provider.host());
    let location = ["add-registry", "corp", "--kind", kind, "--scope", scope, "--no-verify"];
    let source = ["--ca-file", ca.to_str().unwrap(), "--source", &source];
    daemon.ctl(&[&location[..], &source].concat()).succeeds();
}

fn scan(service: &TokenService, daemon: &Daemon) {
    let secrets = service.secrets();
    assert!(!service.minted().is_empty());
    secrets.iter().for_each(|secret| daemon.register_secret(secret));
}

#[test]
fn pip_installs_with_a_token_of_codeartifact() {
    let moto = Moto::start();
    let files = TempDir::new().unwrap();
    let page = files.path().join("simple/treasure");
    fs::create_dir_all(&page).unwrap();
    let wheel = "treasure-1.0-py3-none-any.whl";
    write_wheel(&page.join(wheel), "treasure");
    fs::write(page.join("index.html"), format!("<a href=\"{wheel}\">{wheel}</a>")).unwrap();
    let registry = Registry::builder(Scheme::basic("aws"), "no-token-of-a-person");
    let forge = Forge::with(registry.files("/python/", files.path(), "text/html").start());
    let service = forge.service(Vendor::Codeartifact(moto.address()));
    let role = format!("role=arn:aws:iam::123456789012:role/ci,sts-url={}", service.url());
    let daemon = forge.daemon();
    let scope = forge.registry.nginx.url("/python/");
    add(&forge, &daemon, "pypi", &scope, &codeartifact(&service, &role));
    let user = User::new(&daemon)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_NO_INPUT", "1");
    user.ctl(&["setup", "pip"]).succeeds();
    user.pip_install("t", &format!("{scope}simple/"))
        .succeeds()
        .says("Successfully installed treasure-1.0");
    scan(&service, &daemon);
}

#[test]
fn npm_installs_with_a_token_of_cloudsmith() {
    let files = TempDir::new().unwrap();
    let registry = Registry::builder(Scheme::bearer(), "no-token-of-a-person");
    let forge = Forge::with(registry.files("/npm/", files.path(), "application/json").start());
    write_npm_package(files.path(), &forge.registry.nginx.url("/npm/"));
    let service = forge.service(Vendor::Cloudsmith);
    let source = format!(
        "cloudsmith:organization=corp,service=ci,api={},audience=cloudsmith",
        service.url()
    );
    let daemon = forge.daemon();
    let scope = forge.registry.nginx.url("/npm/");
    add(&forge, &daemon, "npm", &scope, &source);
    let user = User::new(&daemon);
    user.write(".npmrc", &format!("registry={scope}\nfund=false\naudit=false\n"));
    user.write(
        "project/package.json",
        r#"{"name":"project","version":"1.0.0","dependencies":{"treasure":"1"}}"#,
    );
    user.ctl(&["setup", "npm"]).succeeds();
    let mut npm = user.command("npm");
    npm.args(["install", "--no-update-notifier", "--fetch-retries=0"]);
    exec::run(npm.current_dir(user.home().join("project"))).succeeds();
    assert!(user.home().join("project/node_modules/treasure/package.json").exists());
    scan(&service, &daemon);
}

/// Writes a package's document and archive as a registry serves them.
fn write_npm_package(folder: &Path, registry: &str) {
    let source = TempDir::new().unwrap();
    fs::create_dir(source.path().join("package")).unwrap();
    let manifest = r#"{"name":"treasure","version":"1.0.0"}"#;
    fs::write(source.path().join("package/package.json"), manifest).unwrap();
    let mut tar = exec::command("tar", source.path());
    tar.arg("-czf").arg(folder.join("treasure-1.0.0.tgz")).arg("package");
    exec::run(tar.current_dir(source.path())).succeeds();
    let tarball = format!("{registry}treasure-1.0.0.tgz");
    let version = serde_json::json!({ "name": "treasure", "version": "1.0.0", "dist": { "tarball": tarball } });
    let document = serde_json::json!({
        "name": "treasure", "dist-tags": { "latest": "1.0.0" }, "versions": { "1.0.0": version },
    });
    fs::write(folder.join("treasure"), document.to_string()).unwrap();
}

#[test]
fn git_clones_with_a_token_of_a_github_app() {
    let forge = Forge::bearer();
    let server = GitServer::start(forge.registry.authority(), Scheme::basic("x-access-token"), "none");
    server.accept(&[]);
    server.repository("plans", &[("README", "plans\n")]);
    let authority = forge.registry.authority();
    let service = TokenService::start(Vendor::GithubApp, &forge.provider, server.gate(), authority);
    let key = forge.secret_file("app.pem", &app_key());
    let source = format!(
        "github-app:client-id=Iv23corp,installation=42,private-key={key},repositories=plans,permissions=contents:read,api={}",
        service.url()
    );
    let daemon = forge.daemon();
    add(&forge, &daemon, "git", &server.scope(), &source);
    let git = Git::new().behind(&daemon);
    git.clone_from(&server.url("plans")).succeeds();
    assert_eq!(fs::read_to_string(git.work().join("README")).unwrap(), "plans\n");
    scan(&service, &daemon);
}

/// Version 2 of AWS's command line is on no package index. The script prints what its documentation says ("aws configure
/// export-credentials", "--format process").
#[test]
fn cargo_builds_with_keys_of_awss_command_line() {
    let moto = Moto::start();
    for (session_token, profile) in [("", None), ("session-t0ken-of-sso", Some("ci"))] {
        let forge = Forge::bearer();
        let service = forge.service(Vendor::Codeartifact(moto.address()));
        service.accept_aws_keys("AKIDEXAMPLE", "secret-key-0f-aws", session_token);
        let wanted = profile.map_or_else(String::new, |profile| format!(" --profile {profile}"));
        let session = match session_token {
            "" => String::new(),
            token => format!(", \"SessionToken\": \"{token}\", \"Expiration\": \"2999-01-01T00:00:00Z\""),
        };
        let script = format!(
            "#!/bin/sh\n[ \"$*\" = \"configure export-credentials --format process{wanted}\" ] || exit 2\n\
             echo '{{\"Version\": 1, \"AccessKeyId\": \"AKIDEXAMPLE\", \
             \"SecretAccessKey\": \"secret-key-0f-aws\"{session}}}'\n"
        );
        exec::write_program(&forge.folder.path().join("aws"), script);
        let path = format!("{}:{}", forge.folder.path().display(), std::env::var("PATH").unwrap());
        let daemon = Daemon::builder().env("PATH", &path).start();
        let profile = profile.map_or_else(String::new, |profile| format!(",profile={profile}"));
        let source = codeartifact(&service, &format!("identity=aws{profile}"));
        forge.add(&daemon, &source, &[]).succeeds();
        forge.assert_cargo_builds(&daemon);
        scan(&service, &daemon);
        if !session_token.is_empty() {
            daemon.register_secret(session_token);
        }
    }
}
