//! Kinds of package registries: the real client reads, a write is refused where the client shows it, and passes once it is
//! allowed. NuGet's client cannot be had on these machines: curl sends its documented requests.

use std::fs;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::file_server::FileServer;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::maven::Maven;
use regauth_tests::path_server::PathServer;
use regauth_tests::user::User;

const USER: &str = "me@corp.example";
const PASSWORD: &str = "passw0rd-of-the-daemon";

fn daemon_for(server: &FileServer, kind: &str) -> (Daemon, User) {
    let daemon = Daemon::start();
    server.add_to(&daemon, kind);
    let user = User::new(&daemon);
    (daemon, user)
}

/// Runs the client by `regauthctl run`.
fn by_run(user: &User, command: &[&str]) -> Output {
    user.ctl(&[&["run", "--"], command].concat())
}

/// A write that is refused, without a request to the server, and then allowed.
fn assert_refused_then_allowed(server: &FileServer, daemon: &Daemon, write: impl Fn() -> Output) {
    let before = server.writes();
    write().fails().says("regauthctl allow corp --for 5m");
    assert_eq!(server.writes(), before);
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    write().succeeds();
    assert!(server.writes() > before);
}

/// As [`assert_refused_then_allowed`], with an upload of curl: for clients that cannot upload.
fn assert_upload_is_refused_then_allowed(server: &FileServer, daemon: &Daemon, path: &str) {
    let (curl, url) = (Curl::new().behind(daemon), server.nginx.url(path));
    let refused = curl.upload(&url, 100);
    assert_eq!(refused.status, 403);
    assert!(
        refused.body().contains("regauthctl allow corp --for 5m"),
        "{}",
        refused.body()
    );
    assert_eq!(server.writes(), 0);
    daemon.ctl(&["allow", "corp", "--for", "5m"]).succeeds();
    assert_eq!(curl.upload(&url, 100).status, 201);
    assert_eq!(fs::metadata(server.path(&path[1..])).unwrap().len(), 100);
}

#[test]
fn maven_deploys_once_it_is_allowed() {
    Maven::each(deploys_once_it_is_allowed);
}

fn deploys_once_it_is_allowed(maven: Maven) {
    let server = FileServer::start(USER, PASSWORD);
    let (daemon, user) = daemon_for(&server, "maven");
    user.write("treasure.jar", "gold\n");
    user.write(".m2/settings.xml", DEBIANS_PLUGINS);
    let home = format!("-Duser.home={} -Dhttp.nonProxyHosts=", user.home().display());
    let user = user.env("JAVA_TOOL_OPTIONS", &home);
    let url = format!("-Durl={}", server.nginx.url("/"));
    let program = maven.program().display().to_string();
    let deploy = [
        &program,
        "-B",
        "-X",
        "-Dmaven.repo.local=repository",
        "org.apache.maven.plugins:maven-deploy-plugin:3.0.0:deploy-file",
        &url,
        "-DrepositoryId=corp",
        "-Dfile=treasure.jar",
        "-DgroupId=com.corp",
        "-DartifactId=treasure",
        "-Dversion=1.0",
        "-Dpackaging=jar",
    ];
    assert_refused_then_allowed(&server, &daemon, || {
        let deployed = by_run(&user, &deploy);
        maven.assert_transport(&deployed);
        deployed
    });
    let deployed = server.path("com/corp/treasure/1.0/treasure-1.0.jar");
    assert_eq!(fs::read_to_string(deployed).unwrap(), "gold\n");
    LeakScan::new(PASSWORD).scan_folder(user.home(), &[]).assert_clean();
}

