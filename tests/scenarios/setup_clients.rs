//! `regauthctl setup` for clients with files of their own: each real one fetches from a server that needs a password, and its
//! files are restored byte for byte.

mod node;
mod own_files;

use std::fs;
use std::path::PathBuf;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::container_registry::ContainerRegistry;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::Output;
use regauth_tests::file_server::FileServer;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::maven::Maven;
use regauth_tests::programs::tool;
use regauth_tests::pypi_server::PypiServer;
use regauth_tests::user::User;

const USER: &str = "me@corp.example";
const PASSWORD: &str = "passw0rd-of-the-daemon";

/// Client, with the files that its user has before setup.
struct Client<'a> {
    name: &'static str,
    files: &'a [(&'static str, &'a str)],
}

impl Client<'_> {
    /// Uses the client without setup, with it, and restores it. Returns what it printed with setup.
    fn check(&self, user: &User, mut fetch: impl FnMut() -> Output) -> Output {
        for (file, mine) in self.files {
            user.write(file, mine);
        }
        fetch().fails();
        let set_up = user.ctl(&["setup", self.name]).succeeds();
        assert!(!set_up.stdout.contains("Nothing to change"), "{}", set_up.report());
        user.ctl(&["setup", self.name]).succeeds().says("Nothing to change");
        let fetched = fetch().succeeds();
        LeakScan::new(PASSWORD).scan_folder(user.home(), &[]).assert_clean();
        user.ctl(&["setup", self.name, "--undo"]).succeeds();
        for (file, mine) in self.files {
            assert_eq!(user.read(file).as_deref(), Some(*mine), "{file}");
        }
        fetched
    }
}

fn server_daemon_user(kind: &str) -> (FileServer, Daemon, User) {
    let (server, daemon) = (FileServer::start(USER, PASSWORD), Daemon::start());
    server.write("private/treasure.txt", "gold\n");
    server.add_to(&daemon, kind);
    let user = User::new(&daemon);
    (server, daemon, user)
}

#[test]
fn wget_fetches_after_setup() {
    let (server, _daemon, user) = server_daemon_user("generic");
    let url = server.nginx.url("/private/treasure.txt");
    let client = Client {
        name: "wget",
        files: &[(".wgetrc", "# mine\nCheck-Certificate = on\ntimeout = 20")],
    };
    client
        .check(&user, || user.run("wget", &["-q", "-O-", "--tries=1", &url]))
        .says("gold");
}

#[test]
fn aria2_fetches_after_setup() {
    let (server, _daemon, user) = server_daemon_user("generic");
    let url = server.nginx.url("/private/treasure.txt");
    let client = Client {
        name: "aria2",
        files: &[(".config/aria2/aria2.conf", "# mine\nmax-tries=1\n")],
    };
    client.check(&user, || {
        user.run("aria2c", &["--quiet", "--allow-overwrite=true", "--out=treasure", &url])
    });
    assert_eq!(user.read("treasure").unwrap(), "gold\n");
}

/// RubyGems and Bundler read the same file.
#[test]
fn gem_and_bundler_install_after_setup() {
    let (server, _daemon, user) = server_daemon_user("generic");
    server.write("treasure.gemspec", GEMSPEC);
    server
        .run("mkdir gems; gem build --quiet treasure.gemspec --output gems/treasure-1.0.gem; gem generate_index -d .");
    let source = server.nginx.url("/");
    user.write("Gemfile", &format!("source \"{source}\"\ngem \"treasure\"\n"));
    let user = user.env("BUNDLE_RETRY", "0").env("BUNDLE_PATH", "bundled");
    let gem = [
        "install",
        "treasure",
        "--clear-sources",
        "--source",
        &source,
        "--install-dir",
        "gems",
        "--no-document",
    ];
    let client = Client {
        name: "gem",
        files: &[(".gemrc", "---\n# mine\n:backtrace: false\ngem: --no-document # short\n")],
    };
    client.check(&user, || {
        let gem = user.run("gem", &gem);
        if gem.status.success() {
            user.run("bundle", &["install"])
        } else {
            gem
        }
    });
    assert!(user.home().join("gems/gems/treasure-1.0").exists());
    server.assert_served("/gems/treasure-1.0.gem");
}

