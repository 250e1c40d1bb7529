//! TLS to the proxy: real clients reach a registry through a gateway, and its certificate is replaced while it serves.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::certificates::{Authority, concatenate};
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::file_server::FileServer;
use regauth_tests::gateway::{Gateway, listen_tls};
use regauth_tests::git::Git;
use regauth_tests::git_server::GitServer;
use regauth_tests::npm_server::NpmServer;
use regauth_tests::poll;
use regauth_tests::programs::{binary, tool};
use regauth_tests::pypi_server::PypiServer;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::user::User;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";

/// Module `corp.example/treasure` in the folder of a module proxy.
const GO_MODULE: &str = r#"
mkdir -p corp.example/treasure/@v && cd corp.example/treasure/@v
echo v1.0.0 >list && echo '{"Version":"v1.0.0"}' >v1.0.0.info && echo 'module corp.example/treasure' >v1.0.0.mod
echo 'package treasure' >gold.go
python3 -c 'import zipfile; zipfile.ZipFile("v1.0.0.zip", "w").write("gold.go", "corp.example/treasure@v1.0.0/gold.go")'
"#;

#[test]
fn curl_git_and_cargo_reach_registries_over_tls_to_the_proxy() {
    let registry = Registry::start(TOKEN);
    let host = GitServer::start(&Authority::new("Git Root"), Scheme::basic("me"), TOKEN);
    host.repository("plans", &[("README", "secret\n")]);
    let gateway = Gateway::start("");
    gateway
        .daemon
        .add_with("corp", &registry, &["--scope", &registry.scope()]);
    gateway.daemon.add_git("code", &host);
    let proxy = gateway.grant(&[]);
    let url = registry.nginx.url("/api/cargo/index/config.json");
    for version in ["--http1.1", "--http2"] {
        let answer = gateway.curl(&proxy).with(&[version]).get(&url);
        assert_eq!(answer.status, 200, "{version}: {}", answer.body());
    }
    let anonymous = gateway.curl(&format!("https://{}", gateway.address())).fetch(&url);
    anonymous.output.fails().says("407");
    let file = registry.file("large", 20_000_000);
    let download = gateway.curl(&proxy).get(&file);
    assert_eq!(
        download.header("content-length"),
        Some("20000000"),
        "{}",
        download.status
    );
    let roots = gateway.authority.file();
    let git = Git::new().config("http.proxySSLCAInfo", roots.to_str().unwrap());
    let git = git.proxy(&proxy).trusts(&gateway.daemon.bundle());
    git.clone_from(&host.url("plans")).succeeds();
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
        .proxy(&proxy)
        .trusts(&gateway.daemon.bundle());
    cargo.build().fails();
    let cargo = cargo.config(&format!("http.proxy-cainfo = \"{}\"", roots.display()));
    cargo.build().succeeds();
}

/// Runs a program as a new login shell of this home does, after its profile.
fn in_new_shell(home: &Path, folder: &Path, words: &[&str]) -> Output {
    let cargo = cargo::command(home);
    let environment = cargo.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut shell = exec::command("sh", home);
    shell
        .envs(environment)
        .env("SHELL", "/bin/sh")
        .current_dir(folder)
        .args(["-c", ". \"$HOME/.profile\"; exec \"$@\"", "sh"])
        .args(words);
    exec::run(&mut shell)
}

/// Files below a home that have this text.
fn files_with(home: &Path, text: &str) -> Vec<String> {
    let found = exec::run(exec::command("grep", home).args(["-rlF", text, "."]).current_dir(home));
    let mut files: Vec<String> = found.stdout.lines().map(str::to_owned).collect();
    files.sort_unstable();
    files
}