/// Go sends `localhost` past every proxy, but not `LOCALHOST`.
#[test]
fn go_downloads_a_module_after_setup_of_the_shell() {
    let server = FileServer::start(USER, PASSWORD);
    let (daemon, user) = daemon_for(&server, "go");
    server.write("corp.example/treasure/@v/list", "v1.0.0\n");
    server.write("corp.example/treasure/@v/v1.0.0.info", r#"{"Version":"v1.0.0"}"#);
    server.write("corp.example/treasure/@v/v1.0.0.mod", "module corp.example/treasure\n");
    server.write("gold.go", "package treasure\n");
    server.run(&format!("python3 -c '{GO_ZIP}'"));
    let user = user.env("SHELL", "/bin/bash");
    user.write("go.mod", "module example.org/project\n\ngo 1.19\n");
    user.ctl(&["setup", "shell"]).succeeds();
    let proxy = server.nginx.url("").replace("localhost", "LOCALHOST");
    let go = format!(
        ". ~/.bashrc; export GOPROXY={proxy} GONOSUMDB=* GOFLAGS=-modcacherw; exec go get corp.example/treasure@latest"
    );
    user.run("bash", &["-c", &go]).succeeds();
    server.assert_served("/v1.0.0.zip");
    assert!(user.read("go.mod").unwrap().contains("corp.example/treasure v1.0.0"));
    assert_upload_is_refused_then_allowed(&server, &daemon, "/upload");
}

#[test]
fn gem_pushes_once_it_is_allowed_and_gets_no_key() {
    let server = FileServer::with_program(USER, PASSWORD, GEM_SERVER);
    server.write("treasure.gemspec", GEMSPEC);
    server.run("gem build --quiet treasure.gemspec --output treasure-1.0.gem");
    let (daemon, user) = daemon_for(&server, "rubygems");
    fs::copy(server.path("treasure-1.0.gem"), user.home().join("treasure-1.0.gem")).unwrap();
    let host = server.nginx.url("");
    let user = user.env("GEM_HOST_API_KEY", "any");
    let push = ["gem", "push", "treasure-1.0.gem", "--host", &host];
    let key = Curl::new().behind(&daemon).get(&server.nginx.url("/api/v1/api_key"));
    assert_eq!((key.status, key.header("regauth-error")), (403, Some("write-denied")));
    assert_refused_then_allowed(&server, &daemon, || by_run(&user, &push));
    let pushed = fs::read(server.path("pushed")).unwrap();
    assert_eq!(pushed, fs::read(server.path("treasure-1.0.gem")).unwrap());
}

#[test]
fn composer_installs_after_setup_of_the_shell() {
    let server = FileServer::start(USER, PASSWORD);
    server.write("treasure/composer.json", r#"{"name":"corp/treasure"}"#);
    server.run("python3 -m zipfile -c treasure.zip treasure/composer.json");
    let packages = format!(
        r#"{{"packages":{{"corp/treasure":{{"1.0.0":{{"name":"corp/treasure","version":"1.0.0",
            "dist":{{"type":"zip","url":"{}"}}}}}}}}}}"#,
        server.nginx.url("/treasure.zip")
    );
    server.write("packages.json", packages);
    let (daemon, user) = daemon_for(&server, "composer");
    let user = user.env("SHELL", "/bin/bash").env("COMPOSER_ALLOW_SUPERUSER", "1");
    let repository = server.nginx.url("");
    user.write(
        "composer.json",
        &format!(
            r#"{{"repositories":[{{"packagist.org":false}},{{"type":"composer","url":"{repository}"}}],
                "require":{{"corp/treasure":"1.0.0"}}}}"#
        ),
    );
    let install = |before: &str| {
        let line = format!("{before} exec composer --no-interaction --no-cache install");
        user.run("bash", &["-c", &line])
    };
    install("").fails();
    user.ctl(&["setup", "shell"]).succeeds();
    install(". ~/.bashrc;").succeeds();
    server.assert_served("/treasure.zip");
    assert!(user.home().join("vendor/corp/treasure/composer.json").exists());
    assert_upload_is_refused_then_allowed(&server, &daemon, "/corp/treasure/1.1.zip");
}