#[test]
fn mercurial_clones_after_setup() {
    let server = FileServer::with_program(USER, PASSWORD, HGWEB);
    server.run("hg init repository; cd repository; echo gold > treasure; hg commit -qAu me -m one");
    let daemon = Daemon::start();
    server.add_to(&daemon, "generic");
    let user = User::new(&daemon);
    let url = server.nginx.url("/");
    // Mercurial sends loopback past a proxy unless told otherwise.
    let client = Client {
        name: "hg",
        files: &[(
            ".hgrc",
            "[ui]\nusername = me\n; mine\n[http_proxy]\nalways = True\n\n[extensions]\n",
        )],
    };
    client.check(&user, || user.run("hg", &["clone", "--noninteractive", &url, "clone"]));
    assert_eq!(user.read("clone/treasure").unwrap(), "gold\n");
}

#[test]
fn maven_resolves_after_setup() {
    Maven::each(resolves_after_setup);
}

fn resolves_after_setup(maven: Maven) {
    let (server, _daemon, user) = server_daemon_user("generic");
    server.write("com/corp/parent/1.0/parent-1.0.pom", pom("parent", ""));
    user.write("pom.xml", &project_pom(&server));
    let settings = "<?xml version=\"1.0\"?>\n<!-- mine -->\n<settings>\n  <interactiveMode>false</interactiveMode>\n\
                    </settings>\n";
    let client = Client {
        name: "maven",
        files: &[
            (".m2/settings.xml", settings),
            (".mavenrc", "# mine\nMAVEN_OPTS=\"$MAVEN_OPTS -Xmx128m\"\n"),
        ],
    };
    // Java takes the home folder from the system's list of users.
    let home = format!("-Duser.home={}", user.home().display());
    let user = user.env("JAVA_TOOL_OPTIONS", &home);
    let program = maven.program().display().to_string();
    client.check(&user, || {
        let resolved = user.run(
            &program,
            &["-B", "-X", "-U", "-Dmaven.repo.local=repository", "validate"],
        );
        maven.assert_transport(&resolved);
        resolved
    });
    server.assert_served("/parent-1.0.pom");
    assert!(
        user.home()
            .join("repository/com/corp/parent/1.0/parent-1.0.pom")
            .exists()
    );
}

#[test]
fn gradle_resolves_after_setup() {
    let (server, _daemon, user) = server_daemon_user("generic");
    server.write(
        "com/corp/treasure/1.0/treasure-1.0.pom",
        pom("treasure", "").replace(">pom<", ">jar<"),
    );
    server.write("com/corp/treasure/1.0/treasure-1.0.jar", "gold\n");
    user.write("build.gradle", &GRADLE.replace("URL", &server.nginx.url("/")));
    let gradle_home = user.home().join(".gradle").display().to_string();
    let user = user.env("GRADLE_USER_HOME", &gradle_home);
    // The JVM sends loopback past a proxy unless told otherwise.
    let mine = "# mine\norg.gradle.daemon=false\nsystemProp.http.nonProxyHosts=\n";
    let client = Client {
        name: "gradle",
        files: &[(".gradle/gradle.properties", mine)],
    };
    client
        .check(&user, || user.run("gradle", &["--quiet", "--no-daemon", "show"]))
        .says("treasure-1.0.jar");
    server.assert_served("/treasure-1.0.jar");
}

/// poetry and pdm take all from the environment. pdm uploads with a login, which may be anything.
#[test]
fn poetry_and_pdm_resolve_and_pdm_publishes_after_setup_of_the_shell() {
    let (server, daemon) = (PypiServer::start(USER, PASSWORD), Daemon::start());
    server.package("treasure");
    let root = server.nginx.url("/");
    daemon
        .try_add(
            "corp",
            &["--kind", "pypi", "--scope", &root],
            &Scheme::basic(USER),
            &server.ca(),
            PASSWORD,
        )
        .succeeds();
    let user = User::new(&daemon)
        .env("SHELL", "/bin/bash")
        .env("PDM_CHECK_UPDATE", "0");
    let project = PYPROJECT.replace("INDEX", &server.index());
    for tool in ["poetry", "pdm"] {
        user.write(&format!("{tool}/pyproject.toml"), &project);
    }
    fs::create_dir(user.home().join("pdm/dist")).unwrap();
    let wheel = user.home().join("pdm/dist/treasure-1.0-py3-none-any.whl");
    fs::copy(server.wheel("treasure"), wheel).unwrap();
    let run = |program: &str, arguments: &str| {
        let path = tool(&format!("python_clients/bin/{program}"));
        let line = format!(". ~/.bashrc; cd {program}; exec {} {arguments}", path.display());
        user.run("bash", &["-c", &line])
    };
    user.write(".bashrc", "# mine\n");
    for program in ["poetry", "pdm"] {
        run(program, "lock").fails();
    }
    user.ctl(&["setup", "shell"]).succeeds();
    for program in ["poetry", "pdm"] {
        run(program, "lock").succeeds();
        let locked = user.read(&format!("{program}/{program}.lock")).unwrap();
        assert!(locked.contains("name = \"treasure\""), "{locked}");
    }
    let publish = format!("publish --no-build -r {root} -u x -P x");
    run("pdm", &publish).fails().says("regauthctl allow corp --for 5m");
    daemon.ctl(&["allow", "corp"]).succeeds();
    fs::remove_file(server.wheel("treasure")).unwrap();
    run("pdm", &publish).succeeds();
    assert!(server.wheel("treasure").exists());
    LeakScan::new(PASSWORD).scan_folder(user.home(), &[]).assert_clean();
}

