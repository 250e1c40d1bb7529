//! Each client by the ways that leave its files alone: `regauthctl run`, which sets what `env` prints, and a grant, by
//! `grant --as env`. A client reads only through regauth, shows the refusal of its upload, and uploads once it may.
//!
//! Maven and apt have scenarios of their own, and so has Gradle for its grant.

mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::container_registry::ContainerRegistry;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::file_server::FileServer;
use regauth_tests::git_server::GitServer;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::npm_server::NpmServer;
use regauth_tests::programs::{binary, tool};
use regauth_tests::pypi_server::{PypiServer, write_wheel};
use regauth_tests::registry::Registry;
use regauth_tests::user::User;
use tempfile::TempDir;

use self::table::{CLIENTS, FILES, GEM_SERVER, HG_SERVER, OF_CLIENTS};

const USER: &str = "me@corp.example";
const PASSWORD: &str = "passw0rd-of-the-daemon";

/// Way of a client to regauth.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Run,
    Grant,
}

/// Client, and shell scripts that use it in a home of its own.
struct Client {
    name: &'static str,
    /// Writes its project, before regauth is there.
    prepare: &'static str,
    read: &'static str,
    /// Empty if the client cannot upload.
    upload: &'static str,
    /// Writes what the client needs for a grant beyond the variables.
    of_grant: &'static str,
    ways: &'static [Way],
}

/// Servers that ask for a password, one of each sort.
struct Servers {
    crates: Registry,
    code: GitServer,
    python: PypiServer,
    node: NpmServer,
    files: FileServer,
    gems: FileServer,
    changesets: FileServer,
    images: ContainerRegistry,
}

impl Servers {
    fn start() -> Self {
        let servers = Self {
            crates: Registry::builder(Scheme::basic(USER), PASSWORD).auth_required().start(),
            code: GitServer::start(&Authority::new("Corp Root"), Scheme::basic(USER), PASSWORD),
            python: PypiServer::start(USER, PASSWORD),
            node: NpmServer::start(USER, PASSWORD),
            files: FileServer::start(USER, PASSWORD),
            gems: FileServer::with_program(USER, PASSWORD, GEM_SERVER),
            changesets: FileServer::with_program(USER, PASSWORD, HG_SERVER),
            images: ContainerRegistry::with_password(USER, PASSWORD),
        };
        servers.code.repository("plans", &[("README", "secret\n")]);
        servers.python.package("treasure");
        servers.files.write("treasure.txt", "gold\n");
        let repository = "hg init repository; cd repository; echo gold >treasure; hg commit -qAu me -m one; \
                          printf '[web]\\nallow-push = *\\n' >.hg/hgrc";
        servers.changesets.run(repository);
        let script = FILES.replace("URL", &servers.files.nginx.url(""));
        servers.files.run(&script);
        servers
    }

    fn add_to(&self, daemon: &Daemon) {
        daemon.add("crates", &self.crates);
        daemon.add_git("code", &self.code);
        let image_scope = self.images.nginx.url("/v2/");
        for (name, kind, scope, ca) in [
            ("python", "pypi", self.python.nginx.url("/"), self.python.ca()),
            ("node", "npm", self.node.url(), self.node.ca()),
            ("files", "generic", self.files.nginx.url("/"), self.files.ca()),
            ("gems", "rubygems", self.gems.nginx.url("/"), self.gems.ca()),
            (
                "changesets",
                "generic",
                self.changesets.nginx.url("/"),
                self.changesets.ca(),
            ),
            ("images", "oci", image_scope, self.images.ca()),
        ] {
            let location = ["--kind", kind, "--scope", &scope];
            daemon
                .try_add(name, &location, &Scheme::basic(USER), &ca, PASSWORD)
                .succeeds();
        }
    }

    /// Variables of the scripts: URLs of the servers and folders of the clients' programs.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let in_capitals = |url: String| url.replace("localhost", "LOCALHOST");
        let programs = [
            ("PYTHON", "python/bin"),
            ("PYTHON_CLIENTS", "python_clients/bin"),
            ("NODE_CLIENTS", "node_clients/node_modules"),
        ]
        .map(|(name, path)| (name, tool(path).display().to_string()));
        let urls = [
            ("CODE", self.code.url("plans")),
            ("PYPI", self.python.nginx.url("")),
            ("NPM", self.node.url()),
            ("FILES", self.files.nginx.url("")),
            // Programs in Go send `localhost` past every proxy, but not `LOCALHOST`.
            ("GOPROXY", in_capitals(self.files.nginx.url("/go"))),
            ("GEMS", self.gems.nginx.url("")),
            ("HG", self.changesets.nginx.url("/")),
            ("IMAGES", self.images.image("")),
            ("SAMPLE", self.images.sample_image()),
        ];
        programs.into_iter().chain(urls).collect()
    }
}