#[test]
fn setup_leads_every_new_shell_through_the_gateway_and_undo_leaves_nothing() {
    let registry = Registry::start(TOKEN);
    let host = GitServer::start(&Authority::new("Git Root"), Scheme::basic("me"), TOKEN);
    host.repository("plans", &[("README", "secret\n")]);
    let gateway = Gateway::start("");
    gateway
        .daemon
        .add_with("corp", &registry, &["--scope", &registry.scope()]);
    gateway.daemon.add_git("code", &host);
    let proxy = gateway.grant(&[]);
    let token = proxy.split(['@', ':']).nth(2).unwrap();
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    let home = cargo.home();
    fs::write(home.join(".profile"), "# mine\n").unwrap();
    let url = format!("https://{}", gateway.address());
    let (bundle, root) = (gateway.daemon.bundle(), gateway.authority.file());
    let setup = |more: &[&str], input: &str| {
        let mut setup = exec::command(binary("regauthctl"), home);
        setup.env("SHELL", "/bin/sh").args(["setup", "--gateway", &url]);
        setup.arg("--bundle").arg(&bundle).arg("--gateway-ca").arg(&root);
        exec::run_with_input(setup.args(more), input)
    };
    let kept = home.join(".local/state/regauth/gateway/token");

    setup(&["--dry-run"], "")
        .succeeds()
        .says(".profile")
        .says("+export HTTPS_PROXY=");
    assert_eq!(fs::read_to_string(home.join(".profile")).unwrap(), "# mine\n");
    let public = home.join("grant");
    fs::write(&public, token).unwrap();
    fs::set_permissions(&public, Permissions::from_mode(0o644)).unwrap();
    let public = public.to_str().unwrap();
    setup(&["--token-file", public], "").fails().says("chmod 600");
    assert!(!kept.exists());

    setup(&["--token-stdin"], &proxy).succeeds().says("Java");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        files_with(home, token),
        ["./.local/state/regauth/gateway/token", "./grant"]
    );
    let page = registry.nginx.url("/api/cargo/index/config.json");
    for words in [
        &["git", "clone", &host.url("plans"), "work"][..],
        &["cargo", "build"],
        &["curl", "--silent", "--fail", &page],
    ] {
        in_new_shell(home, &cargo.project(), words).succeeds();
    }
    let ctl = binary("regauthctl");
    let doctor = [ctl.to_str().unwrap(), "doctor", "--gateway"];
    for words in [&doctor[..], &doctor[..2]] {
        in_new_shell(home, home, words).succeeds().says("All is well");
    }
    let no_proxy = "export NO_PROXY=localhost,other.example; exec \"$0\" doctor --gateway";
    in_new_shell(home, home, &["sh", "-c", no_proxy, ctl.to_str().unwrap()])
        .fails()
        .says("NO_PROXY contains localhost")
        .says("export NO_PROXY='other.example'");
    let mut elsewhere = exec::command(&ctl, home);
    let elsewhere = exec::run(elsewhere.env("SHELL", "/bin/sh").args(["doctor", "--gateway", &url]));
    elsewhere
        .succeeds()
        .says("HTTPS_PROXY is not set")
        .says("gateway/env.sh");

    // A token that stays in its own file replaces the one that was kept.
    fs::set_permissions(public, Permissions::from_mode(0o600)).unwrap();
    setup(&["--token-file", public], "").succeeds();
    assert!(!kept.exists());
    in_new_shell(home, home, &["curl", "--silent", "--fail", &page]).succeeds();
    fs::write(public, "another").unwrap();
    in_new_shell(home, home, &doctor)
        .fails()
        .says("does not know this grant");

    let mut undo = exec::command(&ctl, home);
    exec::run(undo.env("SHELL", "/bin/sh").args(["setup", "--gateway", "--undo"])).succeeds();
    assert_eq!(fs::read_to_string(home.join(".profile")).unwrap(), "# mine\n");
    assert!(!home.join(".curlrc").exists());
    let left = exec::run(
        exec::command("find", home)
            .args([".local", "-type", "f"])
            .current_dir(home),
    );
    assert_eq!(left.stdout, "");
}

/// Servers with a package `treasure` each, and a gateway that has their passwords.
struct Packages {
    python: PypiServer,
    node: NpmServer,
    files: FileServer,
    gateway: Gateway,
}

impl Packages {
    fn start() -> Self {
        let (python, node) = (PypiServer::start(USERNAME, TOKEN), NpmServer::start(USERNAME, TOKEN));
        let (files, gateway) = (FileServer::start(USERNAME, TOKEN), Gateway::start(""));
        python.package("treasure");
        files.run(GO_MODULE);
        for (name, kind, scope, ca) in [
            ("wheels", "pypi", python.nginx.url("/"), python.ca()),
            ("packages", "npm", node.url(), node.ca()),
            ("modules", "go", files.nginx.url("/"), files.ca()),
        ] {
            let location = ["--kind", kind, "--scope", &scope];
            let scheme = Scheme::basic(USERNAME);
            gateway.daemon.try_add(name, &location, &scheme, &ca, TOKEN).succeeds();
        }
        Self {
            python,
            node,
            files,
            gateway,
        }
    }

