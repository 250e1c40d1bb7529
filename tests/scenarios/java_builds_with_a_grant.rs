//! Maven and Gradle with a grant by files of their own, as another user: `grant --as maven` and `grant --as gradle`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use regauth_tests::auth_gate::{AuthGate, Scheme};
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::nginx::Nginx;
use regauth_tests::privilege::require_root;
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";
const BEARER: u32 = 4711;

/// Private Maven repository with a parent and a library, and a daemon that serves bearers of grants only.
struct Fixture {
    repository: Nginx,
    daemon: Daemon,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let gate = AuthGate::new(Scheme::bearer(), folder.path());
        gate.accept(&[TOKEN]);
        let authority = Authority::new("Corp Root");
        let files = format!(
            "{} alias {}/files/;",
            gate.location_directives(),
            folder.path().display()
        );
        let repository = Nginx::builder(&authority.issue(&["localhost"]))
            .http(&gate.http_directives())
            .server(&gate.server_directives())
            .location("/maven/", &files)
            .start();
        publish(&folder.path().join("files"), "parent", "pom");
        publish(&folder.path().join("files"), "library", "jar");
        let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
        let location = [
            "--kind",
            "generic",
            "--scope",
            &repository.url("/maven/"),
            "--no-verify",
        ];
        daemon
            .try_add("corp", &location, &Scheme::bearer(), &authority.file(), TOKEN)
            .succeeds();
        Self {
            repository,
            daemon,
            folder,
        }
    }

    /// Home of the bearer, with a copy of the bundle's folder, and the answer of `grant --as`.
    fn bearer(&self, client: &str) -> (TempDir, Value) {
        let home = TempDir::new().unwrap();
        let certificates = home.path().join("certificates");
        fs::create_dir(&certificates).unwrap();
        for file in ["ca-bundle.pem", "ca-bundle.jks"] {
            fs::copy(
                self.daemon.home().join("state/bundle").join(file),
                certificates.join(file),
            )
            .unwrap();
        }
        let [folder, file] = [certificates, home.path().join("grant")].map(|path| path.display().to_string());
        let words = [
            "grant",
            "--registry",
            "corp",
            "--as",
            client,
            "--bundle-folder",
            &folder,
            "--file",
            &file,
        ];
        let granted = self.daemon.ctl(&words).succeeds().json;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        (home, granted)
    }

    fn revoke(&self, granted: &Value) {
        self.daemon
            .ctl(&["revoke", granted["grant"]["id"].as_str().unwrap()])
            .succeeds();
    }
}

fn publish(files: &Path, name: &str, packaging: &str) {
    let folder = files.join(format!("corp/{name}/1"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}-1.pom")), pom(name, packaging, "")).unwrap();
    fs::write(folder.join(format!("{name}-1.jar")), "a library").unwrap();
}

fn pom(name: &str, packaging: &str, more: &str) -> String {
    format!(
        "<project><modelVersion>4.0.0</modelVersion>{more}<groupId>corp</groupId><artifactId>{name}</artifactId>\
         <version>1</version><packaging>{packaging}</packaging></project>"
    )
}

/// Runs a command as the bearer, who owns the home.
fn run(home: &Path, command: &[&str], variables: &[(&str, &str)]) -> Output {
    exec::run(Command::new("chown").args(["-R", "4711"]).arg(home)).succeeds();
    chown(home, Some(BEARER), None).unwrap();
    let mut bearer = exec::as_user(BEARER, home);
    bearer.args(command).envs(variables.iter().copied()).current_dir(home);
    exec::run(&mut bearer)
}

#[test]
fn maven_of_another_user_reads_a_private_repository_by_a_settings_file() {
    if !require_root("a client of another user") {
        return;
    }
    let fixture = Fixture::new();
    let (home, granted) = fixture.bearer("maven");
    let url = fixture.repository.url("/maven/");
    let parent = format!(
        "<parent><groupId>corp</groupId><artifactId>parent</artifactId><version>1</version><relativePath/></parent>\
         <repositories><repository><id>corp</id><url>{url}</url></repository></repositories>"
    );
    fs::write(home.path().join("pom.xml"), pom("project", "pom", &parent)).unwrap();
    let words: Vec<String> = serde_json::from_value(granted["recipe"]["command"].clone()).unwrap();
    let repository = format!("-Dmaven.repo.local={}/repository", home.path().display());
    let home_option = format!("-Duser.home={}", home.path().display());
    let words: Vec<&str> = words
        .iter()
        .map(|word| if word == "package" { "validate" } else { word })
        .collect();
    let words = [words.as_slice(), &["--batch-mode", &repository]].concat();
    let options = granted["recipe"]["variables"]["MAVEN_OPTS"].as_str().unwrap();
    // The repository of this test is on loopback.
    let options = format!("{options} -Dhttp.nonProxyHosts= {home_option}");
    let variables = [("MAVEN_OPTS", &*options)];
    run(home.path(), &words, &variables).succeeds();
    assert!(home.path().join("repository/corp/parent/1/parent-1.pom").exists());
    fixture.revoke(&granted);
    fs::remove_dir_all(home.path().join("repository")).unwrap();
    run(home.path(), &words, &variables)
        .fails()
        .says("Proxy Authentication Required");
}

#[test]
fn gradle_of_another_user_reads_a_private_repository_by_its_properties() {
    if !require_root("a client of another user") {
        return;
    }
    let fixture = Fixture::new();
    let (home, granted) = fixture.bearer("gradle");
    let url = fixture.repository.url("/maven/");
    let build = format!(
        "repositories {{ maven {{ url '{url}' }} }}\nconfigurations {{ wanted }}\n\
         dependencies {{ wanted 'corp:library:1' }}\n\
         task get {{ doLast {{ configurations.wanted.each {{ println it.name }} }} }}\n"
    );
    fs::write(home.path().join("build.gradle"), build).unwrap();
    fs::write(home.path().join("settings.gradle"), "").unwrap();
    let properties = fs::read_to_string(home.path().join("grant")).unwrap();
    fs::create_dir(home.path().join("gradle-home")).unwrap();
    // The repository of this test is on loopback.
    let properties = format!("{properties}systemProp.http.nonProxyHosts=\n");
    fs::write(home.path().join("gradle-home/gradle.properties"), properties).unwrap();
    let words = [
        "gradle",
        "--no-daemon",
        "--gradle-user-home",
        "gradle-home",
        "--console",
        "plain",
        "get",
    ];
    run(home.path(), &words, &[]).succeeds().says("library-1.jar");
    fixture.revoke(&granted);
    let again = [words.as_slice(), &["--refresh-dependencies"]].concat();
    run(home.path(), &again, &[]).fails().says("407");
    assert!(fixture.folder.path().exists());
}
