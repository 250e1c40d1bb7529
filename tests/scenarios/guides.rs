//! Guides in `docs/guides`: their commands, run as printed, end with a build. The servers have the products' names, URL
//! layouts and authentication; nginx checks the token.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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
use regauth_tests::nginx::Nginx;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::terminal::Terminal;
use regauth_tests::user::User;
use tempfile::TempDir;

const WEB_SERVER: &str = "web-server.md";
const WEB_SERVER_HOST: &str = "web.corp.example";
const TOKEN: &str = "t0ken-of-a-guide";
const COMMANDS: &str = "runs these commands -->\n```console\n";

fn guides() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides")
}

/// Command of a guide, with the output that the guide shows.
struct Step {
    command: String,
    shown: Vec<String>,
}

/// Texts of all blocks of a guide after a comment that ends with `mark`.
fn blocks(guide: &str, mark: &str) -> Vec<String> {
    let text = fs::read_to_string(guides().join(guide)).unwrap();
    let mark = format!("<!-- tests/scenarios/guides.rs {mark}");
    let blocks = text.split(&mark).skip(1).map(|rest| rest.split("```").next().unwrap());
    let blocks: Vec<_> = blocks.map(str::to_owned).collect();
    assert!(!blocks.is_empty(), "{guide} has no block that is marked {mark:?}");
    blocks
}

/// Commands of all blocks of a guide with this mark.
fn steps(guide: &str, mark: &str) -> Vec<Step> {
    let text = blocks(guide, mark).concat().replace("\\\n", " ");
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command: command.to_owned(),
                shown: Vec::new(),
            }),
            None => steps.last_mut().unwrap().shown.push(line.trim().to_owned()),
        }
    }
    steps
}

/// Runs a guide's commands in a project, with the programs in `PATH`.
fn follow(guide: &str, daemon: &Daemon, cargo: &Cargo) {
    follow_marked(guide, COMMANDS, daemon, cargo);
}