    /// Script of each client that installs the package in an empty folder, and a file that it has then.
    fn installations(&self) -> [(&'static str, String, &'static str); 4] {
        let index = self.python.index();
        let uv = tool("python/bin/uv").display().to_string();
        // Programs in Go send `localhost` past every proxy, but not `LOCALHOST`.
        let modules = self.files.nginx.url("").replace("localhost", "LOCALHOST");
        let go_module = "printf 'module example.org/project\\n\\ngo 1.19\\n' >go.mod";
        [
            (
                "pip",
                format!("python3 -m pip install --disable-pip-version-check --target . --index-url {index} treasure"),
                "treasure-1.0.dist-info/METADATA",
            ),
            (
                "uv",
                format!("{uv} pip install --target . --index-url {index} treasure"),
                "treasure-1.0.dist-info/METADATA",
            ),
            (
                "npm",
                format!(
                    "npm install --no-update-notifier --no-fund --fetch-retries=0 --registry={} treasure",
                    self.node.url()
                ),
                "node_modules/treasure/package.json",
            ),
            (
                "go",
                format!(
                    "{go_module}; GOPROXY={modules} GONOSUMDB=* GOFLAGS=-modcacherw go get corp.example/treasure@latest"
                ),
                "go.sum",
            ),
        ]
    }

    /// Installs the package with each client. `run` gets a folder and the words of a command.
    fn assert_installed(&self, home: &Path, run: impl Fn(&Path, &[&str]) -> Output) {
        for (name, script, file) in self.installations() {
            let folder = home.join("installed").join(name);
            fs::create_dir_all(&folder).unwrap();
            run(&folder, &["sh", "-c", &script]).succeeds();
            assert!(folder.join(file).exists(), "{name}: {file}");
        }
    }
}

