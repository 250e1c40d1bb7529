//! Java with a grant: JVM options cannot carry one, so a forwarder adds it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::privilege::require_root;
use regauth_tests::process::Process;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::user::User;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";
const BEARER: u32 = 4711;
/// Java's own clients: the old one, which Maven and Gradle use, and the new one.
const CLIENTS: [&str; 2] = ["HttpsURLConnection", "HttpClient"];

/// Registry, and a daemon that serves bearers of grants only.
fn registry_and_daemon() -> (Registry, Daemon) {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    daemon.add("corp", &registry);
    (registry, daemon)
}

fn grant(daemon: &Daemon) -> serde_json::Value {
    daemon.ctl(&["grant", "--registry", "corp"]).succeeds().json
}

fn url_of(grant: &serde_json::Value) -> &str {
    grant["proxy"].as_str().unwrap()
}

/// Folder of the bearer, another user: the programs, a grant, copies of the bundle and the trust store, and a Java program.
struct Bearer {
    folder: TempDir,
}

impl Bearer {
    fn new(daemon: &Daemon, grant: &str) -> Self {
        let bearer = Self {
            folder: TempDir::new().unwrap(),
        };
        fs::set_permissions(bearer.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        bearer.copy(&binary("regauthctl"), "regauthctl", 0o755);
        bearer.copy(&daemon.bundle(), "ca-bundle.pem", 0o644);
        bearer.copy(&daemon.bundle().with_extension("jks"), "ca-bundle.jks", 0o644);
        for (file, text) in [("grant", grant), ("Fetch.java", FETCH)] {
            fs::write(bearer.path(file), text).unwrap();
            std::os::unix::fs::chown(bearer.path(file), Some(BEARER), None).unwrap();
        }
        bearer
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn copy(&self, from: &Path, name: &str, mode: u32) {
        fs::copy(from, self.path(name)).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn forward(&self, more: &[&str]) -> Command {
        let mut command = exec::as_user(BEARER, self.folder.path());
        command
            .arg(self.path("regauthctl"))
            .args(["forward", "--grant-file", "grant", "--bundle", "ca-bundle.pem"])
            .args(more)
            // The registries of these tests are on loopback.
            .env("JAVA_TOOL_OPTIONS", "-Dhttp.nonProxyHosts=")
            .current_dir(self.folder.path());
        command
    }

    fn fetch(&self, client: &str, url: &str) -> Output {
        exec::run(&mut self.forward(&["--", "java", "Fetch.java", client, url]))
    }
}

fn config(registry: &Registry) -> String {
    registry.nginx.url("/api/cargo/index/config.json")
}

#[test]
fn java_of_another_user_fetches_with_a_grant_by_a_forwarder() {
    if !require_root("a client of another user") {
        return;
    }
    let (registry, daemon) = registry_and_daemon();
    let granted = grant(&daemon);
    let bearer = Bearer::new(&daemon, url_of(&granted));
    for client in CLIENTS {
        let fetched = bearer.fetch(client, &config(&registry)).succeeds();
        fetched.says("200").says("auth-required");
    }
    revoke(&daemon, &granted);
    let refused = bearer.fetch(CLIENTS[0], &config(&registry)).fails();
    let refused = refused.says("407").says("the proxy refuses the grant");
    let secret = url_of(&granted).split(['/', '@']).nth(2).unwrap();
    assert!(!refused.report().contains(secret), "{}", refused.report());
}

#[test]
fn a_forwarder_serves_only_its_own_user() {
    if !require_root("a client of another user") {
        return;
    }
    let (registry, daemon) = registry_and_daemon();
    let granted = grant(&daemon);
    let bearer = Bearer::new(&daemon, url_of(&granted));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = bearer.path("log");
    let mut forward = bearer.forward(&["--port", &port.to_string()]);
    let mut forwarder = Process::spawn("regauthctl forward", &mut forward, &log);
    forwarder.wait_until("the settings", || forwarder_is_ready(&log, port));
    let curl = Curl::new()
        .proxy(&format!("http://127.0.0.1:{port}"))
        .trusts(&bearer.path("ca-bundle.pem"));
    let before = registry.nginx.requests().len();
    let refused = curl.fetch(&config(&registry)).output.fails();
    refused.says("403");
    assert_eq!(registry.nginx.requests().len(), before);
    let own = curl.as_user(BEARER);
    assert_eq!(own.get(&config(&registry)).status, 200);
    revoke(&daemon, &granted);
    own.fetch(&config(&registry)).output.fails().says("407");
    fs::write(bearer.path("grant"), url_of(&grant(&daemon))).unwrap();
    assert_eq!(own.get(&config(&registry)).status, 200, "the file is read again");
}

fn revoke(daemon: &Daemon, grant: &serde_json::Value) {
    let id = grant["grant"]["id"].as_str().unwrap();
    daemon.ctl(&["revoke", id]).succeeds();
}

fn forwarder_is_ready(log: &Path, port: u16) -> Option<()> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.contains(&format!("-Dhttps.proxyPort={port}")).then_some(())
}

#[test]
fn run_shows_a_grant_of_the_environment_for_every_client() {
    let (registry, daemon) = registry_and_daemon();
    let granted = grant(&daemon);
    let user = User::new(&daemon).env("JAVA_TOOL_OPTIONS", "-Dhttp.nonProxyHosts=");
    user.write("Fetch.java", FETCH);
    let url = config(&registry);
    let java = ["run", "--", "java", "Fetch.java", CLIENTS[0], &url];
    user.ctl(&java).fails().says("407");
    let bearer = user.env("HTTPS_PROXY", url_of(&granted));
    bearer.ctl(&java).succeeds().says("auth-required");
    let curl = ["run", "--", "curl", "-sS", "--noproxy", "", &url];
    bearer.ctl(&curl).succeeds().says("auth-required");
    let line = format!(
        "eval \"$({} env --shell bash)\"; exec curl -sS --noproxy '' {url}",
        binary("regauthctl").display()
    );
    let fetched = bearer.run("bash", &["-c", &line]).succeeds();
    fetched.says("auth-required").says("Java cannot show the grant");
}

/// Maven's own transport (3.9 and later) sends it there.
#[test]
fn a_grant_in_the_authorization_of_a_connect_counts() {
    let (registry, daemon) = registry_and_daemon();
    let granted = grant(&daemon);
    let login = url_of(&granted)
        .trim_start_matches("http://")
        .split('@')
        .next()
        .unwrap();
    let header = format!("Authorization: Basic {}", STANDARD.encode(login));
    let curl = Curl::new().behind(&daemon).with(&["--proxy-header", &header]);
    assert_eq!(curl.get(&config(&registry)).status, 200);
    let other = Curl::new()
        .behind(&daemon)
        .with(&["--proxy-header", "Authorization: Basic eDp5"]);
    other.fetch(&config(&registry)).output.fails().says("407");
}

#[test]
fn grant_as_java_prints_commands_with_the_bundle() {
    let (_registry, daemon) = registry_and_daemon();
    let home = daemon.home().display().to_string();
    let printed = exec::run(Command::new(binary("regauthctl")).args(["--home", &home, "grant", "--as", "java"]));
    let bundle = daemon.bundle();
    printed
        .succeeds()
        .says(&bundle.display().to_string())
        .says(&bundle.with_extension("jks").display().to_string())
        .says("regauthctl forward --grant-file ~/grant --bundle ~/regauth/ca-bundle.pem -- mvn package");
}

const FETCH: &str = r#"
import java.net.*;
import java.net.http.*;

public class Fetch {
    public static void main(String[] arguments) throws Exception {
        var url = URI.create(arguments[1]);
        if (arguments[0].equals("HttpClient")) {
            var client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();
            var answer = client.send(HttpRequest.newBuilder(url).build(), HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        } else {
            var connection = (HttpURLConnection) url.toURL().openConnection();
            System.out.println(connection.getResponseCode() + " " + new String(connection.getInputStream().readAllBytes()));
        }
    }
}
"#;