/// apt fetches as another user: it gets a grant, and shows the reason phrase.
#[test]
fn apt_updates_and_downloads_with_a_grant() {
    let server = FileServer::start(USER, PASSWORD);
    server.write("DEBIAN/control", CONTROL);
    server.run(
        "mkdir package pool; mv DEBIAN package; dpkg-deb --build --root-owner-group package pool/treasure.deb; \
         (cat package/DEBIAN/control; echo Filename: pool/treasure.deb; stat -c 'Size: %s' pool/treasure.deb; \
          echo SHA256: $(sha256sum pool/treasure.deb | cut -d' ' -f1)) >Packages",
    );
    let daemon = Daemon::builder().config("clients = \"grants\"\n").start();
    server.add_to(&daemon, "apt");
    let grant = daemon.ctl(&["grant", "--registry", "corp"]).succeeds().json;
    let user = User::new(&daemon);
    let [state, bundle] = [user.home().to_owned(), daemon.bundle()].map(|path| path.display().to_string());
    for folder in ["lists/partial", "archives/partial", "etc/apt.conf.d"] {
        fs::create_dir_all(user.home().join(folder)).unwrap();
    }
    user.write(
        "sources.list",
        &format!("deb [trusted=yes] {} ./\n", server.nginx.url("/")),
    );
    user.write("status", "");
    let configuration = |proxy: &str| {
        APT.replace("HOME", &state)
            .replace("BUNDLE", &bundle)
            .replace("PROXY", proxy)
    };
    let apt = |proxy: &str, arguments: &[&str]| {
        user.write("apt.conf", &configuration(proxy));
        let mut apt = user.command("apt-get");
        apt.env("APT_CONFIG", user.home().join("apt.conf"));
        exec::run(apt.args(arguments))
    };
    let update = ["--error-on=any", "update"];
    apt(&daemon.proxy(), &update).fails().says("407");
    let proxy = grant["proxy"].as_str().unwrap();
    apt(proxy, &update).succeeds();
    apt(proxy, &["download", "treasure"]).succeeds();
    server.assert_served("/treasure.deb");
    assert!(user.home().join("treasure_1.0_all.deb").exists());
}

#[test]
fn nuget_and_apt_are_read_and_uploaded_to_by_their_documented_requests() {
    for (kind, page, upload) in [
        ("nuget", "/v3/index.json", "/api/v2/package/treasure"),
        ("apt", "/dists/stable/InRelease", "/pool/stable/main/upload"),
    ] {
        let server = FileServer::start(USER, PASSWORD);
        server.write(&page[1..], "{}");
        let (daemon, _user) = daemon_for(&server, kind);
        let get = Curl::new().behind(&daemon).get(&server.nginx.url(page));
        assert_eq!(get.status, 200);
        assert_upload_is_refused_then_allowed(&server, &daemon, upload);
    }
}

/// The check of each kind asks for a page that its clients need.
#[test]
fn a_wrong_token_is_rejected_by_the_page_of_the_kind() {
    let daemon = Daemon::start();
    for (kind, page) in [
        ("rubygems", "/specs.4.8.gz"),
        ("composer", "/packages.json"),
        ("nuget", "/index.json"),
        ("maven", "/"),
        ("go", "/"),
        ("apt", "/"),
    ] {
        let server = PathServer::start(PASSWORD);
        let location = ["--kind", kind, "--scope", &server.url("/")];
        let add = |token| daemon.try_add(kind, &location, &Scheme::bearer(), &server.ca(), token);
        assert_eq!(add("not-the-password").exit, 4, "{kind}");
        add(PASSWORD).succeeds();
        assert_eq!(
            server.tokens(page).first().map(String::as_str),
            Some("not-the-password"),
            "{kind}"
        );
    }
}

/// Many registries have no page at the root of a repository.
#[test]
fn a_token_is_verified_where_the_repository_has_no_page() {
    let daemon = Daemon::start();
    for (kind, page) in [
        ("maven", "/r/archetype-catalog.xml"),
        ("go", "/r/sumdb/sum.golang.org/supported"),
        ("apt", "/r/dists/"),
    ] {
        let server = PathServer::start(PASSWORD);
        server.answer_everybody("/r/", 404, &[], "");
        server.answer(page, 404, &[], "");
        let location = ["--kind", kind, "--scope", &server.url("/r/")];
        let added = daemon.try_add(kind, &location, &Scheme::bearer(), &server.ca(), PASSWORD);
        assert_eq!(added.succeeds().json["verified"], true, "{kind}");
        assert!(!server.tokens(page).is_empty(), "{kind}");
    }
}

