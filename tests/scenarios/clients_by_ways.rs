//! Each client by the ways that leave its files alone: `regauthctl run`, which sets what `env` prints, and a grant, by
//! `grant --as env`. A client reads only through regauth, shows the refusal of its upload, and uploads once it may.
//!
//! Maven and apt have scenarios of their own, and so has Gradle for its grant.

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

const CLIENT: Client = Client {
    name: "",
    prepare: "",
    read: "",
    upload: "",
    of_grant: "",
    ways: &[Way::Run, Way::Grant],
};

/// It reads no variable for the bundle, so `run` does not reach it. With a grant, its file has the rest.
const FILES_ONLY: &[Way] = &[Way::Grant];

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

    /// Where the servers and the clients' programs are, for the scripts.
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
                shell.envs(variables.iter().map(|(name, value)| (name, value)));
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

    /// What clients get before writes are open, or after.
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

/// How a script gets to regauth.
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

const CLIENTS: &[Client] = &[
    Client {
        name: "cargo",
        prepare: r#"
            mkdir -p gift/src project/src && touch gift/src/lib.rs project/src/lib.rs
            printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\nlicense = "MIT"\ndescription = "a"\n' gift >gift/Cargo.toml
            printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n' project >project/Cargo.toml
            echo 'ship = { version = "1", registry = "crates" }' >>project/Cargo.toml"#,
        read: "cd project && cargo fetch",
        upload: "cd gift && cargo publish --registry crates --no-verify --allow-dirty",
        ..CLIENT
    },
    Client {
        name: "git",
        prepare: "git init -q --initial-branch gift gift
            git -C gift -c user.name=me -c user.email=me@corp.example commit -q --allow-empty --message gold",
        read: "git clone --branch gift $CODE clone",
        upload: "git -C gift push $CODE gift",
        ..CLIENT
    },
    Client {
        name: "pip",
        read: "python3 -m pip install --no-input --target read --index-url $PYPI/simple/ treasure",
        ..CLIENT
    },
    Client {
        name: "uv",
        read: "$PYTHON/uv pip install --target read --index-url $PYPI/simple/ gift_uv",
        upload: "export UV_PUBLISH_USERNAME=x UV_PUBLISH_PASSWORD=x
            $PYTHON/uv publish --publish-url $PYPI/ gift_uv-*.whl",
        ..CLIENT
    },
    Client {
        name: "twine",
        read: "python3 -m pip install --no-input --target read --index-url $PYPI/simple/ gift_twine",
        upload: "export TWINE_USERNAME=x TWINE_PASSWORD=x
            $PYTHON/twine upload --non-interactive --disable-progress-bar --repository-url $PYPI/ gift_twine-*.whl",
        ..CLIENT
    },
    Client {
        name: "pdm",
        prepare: r#"mkdir dist && cp gift_pdm-*.whl dist/
            printf '[project]\nname = "project"\nversion = "1.0"\nrequires-python = ">=3.11"\n' >pyproject.toml
            printf 'dependencies = ["gift_pdm==1.0"]\n[[tool.pdm.source]]\nname = "pypi"\nurl = "%s"\n' $PYPI/simple/ >>pyproject.toml"#,
        read: "$PYTHON_CLIENTS/pdm lock",
        upload: "$PYTHON_CLIENTS/pdm publish --no-build -r $PYPI/ -u x -P x",
        ..CLIENT
    },
    Client {
        name: "poetry",
        prepare: r#"
            printf '[project]\nname = "project"\nversion = "1.0"\nrequires-python = ">=3.11"\n' >pyproject.toml
            printf 'dependencies = ["treasure==1.0"]\n[[tool.poetry.source]]\nname = "corp"\nurl = "%s"\n' $PYPI/simple/ >>pyproject.toml
            mkdir -p gift/dist && cp gift_poetry-*.whl gift/dist/
            printf '[project]\nname = "gift_poetry"\nversion = "1.0"\n' >gift/pyproject.toml"#,
        read: "$PYTHON_CLIENTS/poetry lock",
        upload: "cd gift && POETRY_REPOSITORIES_CORP_URL=$PYPI/ $PYTHON_CLIENTS/poetry publish --no-interaction --repository corp",
        ..CLIENT
    },
    Client {
        name: "npm",
        prepare: NODE_PROJECTS,
        read: "cd project && npm install --no-audit --no-fund && test -d node_modules/gift-npm",
        upload: "cd gift && npm publish",
        ..CLIENT
    },
    Client {
        name: "pnpm",
        prepare: NODE_PROJECTS,
        read: "cd project && node $NODE_CLIENTS/pnpm/bin/pnpm.mjs install && test -d node_modules/gift-pnpm",
        upload: "cd gift && node $NODE_CLIENTS/pnpm/bin/pnpm.mjs publish --no-git-checks",
        ..CLIENT
    },
    Client {
        name: "yarn-classic",
        prepare: NODE_PROJECTS,
        read: "cd project && node $NODE_CLIENTS/yarn-classic/bin/yarn.js install --non-interactive",
        upload: "cd gift && node $NODE_CLIENTS/yarn-classic/bin/yarn.js publish --non-interactive",
        ..CLIENT
    },
    Client {
        name: "yarn-berry",
        prepare: BERRY_PROJECTS,
        read: "cd project && node $NODE_CLIENTS/@yarnpkg/cli-dist/bin/yarn.js install",
        upload: "export YARN_NPM_AUTH_TOKEN=x
            cd gift && node $NODE_CLIENTS/@yarnpkg/cli-dist/bin/yarn.js npm publish",
        ..CLIENT
    },
    Client {
        name: "bun",
        prepare: NODE_PROJECTS,
        read: "cd project && $NODE_CLIENTS/@oven/bun-linux-*/bin/bun install && test -d node_modules/gift-bun",
        upload: "cd gift && $NODE_CLIENTS/@oven/bun-linux-*/bin/bun publish",
        ..CLIENT
    },
    Client {
        name: "gem",
        prepare: r#"
            echo 'Gem::Specification.new { |gem| gem.name, gem.version, gem.summary, gem.authors = "gift", "1.0", "a", ["me"] }' >a.gemspec
            gem build --quiet a.gemspec --output gift.gem"#,
        read: "gem install treasure --clear-sources --source $FILES/ --install-dir read --no-document",
        upload: "gem push gift.gem --host $GEMS",
        ..CLIENT
    },
    Client {
        name: "bundler",
        prepare: "printf 'source \"%s/\"\\ngem \"treasure\"\\n' $FILES >Gemfile",
        read: "BUNDLE_RETRY=0 BUNDLE_PATH=read bundle install",
        of_grant: "printf 'http_proxy: %s\\n:ssl_ca_cert: %s\\n' $HTTPS_PROXY $SSL_CERT_FILE >.gemrc",
        ..CLIENT
    },
    Client {
        name: "go",
        prepare: "printf 'module example.org/project\\n\\ngo 1.19\\n' >go.mod",
        read: "go get corp.example/treasure@latest",
        ..CLIENT
    },
    Client {
        name: "composer",
        prepare: r#"printf '{"repositories":[{"packagist.org":false},{"type":"composer","url":"%s/composer"}],' $FILES >composer.json
            echo '"require":{"corp/treasure":"1.0.0"}}' >>composer.json"#,
        read: "composer --no-interaction --no-cache install",
        ..CLIENT
    },
    Client {
        name: "gradle",
        prepare: r#"
            echo gold >gift.txt && echo "rootProject.name = 'gift'" >settings.gradle
            cat >build.gradle <<END
                apply plugin: 'ivy-publish'
                repositories { maven { url '$FILES/maven' } }
                configurations { wanted }
                dependencies { wanted 'corp:treasure:1' }
                task show { doLast { configurations.wanted.each { println it.name } } }
                publishing {
                    repositories { ivy { url '$FILES/ivy' } }
                    publications { gift(IvyPublication) { organisation 'corp'; revision '1'; artifact file('gift.txt') } }
                }
END"#,
        read: "gradle --no-daemon --gradle-user-home .gradle --quiet show",
        upload: "gradle --no-daemon --gradle-user-home .gradle --quiet publish",
        ways: &[Way::Run],
        ..CLIENT
    },
    Client {
        name: "skopeo",
        read: "skopeo inspect --raw ${IMAGES}gift:1",
        upload: "skopeo --insecure-policy copy $SAMPLE ${IMAGES}gift:1",
        ..CLIENT
    },
    Client {
        name: "curl",
        prepare: "echo gold >gift",
        read: "curl -sS --fail-with-body $FILES/treasure.txt",
        upload: "curl -sS --fail-with-body -T gift $FILES/gift-of-curl",
        ..CLIENT
    },
    Client {
        name: "wget",
        prepare: "echo gold >gift",
        read: "wget -nv -O- --tries=1 $FILES/treasure.txt",
        upload: "wget -nv -O- --tries=1 --method=PUT --body-file=gift $FILES/gift-of-wget",
        of_grant: "echo ca_certificate = $SSL_CERT_FILE >.wgetrc",
        ways: FILES_ONLY,
    },
    Client {
        name: "aria2",
        read: "aria2c --quiet --max-tries=1 --allow-overwrite=true $FILES/treasure.txt",
        of_grant: "mkdir -p .config/aria2 && echo ca-certificate=$SSL_CERT_FILE >.config/aria2/aria2.conf",
        ways: FILES_ONLY,
        ..CLIENT
    },
    Client {
        name: "mercurial",
        prepare: "hg init gift && cd gift && echo more >more && hg commit -qAu me -m two",
        read: "hg clone --noninteractive $HG clone",
        upload: "hg -R gift push --noninteractive --force $HG",
        of_grant: "printf '[http_proxy]\\nalways = True\\nhost = %s\\n[web]\\ncacerts = %s\\n' $HTTPS_PROXY $SSL_CERT_FILE >.hgrc",
        ways: FILES_ONLY,
        ..CLIENT
    },
];