/// All clients that go one way, with the daemon.
struct Round {
    way: Way,
    servers: Servers,
    daemon: Daemon,
    folder: TempDir,
}

impl Round {
    fn new(way: Way) -> Self {
        let servers = Servers::start();
        let daemon = match way {
            Way::Run => Daemon::start(),
            // Its own user is a client like any other.
            Way::Grant => Daemon::builder().config("clients = \"grants\"\n").start(),
        };
        servers.add_to(&daemon);
        let round = Self {
            way,
            servers,
            daemon,
            folder: TempDir::new().unwrap(),
        };
        for client in round.clients() {
            let home = round.home(client);
            fs::create_dir(&home).unwrap();
            if ["uv", "twine", "pdm", "poetry"].contains(&client.name) {
                let gift = format!("gift_{}", client.name);
                write_wheel(&home.join(format!("{gift}-1.0-py3-none-any.whl")), &gift);
            }
        }
        round
    }

    fn clients(&self) -> impl Iterator<Item = &'static Client> {
        let way = self.way;
        CLIENTS.iter().filter(move |client| client.ways.contains(&way))
    }

    fn home(&self, client: &Client) -> PathBuf {
        self.folder.path().join(client.name)
    }

    /// Checks all clients at the same time.
    fn each(&self, check: impl Fn(&Client) + Sync) {
        thread::scope(|scope| {
            for client in self.clients() {
                let check = &check;
                scope.spawn(move || check(client));
            }
        });
    }

    /// Runs a script of a client, by its way to regauth or without one.
    fn run(&self, client: &Client, script: &str, environment: Option<&Environment>) -> Output {
        let home = self.home(client);
        let script = ["set -eu", script].join("\n");
        let mut command = match environment {
            Some(Environment::Run) => {
                let mut run = User::at(&self.daemon, &home).command(binary("regauthctl"));
                run.args(["run", "--", "sh", "-c", &script]);
                run
            }
            Some(Environment::Grant(variables)) => {
                let mut shell = exec::command("sh", &home);
                shell.args(["-c", &format!("{}\n{script}", client.of_grant)]);
                shell.envs(variables);
                shell
            }
            None => {
                let mut shell = exec::command("sh", &home);
                shell.args(["-c", &script]);
                shell
            }
        };
        self.prepare(&mut command, &home);
        exec::run(&mut command)
    }

    fn prepare(&self, command: &mut Command, home: &Path) {
        let toolchain = cargo::command(home);
        let path = toolchain
            .get_envs()
            .find(|(name, _)| *name == "PATH")
            .unwrap()
            .1
            .unwrap();
        command
            .current_dir(home)
            .env("PATH", path)
            .env("CARGO_HOME", home.join("cargo"))
            .envs(self.servers.variables())
            .envs(OF_CLIENTS);
    }

    /// Opens writes if `writes`, and returns the environment that clients get then.
    fn environment(&self, writes: bool) -> Environment {
        match (self.way, writes) {
            (Way::Run, false) => Environment::Run,
            (Way::Run, true) => {
                for registry in [
                    "crates",
                    "code",
                    "python",
                    "node",
                    "files",
                    "gems",
                    "changesets",
                    "images",
                ] {
                    self.daemon.ctl(&["allow", registry, "--for", "10m"]).succeeds();
                }
                Environment::Run
            }
            (Way::Grant, _) => {
                let more: &[&str] = if writes { &["--write"] } else { &[] };
                let granted = self
                    .daemon
                    .ctl(&[&["grant", "--as", "env"], more].concat())
                    .succeeds()
                    .json;
                Environment::Grant(serde_json::from_value(granted["recipe"]["variables"].clone()).unwrap())
            }
        }
    }
}

/// Environment that leads a script to regauth.
enum Environment {
    Run,
    Grant(BTreeMap<String, String>),
}

fn all_clients(way: Way) {
    let round = Round::new(way);
    let closed = round.environment(false);
    let refusal = match way {
        Way::Run => "regauthctl allow",
        Way::Grant => "regauthctl grant",
    };
    round.each(|client| {
        round.run(client, client.prepare, None).succeeds();
        // The other test shows it for those that go both ways.
        if way == client.ways[0] {
            round.run(client, client.read, None).fails();
        }
        if !client.upload.is_empty() {
            round.run(client, client.upload, Some(&closed)).fails().says(refusal);
        }
    });
    let open = round.environment(true);
    round.each(|client| {
        round.run(client, client.upload, Some(&open)).succeeds();
        round.run(client, client.read, Some(&closed)).succeeds();
    });
    LeakScan::new(PASSWORD)
        .scan_folder(round.folder.path(), &[])
        .assert_clean();
}

#[test]
fn clients_read_and_upload_by_run_once_writes_are_allowed() {
    all_clients(Way::Run);
}

#[test]
fn clients_read_with_a_grant_and_upload_with_one_for_writes() {
    all_clients(Way::Grant);
}
