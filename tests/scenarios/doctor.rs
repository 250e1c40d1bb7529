//! `regauthctl doctor`: it finds and names each broken set-up.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::git_server::GitServer;
use regauth_tests::programs::{binary, tool};
use regauth_tests::registry::{Downloads, Registry};
use regauth_tests::user::User;
use serde_json::Value;

const TOKEN: &str = "t0ken-of-the-daemon";
const CONFIG: &str = "cargo/config.toml";

/// Working set-up of a user: a registry, a git host, cargo and git. Each test breaks one thing.
struct Case {
    registry: Registry,
    _git: GitServer,
    daemon: Daemon,
    user: User,
}

impl Case {
    fn working() -> Self {
        let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
        let git = GitServer::start(&Authority::new("Corp Root"), Scheme::basic("me"), TOKEN);
        let daemon = Daemon::start();
        daemon.add("corp", &registry);
        daemon.add_git("plans", &git);
        let cargo = cargo::command(Path::new("/"));
        let (_, path) = cargo.get_envs().find(|(name, _)| *name == "PATH").unwrap();
        let user = User::new(&daemon).env("PATH", path.unwrap().to_str().unwrap());
        user.ctl(&["setup", "cargo"]).succeeds();
        user.ctl(&["setup", "git"]).succeeds();
        Self {
            registry,
            _git: git,
            daemon,
            user,
        }
    }

    /// Adds a registry of another kind on the same host and sets its client up.
    fn with(self, kind: &str, client: &str) -> Self {
        let scope = self.registry.nginx.url(&format!("/api/cargo/{kind}/"));
        let location = ["--kind", kind, "--scope", &scope];
        let added = self
            .daemon
            .try_add(kind, &location, &Scheme::bearer(), &self.registry.ca(), TOKEN);
        added.succeeds();
        self.user.ctl(&["setup", client]).succeeds();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.user = self.user.env(name, value);
        self
    }

    fn edit(&self, file: &str, edit: impl Fn(&str) -> String) {
        let text = self.user.read(file).unwrap_or_default();
        let edited = edit(&text);
        assert_ne!(text, edited, "the edit changed nothing");
        self.user.write(file, &edited);
    }

    /// Codes of the findings that are broken; asserts that the exit code agrees.
    fn broken(&self, arguments: &[&str]) -> Vec<String> {
        self.codes(arguments, true)
    }

    fn codes(&self, arguments: &[&str], broken: bool) -> Vec<String> {
        let mut doctor = self.user.command(binary("regauthctl"));
        let output = exec::run(doctor.args(["doctor", "--json"]).args(arguments));
        let diagnosis: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report()));
        assert_eq!(
            diagnosis["well"] == true,
            output.status.success(),
            "{}",
            output.report()
        );
        let findings = diagnosis["findings"].as_array().unwrap().iter();
        for finding in findings.clone() {
            assert!(
                ["what", "why", "mend"]
                    .iter()
                    .all(|key| !finding[key].as_str().unwrap().is_empty()),
                "{finding}"
            );
        }
        let wanted = findings.filter(|finding| finding["broken"] == broken);
        let codes = wanted.flat_map(|finding| {
            let also = finding["also"].as_array().into_iter().flatten();
            std::iter::once(finding).chain(also)
        });
        codes
            .map(|finding| finding["code"].as_str().unwrap().to_owned())
            .collect()
    }

    #[track_caller]
    fn finds(&self, code: &str) {
        assert_eq!(self.broken(&[]), [code]);
    }
}

#[test]
fn finds_nothing_in_a_working_set_up() {
    let case = Case::working();
    assert_eq!(case.broken(&[]), [""; 0]);
    case.user.ctl(&["doctor"]).succeeds().says("All is well.");
    case.edit(CONFIG, |text| format!("[build]\njobs = 1\n\n{text}"));
    case.edit(".gitconfig", |text| format!("{text}[user]\n\tname = Me\n"));
    assert_eq!(case.broken(&[]), [""; 0]);
    case.user.ctl(&["setup", "cargo"]).succeeds().says("Nothing to change");
}