/// Package that is called as the home, and a project that needs it. Each wants a token in its file to publish.
const NODE_PROJECTS: &str = r#"
    gift=gift-$(basename "$PWD") && mkdir gift project
    printf '{"name":"%s","version":"1.0.0","license":"MIT"}' $gift >gift/package.json
    printf '{"name":"project","version":"1.0.0","license":"MIT","dependencies":{"%s":"1.0.0"}}' $gift >project/package.json
    printf 'registry=%s\n%s:_authToken=x\nfetch-retries=0\n' $NPM ${NPM#https:} >.npmrc"#;

const BERRY_PROJECTS: &str = r#"
    mkdir gift project
    echo '{"name":"gift-berry","version":"1.0.0","license":"MIT"}' >gift/package.json
    echo '{"name":"project","version":"1.0.0","license":"MIT","dependencies":{"gift-berry":"1.0.0"}}' >project/package.json
    printf 'npmRegistryServer: "%s"\nnodeLinker: node-modules\nenableTelemetry: false\nnpmMinimalAgeGate: 0\n' $NPM >.yarnrc.yml
    echo 'enableGlobalCache: false' >>.yarnrc.yml
    touch gift/yarn.lock project/yarn.lock
    cd gift && node $NODE_CLIENTS/@yarnpkg/cli-dist/bin/yarn.js install"#;

/// Settings of the clients themselves.
const OF_CLIENTS: [(&str, &str); 9] = [
    ("COMPOSER_ALLOW_SUPERUSER", "1"),
    // Yarn 1 ignores the home folder of root, but not of a fake root.
    ("FAKEROOTKEY", "1"),
    ("GEM_HOST_API_KEY", "x"),
    ("GOFLAGS", "-modcacherw"),
    // Java sends loopback past a proxy unless told otherwise.
    ("JAVA_TOOL_OPTIONS", "-Dhttp.nonProxyHosts="),
    ("GONOSUMDB", "*"),
    ("PDM_CHECK_UPDATE", "0"),
    // It would repeat for a minute what fails without regauth.
    ("PNPM_CONFIG_FETCH_RETRIES", "0"),
    ("UV_PYTHON_DOWNLOADS", "never"),
];

/// Content of the file server: repositories of gems, Go modules and Composer packages.
const FILES: &str = r#"
echo 'Gem::Specification.new { |gem| gem.name, gem.version, gem.summary, gem.authors = "treasure", "1.0", "gold", ["me"] }' >a.gemspec
mkdir gems && gem build --quiet a.gemspec --output gems/treasure-1.0.gem && gem generate_index -d .
mkdir -p go/corp.example/treasure/@v && cd go/corp.example/treasure/@v
echo v1.0.0 >list && echo '{"Version":"v1.0.0"}' >v1.0.0.info && echo 'module corp.example/treasure' >v1.0.0.mod
echo 'package treasure' >gold.go
python3 -c 'import zipfile; zipfile.ZipFile("v1.0.0.zip", "w").write("gold.go", "corp.example/treasure@v1.0.0/gold.go")'
cd - && mkdir -p maven/corp/treasure/1 && echo gold >maven/corp/treasure/1/treasure-1.jar
echo '<project><modelVersion>4.0.0</modelVersion><groupId>corp</groupId><artifactId>treasure</artifactId><version>1</version></project>' \
    >maven/corp/treasure/1/treasure-1.pom
mkdir composer && cd composer
mkdir treasure && echo '{"name":"corp/treasure"}' >treasure/composer.json
python3 -m zipfile -c treasure.zip treasure/composer.json
echo '{"packages":{"corp/treasure":{"1.0.0":{"name":"corp/treasure","version":"1.0.0",' >packages.json
echo '"dist":{"type":"zip","url":"URL/composer/treasure.zip"}}}}}' >>packages.json
"#;

const GEM_SERVER: &str = "#!/bin/sh
printf 'Status: 200\\r\\nContent-Type: text/plain\\r\\n\\r\\n'
case $REQUEST_METHOD$PATH_INFO in
  POST/api/v1/gems) cat >$HOME/pushed; echo Registered ;;
  *) echo gold ;;
esac
";

const HG_SERVER: &str = "#!/usr/bin/python3
import os
from mercurial.hgweb import hgweb, wsgicgi
wsgicgi.launch(hgweb(os.environb[b'HOME'] + b'/repository', b'repository'))
";