#[test]
fn archives_outside_of_a_feed_are_found_when_it_is_added() {
    let daemon = Daemon::start();
    for (kind, page) in [
        (
            "nuget",
            r#"{"resources":[{"@id":"URL/org/7f/flat2/","@type":"PackageBaseAddress/3.0.0"}]}"#,
        ),
        (
            "composer",
            r#"{"packages":{"corp/x":{"1.0":{"dist":{"url":"URL/org/7f/x.zip"}}}}}"#,
        ),
    ] {
        let server = PathServer::start(PASSWORD);
        let body = page.replace("URL", server.url("").trim_end_matches('/'));
        for file in ["index.json", "packages.json"] {
            server.answer(&format!("/org/feed/{file}"), 200, &[], &body);
        }
        let location = ["--kind", kind, "--scope", &server.url("/org/feed/")];
        let added = daemon.try_add(kind, &location, &Scheme::bearer(), &server.ca(), PASSWORD);
        let text = added.succeeds().output.report();
        assert!(
            text.contains(&format!("regauthctl add-scope {kind} {}", server.url("/org/"))),
            "{text}"
        );
    }
}

#[test]
fn a_preset_knows_the_kind_and_login_of_a_repository() {
    let server = FileServer::start(USER, PASSWORD);
    server.write("repository/libs/x", "");
    let daemon = Daemon::start();
    let ca = server.ca().display().to_string();
    let scope = server.nginx.url("/repository/libs/");
    let add = |more: &[&str]| {
        let arguments = [
            "add-registry",
            "corp",
            "--preset",
            "nexus",
            "--scope",
            &scope,
            "--ca-file",
            &ca,
            "--token-stdin",
        ];
        daemon.ctl_with_input(&[&arguments, more].concat(), PASSWORD)
    };
    assert!(add(&[]).output.report().contains("--kind maven, --kind npm"));
    assert!(
        add(&["--kind", "maven"])
            .output
            .report()
            .contains("--username NAME: your Nexus user name")
    );
    let added = add(&["--kind", "maven", "--username", USER, "--no-verify"])
        .succeeds()
        .json;
    assert_eq!(added["registry"]["kind"], "maven");
    assert_eq!(added["registry"]["scheme"], "basic");
    let curl = Curl::new().behind(&daemon);
    assert_eq!(curl.get(&server.nginx.url("/repository/libs/x")).status, 200);
}

const GO_ZIP: &str = "import zipfile
archive = zipfile.ZipFile(\"corp.example/treasure/@v/v1.0.0.zip\", \"w\")
archive.write(\"gold.go\", \"corp.example/treasure@v1.0.0/gold.go\")
";
const DEBIANS_PLUGINS: &str = "<settings><mirrors><mirror><id>debian</id><mirrorOf>central</mirrorOf>
<url>file:///usr/share/maven-repo</url></mirror></mirrors></settings>
";
const GEMSPEC: &str = "Gem::Specification.new do |gem|
  gem.name, gem.version, gem.summary, gem.authors = 'treasure', '1.0', 'gold', ['me']
end
";
const GEM_SERVER: &str = "#!/bin/sh
printf 'Status: 200\\r\\nContent-Type: text/plain\\r\\n\\r\\n'
case $REQUEST_METHOD$PATH_INFO in
  POST/api/v1/gems) cat >$HOME/pushed; echo Registered ;;
  *) echo gold ;;
esac
";
const CONTROL: &str = "Package: treasure
Version: 1.0
Architecture: all
Maintainer: me <me@corp.example>
Description: gold
";
const APT: &str = "
Dir::State \"HOME\";
Dir::State::Lists \"HOME/lists\";
Dir::State::Status \"HOME/status\";
Dir::Cache \"HOME\";
Dir::Cache::Archives \"HOME/archives\";
Dir::Etc::SourceList \"HOME/sources.list\";
Dir::Etc::SourceParts \"/dev/null\";
Dir::Etc::Parts \"HOME/etc/apt.conf.d\";
APT::Sandbox::User \"root\";
Acquire::https::Proxy \"PROXY\";
Acquire::https::CAInfo \"BUNDLE\";
";