/// Every client that is installed here is set up, and the shell is a new one.
#[test]
fn finds_nothing_after_setup_all() {
    let mut case = Case::working();
    for kind in ["pypi", "npm", "generic"] {
        let scope = case.registry.nginx.url(&format!("/api/cargo/{kind}/"));
        let location = ["--kind", kind, "--scope", &scope];
        let ca = case.registry.ca();
        let added = case.daemon.try_add(kind, &location, &Scheme::bearer(), &ca, TOKEN);
        added.succeeds();
    }
    let uv = tool("python/bin/uv").parent().unwrap().display().to_string();
    let cargo = cargo::command(Path::new("/"));
    let (_, path) = cargo.get_envs().find(|(name, _)| *name == "PATH").unwrap();
    let path = format!("{}:{uv}", path.unwrap().to_str().unwrap());
    case = case.env("PATH", &path).env("SHELL", "/bin/bash");
    case.user.ctl(&["setup", "--all"]).succeeds();
    // /etc/profile sets another PATH.
    let line = format!("PATH={path} {} doctor", binary("regauthctl").display());
    case.user.run("bash", &["-lc", &line]).succeeds().says("All is well.");
}

#[test]
fn finds_a_daemon_that_does_not_run() {
    let mut case = Case::working();
    case.daemon.stop();
    case.finds("daemon-unreachable");
}

#[test]
fn finds_a_rejected_token() {
    let case = Case::working();
    case.registry.accept(&["another"]);
    case.finds("token-rejected");
    case.user.ctl(&["doctor"]).fails().says("fix: regauthctl rotate corp");
}

#[test]
fn finds_a_registry_that_is_down_or_does_not_exist() {
    let mut case = Case::working();
    let location = ["--scope", "https://no-such-host.invalid/", "--no-verify"];
    case.daemon
        .try_add("ghost", &location, &Scheme::bearer(), &case.registry.ca(), TOKEN)
        .succeeds();
    case.registry.nginx.stop();
    let found = case.broken(&[]);
    assert!(found.contains(&"registry-not-found".to_owned()), "{found:?}");
    assert!(found.contains(&"registry-not-reached".to_owned()), "{found:?}");
}

#[test]
fn fix_writes_a_missing_bundle() {
    let case = Case::working();
    fs::remove_file(case.daemon.bundle()).unwrap();
    let found = case.broken(&[]);
    assert!(found.contains(&"bundle-amiss".to_owned()), "{found:?}");
    assert_eq!(case.broken(&["--fix"]), [""; 0]);
}