#[test]
fn buildah_pulls_after_setup_and_gives_containers_no_proxy() {
    let registry = ContainerRegistry::with_password(USER, PASSWORD);
    let daemon = Daemon::start();
    let scope = registry.nginx.url("/v2/");
    daemon
        .try_add(
            "corp",
            &["--kind", "generic", "--scope", &scope],
            &Scheme::basic(USER),
            &registry.ca(),
            PASSWORD,
        )
        .succeeds();
    daemon.ctl(&["allow", "corp"]).succeeds();
    let image = registry.image("treasure:1");
    registry
        .skopeo(&daemon, &daemon.proxy(), &["copy", &registry.sample_image(), &image])
        .succeeds();
    let user = User::new(&daemon);
    let configuration = user.home().join("containers.conf");
    let user = user.env("CONTAINERS_CONF", &configuration.display().to_string());
    let mine = "# mine\n[engine]\nenv = [\"LANG=C\"] # two\n";
    user.write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    let client = Client {
        name: "podman",
        files: &[("containers.conf", mine)],
    };
    let root: PathBuf = user.home().join("storage");
    let run_root = user.home().join("run");
    let arguments = [
        "--root",
        root.to_str().unwrap(),
        "--runroot",
        run_root.to_str().unwrap(),
        "--storage-driver",
        "vfs",
        "pull",
        "--signature-policy",
        "policy.json",
        &image,
    ];
    client.check(&user, || user.run("buildah", &arguments));
    let shown = user.ctl(&["setup", "buildah", "--dry-run"]).succeeds();
    shown.says("+http_proxy = false").says("SSL_CERT_FILE=");
}

/// Project whose parent is in the repository.
fn project_pom(server: &FileServer) -> String {
    let parent = "<parent><groupId>com.corp</groupId><artifactId>parent</artifactId><version>1.0</version></parent>";
    let repository = format!(
        "<repositories><repository><id>corp</id><url>{}</url></repository></repositories>",
        server.nginx.url("/")
    );
    pom("project", &format!("{parent}{repository}"))
}

fn pom(name: &str, content: &str) -> String {
    format!(
        "<project><modelVersion>4.0.0</modelVersion>{content}<groupId>com.corp</groupId><artifactId>{name}</artifactId>\
         <version>1.0</version><packaging>pom</packaging></project>"
    )
}

const PYPROJECT: &str = "[project]
name = \"project\"
version = \"1.0\"
requires-python = \">=3.11\"
dependencies = [\"treasure==1.0\"]

[[tool.poetry.source]]
name = \"corp\"
url = \"INDEX\"

[[tool.pdm.source]]
name = \"pypi\"
url = \"INDEX\"
";

const GEMSPEC: &str = "Gem::Specification.new do |gem|
  gem.name, gem.version, gem.summary, gem.authors = 'treasure', '1.0', 'gold', ['me']
end
";

const HGWEB: &str = "#!/usr/bin/python3
import os
from mercurial.hgweb import hgweb, wsgicgi
wsgicgi.launch(hgweb(os.environb[b'HOME'] + b'/repository', b'repository'))
";

const GRADLE: &str = "
repositories { maven { url 'URL' } }
configurations { treasure }
dependencies { treasure 'com.corp:treasure:1.0' }
task show { doLast { configurations.treasure.each { println it } } }
";
