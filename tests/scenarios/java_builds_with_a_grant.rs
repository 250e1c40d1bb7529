//! Maven and Gradle with a grant, as another user: by files of their own (`grant --as maven`, `grant --as gradle`), and Maven by
//! a forwarder (`grant --as java`).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use regauth_tests::auth_gate::{AuthGate, Scheme};
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::maven::Maven;
use regauth_tests::nginx::Nginx;
use regauth_tests::privilege::require_root;
use regauth_tests::programs::binary;
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
            "{} alias {}/files/; dav_methods PUT; create_full_put_path on;",
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

    /// Home of the bearer, with a copy of the bundle's folder.
    fn bearer(&self) -> TempDir {
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
        home
    }

    /// Answer of `grant --as CLIENT`, whose file is `grant` in the home.
    fn grant(&self, home: &Path, client: &str, more: &[&str]) -> Value {
        let [folder, file] = ["certificates", "grant"].map(|name| home.join(name).display().to_string());
        let words = ["grant", "--registry", "corp", "--as", client];
        let places = ["--bundle-folder", &folder, "--file", &file];
        let granted = self.daemon.ctl(&[&words[..], &places, more].concat()).succeeds().json;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        granted
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

/// Maven of the bearer, with a project and a settings file whose mirror has Debian's plugins.
struct BearersMaven<'a> {
    maven: Maven,
    program: String,
    home: &'a Path,
    fixture: &'a Fixture,
}

impl<'a> BearersMaven<'a> {
    fn new(maven: Maven, fixture: &'a Fixture, home: &'a Path) -> Self {
        let parent = format!(
            "<parent><groupId>corp</groupId><artifactId>parent</artifactId><version>1</version><relativePath/></parent>\
             <repositories><repository><id>corp</id><url>{}</url></repository></repositories>",
            fixture.repository.url("/maven/")
        );
        fs::write(home.join("pom.xml"), pom("project", "pom", &parent)).unwrap();
        fs::write(home.join("new.jar"), "gold").unwrap();
        fs::create_dir(home.join(".m2")).unwrap();
        fs::write(home.join(".m2/settings.xml"), DEBIANS_PLUGINS).unwrap();
        Self {
            maven,
            program: maven.program_in(home).display().to_string(),
            home,
            fixture,
        }
    }

    /// The command that `grant --as maven` printed, with other goals.
    fn by_settings(&self, granted: &Value, goals: &[&str]) -> Output {
        let printed: Vec<String> = serde_json::from_value(granted["recipe"]["command"].clone()).unwrap();
        assert_eq!((printed[0].as_str(), printed[3].as_str()), ("mvn", "package"));
        let options = granted["recipe"]["variables"]["MAVEN_OPTS"].as_str().unwrap();
        self.run(&[&self.program, &printed[1], &printed[2]], goals, options)
    }

    /// A grant whose URL is in a file, which `regauthctl forward` reads.
    fn by_forwarder(&self, goals: &[&str]) -> Output {
        let copy = self.home.join("regauthctl");
        exec::copy_program(&binary("regauthctl"), &copy);
        let bundle = self.home.join("certificates/ca-bundle.pem").display().to_string();
        let forward = [
            copy.to_str().unwrap(),
            "forward",
            "--grant-file",
            "url",
            "--bundle",
            &bundle,
            "--",
            &self.program,
        ];
        self.run(&forward, goals, "")
    }

    fn run(&self, command: &[&str], goals: &[&str], options: &str) -> Output {
        let repository = self.home.join("repository");
        let _ = fs::remove_dir_all(&repository);
        let local = format!("-Dmaven.repo.local={}", repository.display());
        // The repository of this test is on loopback, and Java takes the home from the list of users.
        let options = format!("{options} -Dhttp.nonProxyHosts= -Duser.home={}", self.home.display());
        let words = [command, &["--batch-mode", "-X", &local], goals].concat();
        let output = run(self.home, &words, &[("MAVEN_OPTS", &options)]);
        self.maven.assert_transport(&output);
        output
    }

    fn deploy(&self) -> Vec<String> {
        let words = [
            "org.apache.maven.plugins:maven-deploy-plugin:3.0.0:deploy-file",
            "-DrepositoryId=corp",
            "-Dfile=new.jar",
        ];
        let coordinates = ["-DgroupId=corp", "-DartifactId=new", "-Dversion=1", "-Dpackaging=jar"];
        let url = format!("-Durl={}", self.fixture.repository.url("/maven/"));
        words
            .into_iter()
            .chain(coordinates)
            .map(str::to_owned)
            .chain([url])
            .collect()
    }
}

#[test]
fn maven_of_another_user_reads_and_deploys_with_a_grant() {
    if require_root("a client of another user") {
        Maven::each(reads_and_deploys_with_a_grant);
    }
}

fn reads_and_deploys_with_a_grant(maven: Maven) {
    let fixture = Fixture::new();
    let home = fixture.bearer();
    let bearer = BearersMaven::new(maven, &fixture, home.path());
    let (deploy, new) = (
        bearer.deploy(),
        fixture.folder.path().join("files/corp/new/1/new-1.jar"),
    );
    let deploy: Vec<&str> = deploy.iter().map(String::as_str).collect();
    let reader = fixture.grant(home.path(), "maven", &[]);
    bearer.by_settings(&reader, &["validate"]).succeeds();
    assert!(home.path().join("repository/corp/parent/1/parent-1.pom").exists());
    let refused = bearer.by_settings(&reader, &deploy).fails();
    refused.says("regauthctl grant").says("--write its writes");
    fixture.revoke(&reader);
    bearer
        .by_settings(&reader, &["validate"])
        .fails()
        .says("Proxy Authentication Required");
    let writer = fixture.grant(home.path(), "maven", &["--write"]);
    assert!(!new.exists());
    bearer.by_settings(&writer, &deploy).succeeds();
    assert_eq!(fs::read_to_string(new).unwrap(), "gold");
    let grant = fixture.daemon.ctl(&["grant", "--registry", "corp"]).succeeds().json;
    fs::write(home.path().join("url"), grant["proxy"].as_str().unwrap()).unwrap();
    bearer.by_forwarder(&["validate"]).succeeds();
}

#[test]
fn gradle_of_another_user_reads_a_private_repository_by_its_properties() {
    if !require_root("a client of another user") {
        return;
    }
    let fixture = Fixture::new();
    let home = fixture.bearer();
    let granted = fixture.grant(home.path(), "gradle", &[]);
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

const DEBIANS_PLUGINS: &str = "<settings><mirrors><mirror><id>debian</id><mirrorOf>central</mirrorOf>
<url>file:///usr/share/maven-repo</url></mirror></mirrors></settings>
";