#[test]
fn fix_closes_a_configuration_that_others_can_read() {
    let case = Case::working();
    let config = case.daemon.home().join("config.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    case.finds("configuration-open");
    assert_eq!(case.broken(&["--fix"]), [""; 0]);
    assert_eq!(config.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn fix_sets_up_a_client_whose_file_is_missing() {
    let case = Case::working();
    fs::remove_file(case.user.home().join(CONFIG)).unwrap();
    assert!(case.broken(&[]).contains(&"set-up-outdated".to_owned()));
    assert_eq!(case.broken(&["--fix"]), [""; 0]);
}

#[test]
fn finds_no_proxy_that_names_a_registry() {
    Case::working()
        .env("NO_PROXY", "other.example,localhost")
        .finds("no-proxy-bypasses");
}

#[test]
fn finds_cargo_without_a_proxy() {
    let case = Case::working();
    case.edit(CONFIG, |text| text.replace("proxy = ", "#"));
    assert!(case.broken(&[]).contains(&"cargo-no-proxy".to_owned()));
}

#[test]
fn finds_a_variable_that_disables_cargos_proxy() {
    Case::working().env("CARGO_HTTP_PROXY", "").finds("cargo-other-proxy");
}

#[test]
fn finds_cargos_proxy_overridden_by_gits() {
    let case = Case::working();
    case.edit(CONFIG, |text| text.replace("proxy = ", "#"));
    case.edit(".gitconfig", |text| {
        format!("{text}[http]\n\tproxy = http://corp:3128\n")
    });
    let proxy = case.daemon.proxy();
    let case = case.env("HTTPS_PROXY", &proxy);
    case.user
        .ctl(&["doctor"])
        .fails()
        .says("cargo uses another proxy, from git's http.proxy");
}

#[test]
fn finds_a_missing_bundle_of_cargo() {
    Case::working()
        .env("CARGO_HTTP_CAINFO", "/nowhere.pem")
        .finds("cargo-bundle-missing");
}

#[test]
fn finds_a_bundle_of_cargo_without_regauths_authorities() {
    Case::working()
        .env("CARGO_HTTP_CAINFO", "/etc/hostname")
        .finds("cargo-other-bundle");
}

#[test]
fn finds_cargos_built_in_git() {
    let case = Case::working();
    case.edit(CONFIG, |text| text.replace("git-fetch-with-cli = true", ""));
    assert!(case.broken(&[]).contains(&"cargo-git-without-cli".to_owned()));
}

#[test]
fn finds_another_credential_provider() {
    let case = Case::working();
    case.edit(CONFIG, |text| {
        text.replace(
            "[registries.corp]\n",
            "[registries.corp]\ncredential-provider = \"cargo:token\"\n",
        )
    });
    assert!(case.broken(&[]).contains(&"cargo-no-provider".to_owned()));
}

#[test]
fn finds_a_missing_credential_provider() {
    let gone = "cargo:token /nowhere/cargo-credential-regauth";
    let case = Case::working().env("CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS", gone);
    case.finds("cargo-provider-missing");
}

#[test]
fn finds_another_index_in_cargo() {
    let case = Case::working().env("CARGO_REGISTRIES_CORP_INDEX", "sparse+https://elsewhere.example/");
    case.finds("cargo-other-index");
}

#[test]
fn finds_a_cargo_that_is_too_old() {
    let case = Case::working();
    let old = case.user.home().join("bin");
    exec::write_program(&old.join("cargo"), "#!/bin/sh\necho cargo 1.60.0\n");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", old.display());
    assert!(
        case.env("PATH", &path)
            .broken(&[])
            .contains(&"cargo-too-old".to_owned())
    );
}

#[test]
fn notes_a_token_in_cargos_credentials() {
    let case = Case::working();
    case.user
        .write("cargo/credentials.toml", "[registries.corp]\ntoken = \"left over\"\n");
    assert_eq!(case.broken(&[]), [""; 0]);
    assert!(case.codes(&[], false).contains(&"cargo-holds-token".to_owned()));
    let output = case.user.ctl(&["doctor"]).succeeds();
    assert!(!output.stdout.contains("left over"), "{}", output.report());
}

#[test]
fn notes_a_token_in_cargos_old_credentials_file() {
    let case = Case::working();
    let credentials = "[registries.corp]\ntoken = \"left over\"\n";
    case.user.write("cargo/credentials", credentials);
    let notes = case.codes(&[], false);
    assert!(notes.contains(&"cargo-holds-token".to_owned()), "{notes:?}");
}

#[test]
fn finds_git_with_another_proxy_or_other_roots() {
    let case = Case::working();
    case.edit(".gitconfig", |text| {
        text.replace("proxy = http://127", "proxy = http://128")
    });
    assert!(case.broken(&[]).contains(&"git-other-proxy".to_owned()));
    Case::working()
        .env("GIT_SSL_CAINFO", "/nowhere.pem")
        .finds("git-other-bundle");
}

#[test]
fn finds_a_cached_index_that_requires_a_token() {
    let case = Case::working();
    case.user.write(
        "project/Cargo.toml",
        "[package]\nname = \"project\"\n[lib]\npath = \"x\"\n[dependencies]\nship = { version = \"1\", registry = \"corp\" }\n",
    );
    let fetch = ["fetch", "--manifest-path", "project/Cargo.toml"];
    case.user.run("cargo", &fetch).succeeds();
    let case = case.env("CARGO_REGISTRIES_CORP_CREDENTIAL_PROVIDER", "cargo:token");
    let update = ["update", "--manifest-path", "project/Cargo.toml"];
    case.user.run("cargo", &update).fails();
    case.finds("cargo-no-provider");
    case.user
        .ctl(&["doctor"])
        .fails()
        .says("it remembers that the index says auth-required");
}

#[test]
fn finds_pip_with_another_proxy_or_other_roots() {
    let case = Case::working().with("pypi", "pip");
    assert_eq!(case.broken(&[]), [""; 0]);
    let proxy = case.daemon.proxy();
    let case = case.env("PIP_PROXY", "http://corp:3128");
    case.finds("pip-other-proxy");
    let case = case.env("PIP_PROXY", &proxy);
    let case = case.env("REQUESTS_CA_BUNDLE", "/etc/hostname");
    case.finds("pip-distrusts");
    case.user
        .ctl(&["doctor"])
        .fails()
        .says("by REQUESTS_CA_BUNDLE")
        .says("fix: unset REQUESTS_CA_BUNDLE");
}

#[test]
fn finds_uv_with_another_proxy_or_other_roots() {
    let folder = tool("python/bin/uv").parent().unwrap().display().to_string();
    let mut case = Case::working();
    // Hides the machine's pip, which is not set up.
    let bin = case.user.home().join("bin");
    for name in ["pip", "python3"] {
        exec::write_program(&bin.join(name), "#!/bin/sh\nexit 1\n");
    }
    symlink(format!("{folder}/uv"), bin.join("uv")).unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
    case = case.env("PATH", &path).with("pypi", "uv");
    let found = case.broken(&[]);
    assert!(found.contains(&"uv-distrusts".to_owned()), "{found:?}");
    let (proxy, bundle) = (case.daemon.proxy(), case.daemon.bundle());
    let case = case.env("SSL_CERT_FILE", bundle.to_str().unwrap());
    assert!(!case.broken(&[]).iter().any(|code| code.starts_with("uv-")));
    // uv's own file has precedence over the variable.
    case.edit(".config/uv/uv.toml", |text| text.replace("127.0.0.1", "127.0.0.2"));
    let found = case.env("HTTPS_PROXY", &proxy).broken(&[]);
    assert!(found.contains(&"uv-other-proxy".to_owned()), "{found:?}");
}

#[test]
fn finds_npm_that_bypasses_the_proxy() {
    let case = Case::working().with("npm", "npm");
    assert_eq!(case.broken(&[]), [""; 0]);
    case.edit(".npmrc", |text| format!("{text}noproxy=localhost\n"));
    case.finds("npm-bypasses");
    case.edit(".npmrc", |text| text.replace("noproxy=", ";"));
    let case = case.env("npm_config_https_proxy", "http://corp:3128");
    case.finds("npm-other-proxy");
}

#[test]
fn finds_an_npmrc_whose_cafile_disables_node_extra_ca_certs() {
    let case = Case::working().with("npm", "npm");
    assert_eq!(case.broken(&[]), [""; 0]);
    case.edit(".npmrc", |text| text.replace("cafile=", "cafile=/etc/hostname\n;"));
    let bundle = case.daemon.bundle();
    let case = case.env("NODE_EXTRA_CA_CERTS", bundle.to_str().unwrap());
    case.user
        .ctl(&["doctor"])
        .fails()
        .says("which disables NODE_EXTRA_CA_CERTS");
}

#[test]
fn notes_downloads_on_another_host() {
    let case = Case::working();
    let other = Registry::builder(Scheme::raw(), TOKEN)
        .downloads(Downloads::OtherHost)
        .start();
    case.daemon.add("other", &other);
    assert_eq!(case.broken(&[]), [""; 0]);
    assert!(case.codes(&[], false).contains(&"scope-missing".to_owned()));
}