#[test]
fn pip_uv_npm_and_go_reach_registries_over_tls_to_the_proxy() {
    let packages = Packages::start();
    let gateway = &packages.gateway;
    let proxy = gateway.grant(&["--write"]);
    let roots = concatenate(&[&gateway.daemon.bundle(), &gateway.authority.file()]);
    let roots = roots.to_str().unwrap();
    let user = User::new(&gateway.daemon)
        .env("HTTPS_PROXY", &proxy)
        .env("SSL_CERT_FILE", roots)
        .env("PIP_CERT", roots);
    user.write(".npmrc", &format!("registry={}\ncafile={roots}\n", packages.node.url()));
    user.write("treasure/package.json", r#"{"name":"treasure","version":"1.0.0"}"#);
    let mut npm = user.command("npm");
    npm.args(["publish", "--no-update-notifier", "--fetch-retries=0"]);
    // npm insists on a login of its own, which the gateway replaces.
    npm.arg(format!(
        "--{}:_authToken=placeholder",
        packages.node.url().trim_start_matches("https:")
    ));
    exec::run(npm.current_dir(user.home().join("treasure"))).succeeds();
    packages.assert_installed(user.home(), |folder, words| {
        let mut command = user.command(words[0]);
        exec::run(command.args(&words[1..]).current_dir(folder))
    });

    // The same in a shell that setup has prepared.
    let home = TempDir::new().unwrap();
    let token = gateway.grant(&[]).split(['@', ':']).nth(2).unwrap().to_owned();
    fs::write(home.path().join(".profile"), "").unwrap();
    let mut setup = exec::command(binary("regauthctl"), home.path());
    setup
        .env("SHELL", "/bin/sh")
        .args(["setup", "--token-stdin", "--gateway"])
        .arg(format!("https://{}", gateway.address()));
    setup.arg("--bundle").arg(gateway.daemon.bundle());
    setup.arg("--gateway-ca").arg(gateway.authority.file());
    exec::run_with_input(&mut setup, &token).succeeds();
    packages.assert_installed(home.path(), |folder, words| in_new_shell(home.path(), folder, words));
    // No client writes the token down, which its environment has.
    assert_eq!(
        files_with(home.path(), &token),
        ["./.local/state/regauth/gateway/token"]
    );
}

#[test]
fn a_tunnel_inside_tls_carries_every_byte() {
    let authority = Authority::new("Elsewhere");
    let server = regauth_tests::mock_server::MockServer::builder(&authority, "localhost").start();
    let gateway = Gateway::start("");
    // The daemon's own user has no grant, so this daemon lets it reach loopback.
    let config = listen_tls(gateway.files()[0].parent().unwrap()).replace("gateway", "same-user");
    let daemon = Daemon::builder().config(&config).start();
    let status = daemon.ctl(&["status"]).succeeds().json;
    let proxy = format!(
        "https://{}",
        status["listen-tls"].as_str().unwrap().replace("127.0.0.1", "localhost")
    );
    let curl = Curl::new().proxy(&proxy).trusts(&authority.file());
    let roots = gateway.authority.file();
    let curl = curl.with(&["--proxy-cacert", roots.to_str().unwrap()]);
    assert_eq!(curl.get(&server.url("/")).status, 200);
    assert_eq!(curl.upload(&server.url("/"), 3_000_000).status, 200);
}

#[test]
fn a_certificate_is_replaced_without_a_cut_connection_and_a_broken_one_is_not_served() {
    let registry = Registry::start(TOKEN);
    let gateway = Gateway::start("");
    gateway
        .daemon
        .add_with("corp", &registry, &["--scope", &registry.scope()]);
    let proxy = gateway.grant(&[]);
    let url = registry.nginx.url("/api/cargo/index/config.json");
    let file = registry.file("slow", 1_000_000);
    let mut download = gateway.curl(&proxy).with(&["--limit-rate", "100k"]).start(&file);
    poll::wait_for("the download", || (download.received() > 0).then_some(()));

    // The certificate of another authority, cut in the middle, with a key that does not fit the old one either.
    let next = Authority::new("Next Root");
    let certificate = next.issue(&["localhost"]);
    let whole = fs::read(certificate.chain_file()).unwrap();
    let [chain, key] = gateway.files();
    fs::write(&chain, &whole[..whole.len() / 2]).unwrap();
    poll::wait_for("a warning", || {
        gateway
            .daemon
            .log()
            .contains("kept the proxy's previous certificate")
            .then_some(())
    });
    let status = gateway.daemon.ctl(&["status"]).succeeds().json;
    let problem = status["problems"][0]["message"].as_str().unwrap();
    assert!(problem.contains("it is no complete PEM file"), "{status}");
    assert_eq!(gateway.curl(&proxy).get(&url).status, 200, "the old one is in service");

    fs::write(&chain, &whole).unwrap();
    fs::copy(certificate.key_file(), &key).unwrap();
    let roots = next.file();
    let curl = gateway.curl(&proxy).with(&["--proxy-cacert", roots.to_str().unwrap()]);
    poll::wait_for("the new certificate", || {
        let fetched = curl.fetch(&url);
        fetched.output.status.success().then_some(())
    });
    gateway.curl(&proxy).fetch(&url).output.fails();
    let status = gateway.daemon.ctl(&["status"]).succeeds().json;
    assert_eq!(status.get("problems"), None, "{status}");
    assert!(download.is_running(), "the download outlives the old certificate");
    let finished = download.finish();
    assert_eq!(finished.response().header("content-length"), Some("1000000"));
    let warnings = gateway
        .daemon
        .log()
        .matches("kept the proxy's previous certificate")
        .count();
    assert!(
        (1..=2).contains(&warnings),
        "{warnings}: once for each state of the files"
    );
}

#[test]
fn a_gateway_that_cannot_be_safe_does_not_start() {
    let folder = TempDir::new().unwrap();
    let [one, other] = ["One", "Other"].map(|name| Authority::new(name).issue(&["localhost"]));
    fs::copy(one.chain_file(), folder.path().join("tls.crt")).unwrap();
    fs::copy(other.key_file(), folder.path().join("tls.key")).unwrap();
    let files = format!("listen = \"127.0.0.1:0\"\n{}", listen_tls(folder.path()));
    let absent = files.replace("tls.crt", "absent.crt");
    for (config, says) in [
        (
            "clients = \"gateway\"\nlisten = \"0.0.0.0:0\"\n",
            "serves them over TLS only",
        ),
        (
            &*files
                .replace("127.0.0.1:0", "0.0.0.0:0")
                .replace("gateway", "same-user"),
            "set clients",
        ),
        (
            "listen-tls = { address = \"127.0.0.1:0\" }\n",
            "needs an address, a certificate and its key",
        ),
        (&*absent, "absent.crt: No such file"),
        (&*files, "keys may not be consistent"),
    ] {
        let home = TempDir::new().unwrap();
        let file = home.path().join("config.toml");
        fs::write(&file, config).unwrap();
        let mut regauthd = exec::command(binary("regauthd"), home.path());
        regauthd
            .arg("--home")
            .arg(home.path().join("home"))
            .arg("--config")
            .arg(&file);
        exec::run(&mut regauthd).fails().says(says);
    }
}