fn follow_marked(guide: &str, mark: &str, daemon: &Daemon, cargo: &Cargo) {
    let user = User::at(daemon, cargo.home());
    let usual = cargo::command(cargo.home());
    let (_, path) = usual.get_envs().find(|(name, _)| *name == "PATH").unwrap();
    let ours = binary("regauthctl").parent().unwrap().display().to_string();
    let path = format!("{ours}:{}", path.unwrap().to_str().unwrap());
    for Step { command, shown } in steps(guide, mark) {
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
    let config = fs::read_to_string(cargo.home().join("cargo/config.toml")).unwrap_or_default();
    assert!(!config.contains(TOKEN));
}

/// Index URL in a guide's command.
fn index_of(guide: &str) -> String {
    let steps = steps(guide, COMMANDS);
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
fn aws() -> TempDir {
    let folder = TempDir::new().unwrap();
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

/// Files of a web server as its guide makes them, in a folder of their own.
struct WebServer {
    root: TempDir,
    authority: Authority,
}

impl WebServer {
    fn new() -> Self {
        let server = Self {
            root: TempDir::new().unwrap(),
            authority: Authority::new("Corp Root"),
        };
        fs::create_dir_all(server.root.path().join("etc/nginx")).unwrap();
        server
    }

    /// Text of the guide with the folders of this server.
    fn here(&self, text: &str) -> String {
        let root = self.root.path().display();
        let text = text.replace("/etc/nginx", &format!("{root}/etc/nginx"));
        text.replace("/srv", &format!("{root}/srv"))
    }

    /// Runs the server's commands with this mark, each with the umask that suits its files least.
    fn run(&self, mark: &str, home: &Path) {
        for Step { command, .. } in steps(WEB_SERVER, mark) {
            let umask = if command.contains("/etc/nginx") { "000" } else { "077" };
            // The password that `openssl passwd` would ask for, and a group that every machine has.
            let command = self.here(&command).replace("passwd -6", &format!("passwd -6 {TOKEN}"));
            let command = command.replace("-g www-data", "-g \"$(id -g)\"");
            exec::run(exec::command("sh", home).args(["-ec", &format!("umask {umask}; {command}")])).succeeds();
            self.check_modes();
        }
    }

    /// After each command, nobody else can read tokens and hashes, and nginx can read the crates.
    fn check_modes(&self) {
        let others = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o077;
        for file in files_below(&self.root.path().join("etc")) {
            let expected = if file.ends_with("crates-passwords") { 0o040 } else { 0 };
            assert_eq!(others(&file), expected, "{}", file.display());
        }
        for file in files_below(&self.root.path().join("srv")) {
            let expected = if file.is_dir() { 0o055 } else { 0o044 };
            assert_eq!(others(&file), expected, "{}", file.display());
        }
    }

    /// Adds the crate in this folder with the guide's script, as the person whose cargo this is.
    fn add_crate(&self, folder: &Path, cargo: &Cargo) -> exec::Output {
        let script = self.here(&blocks(WEB_SERVER, "runs this script -->\n```sh\n")[0]);
        let usual = cargo::command(cargo.home());
        let mut shell = exec::command("sh", cargo.home());
        let set = usual.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let script = format!("umask 077\n{script}");
        let added = exec::run(shell.envs(set).current_dir(folder).args(["-c", &script]));
        self.check_modes();
        added
    }

    /// Starts nginx with the guide's file. Its `listen`, its certificate and its name are those of the harness.
    fn start(&self, change: impl Fn(String) -> String) -> Nginx {
        let file = self.here(&blocks(WEB_SERVER, "runs nginx with this file -->\n```nginx\n")[0]);
        let (http, server) = file.split_once("server {\n").unwrap();
        let own = |line: &&str| {
            let word = line.split_whitespace().next().unwrap_or_default();
            !["listen", "server_name", "ssl_certificate", "ssl_certificate_key"].contains(&word)
        };
        let server: Vec<_> = server
            .trim_end()
            .strip_suffix('}')
            .unwrap()
            .lines()
            .filter(own)
            .collect();
        Nginx::builder(&self.authority.issue(&[WEB_SERVER_HOST]))
            .http(http)
            .server(&change(server.join("\n")))
            .start()
    }

    /// A daemon that reaches nginx by the name in the guide.
    fn daemon(&self, nginx: &Nginx) -> (NameProxy, Daemon) {
        let proxy = NameProxy::start(&[(WEB_SERVER_HOST, nginx.port())]);
        let daemon = Daemon::builder()
            .env("https_proxy", &proxy.url())
            .env("SSL_CERT_FILE", self.authority.file().to_str().unwrap())
            .start();
        (proxy, daemon)
    }
}

/// Files and folders below a folder, except for nginx's own.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let with_inner = |path: PathBuf| match path.is_dir() {
        true => [vec![path.clone()], files_below(&path)].concat(),
        false => vec![path],
    };
    paths
        .flat_map(with_inner)
        .filter(|path| !path.ends_with("nginx"))
        .collect()
}

/// Writes a library to a folder of the home.
fn library(cargo: &Cargo, name: &str, dependency: &str) -> PathBuf {
    let folder = cargo.home().join(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/lib.rs"), "pub fn weigh() -> u32 { 1 }\n").unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\nlicense = \"MIT\"\ndescription = \"a \
         library\"\n[features]\ndefault = [\"std\"]\nstd = []\n[dependencies]\n{dependency}\n[workspace]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    folder
}

#[test]
fn the_guide_to_a_web_server_ends_with_a_build() {
    let server = WebServer::new();
    let cargo = Cargo::new().depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    fs::remove_file(cargo.home().join("cargo/config.toml")).unwrap();
    server.run("runs these commands on the server -->\n```console\n", cargo.home());
    let tokens = server.root.path().join("etc/nginx/crates-tokens");
    assert_eq!(fs::read_to_string(&tokens).unwrap().lines().count(), 1);
    fs::write(&tokens, format!("\"Bearer {TOKEN}\" ada;\n")).unwrap();
    let ship = library(&cargo, "ship", "");
    server.add_crate(&ship, &cargo).succeeds();
    server
        .add_crate(&ship, &cargo)
        .fails()
        .says("ship 1.0.0 is there already");
    let nginx = server.start(|lines| lines);
    let (_proxy, daemon) = server.daemon(&nginx);
    follow(WEB_SERVER, &daemon, &cargo);

    // A crate with a short name, which depends on the one before.
    let fog = library(
        &cargo,
        "fog",
        r#"ship = { version = "1", registry = "corp", package = "ship" }"#,
    );
    server.add_crate(&fog, &cargo).succeeds();
    let cargo = cargo.depends_on(r#"fog = { version = "1", registry = "corp" }"#);
    cargo.build().succeeds().says("Compiling fog v1.0.0");

    // With passwords, the same files.
    server.run(
        "runs these commands on the server, for passwords -->\n```console\n",
        cargo.home(),
    );
    let lines = blocks(WEB_SERVER, "runs nginx with these lines, for passwords -->\n```nginx\n");
    let lines = server.here(&lines[0]);
    let nginx = server.start(|location| {
        let (before, _) = location.split_once("        add_header").unwrap();
        format!("{before}{lines}    }}\n")
    });
    let (_proxy, daemon) = server.daemon(&nginx);
    follow_marked(
        WEB_SERVER,
        "runs these commands, for passwords -->\n```console\n",
        &daemon,
        &cargo,
    );
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
