//! Fixes that `regauthctl doctor` prints: each is applied as printed, until doctor finds nothing broken.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::git_server::GitServer;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::user::User;
use serde_json::Value;

const TOKEN: &str = "t0ken-of-the-daemon";
const CONFIG: &str = "cargo/config.toml";
const OTHER_PROXY: &str = "http://proxy.corp.example:3128";

/// Working set-up of a user who works in a project.
struct Desk {
    registry: Registry,
    _git: GitServer,
    daemon: Daemon,
    user: User,
    scope: String,
}

impl Desk {
    /// With cargo and git, and a registry of another kind with its client.
    fn with(others: &[(&str, &str)]) -> Self {
        let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
        let git = GitServer::start(&Authority::new("Corp Root"), Scheme::basic("me"), TOKEN);
        let daemon = Daemon::start();
        daemon.add("corp", &registry);
        daemon.add_git("plans", &git);
        for (kind, _) in others {
            let scope = registry.nginx.url(&format!("/api/cargo/{kind}/"));
            let location = ["--kind", kind, "--scope", &scope];
            let added = daemon.try_add(kind, &location, &Scheme::bearer(), &registry.ca(), TOKEN);
            added.succeeds();
        }
        let cargo = cargo::command(Path::new("/"));
        let (_, path) = cargo.get_envs().find(|(name, _)| *name == "PATH").unwrap();
        let user = User::new(&daemon).env("PATH", path.unwrap().to_str().unwrap());
        let clients = others.iter().map(|(_, client)| *client);
        for client in ["cargo", "git"].into_iter().chain(clients) {
            user.ctl(&["setup", client]).succeeds();
        }
        user.write("project/package.json", "{}");
        Self {
            scope: git.scope(),
            registry,
            _git: git,
            daemon,
            user,
        }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.user.command(program);
        command.current_dir(self.user.home().join("project"));
        command
    }

    /// Findings that are broken.
    fn broken(&self) -> Vec<Value> {
        let output = exec::run(self.command(binary("regauthctl")).args(["doctor", "--json"]));
        let diagnosis: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report()));
        let findings = diagnosis["findings"].as_array().unwrap().iter();
        // A replaced company proxy takes effect at the next start, which `corporate_setup` covers.
        let is_fault = |finding: &&Value| finding["broken"] == true && finding["code"] != "company-setting-lost";
        findings.filter(is_fault).cloned().collect()
    }

    fn with_env(&mut self, name: &str, value: &str) {
        let user = std::mem::replace(&mut self.user, User::new(&self.daemon));
        self.user = user.env(name, value);
    }

    fn edit(&self, file: &Path, edit: impl Fn(&str) -> String) {
        let text = fs::read_to_string(file).unwrap_or_default();
        let edited = edit(&text);
        assert_ne!(text, edited, "the edit of {} changed nothing", file.display());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, edited).unwrap();
    }

    fn home(&self, file: &str) -> PathBuf {
        self.user.home().join(file)
    }

    /// Breaks the set-up, and applies the first fix until nothing is broken. The fault must be the first one found.
    #[track_caller]
    fn recovers(&mut self, code: &str, fault: impl FnOnce(&mut Self)) {
        fault(self);
        let mut applied = Vec::new();
        for _ in 0..MAX_FIXES {
            let broken = self.broken();
            let Some(first) = broken.first() else {
                assert!(!applied.is_empty(), "{code} was not found");
                return;
            };
            if applied.is_empty() {
                let mut found = broken.iter().flat_map(|finding| {
                    let also = finding["also"].as_array().into_iter().flatten();
                    std::iter::once(finding).chain(also)
                });
                assert!(found.any(|finding| finding["code"] == code), "{code}: {broken:#?}");
            }
            let fix = first["mend"].as_str().unwrap().to_owned();
            assert!(!applied.contains(&fix), "{code}: {fix:?} did not help: {broken:#?}");
            self.apply(&fix);
            applied.push(fix);
        }
        panic!("{code}: {applied:#?} did not help: {:#?}", self.broken());
    }

    /// Does what a person would do with a fix.
    fn apply(&mut self, fix: &str) {
        if let Some(variable) = fix.strip_prefix("unset ") {
            let user = std::mem::replace(&mut self.user, User::new(&self.daemon));
            self.user = user.without_env(variable);
        } else if let Some((variable, value)) = fix.strip_prefix("export ").and_then(|rest| rest.split_once('=')) {
            self.with_env(variable, value.trim_matches('\''));
        } else if let Some((key, file)) = fix.strip_prefix("remove ").and_then(|rest| rest.split_once(" from ")) {
            let file = file.split(',').next().unwrap();
            let last = key.rsplit('.').next().unwrap().to_ascii_lowercase();
            let is_key = |line: &&str| {
                let name = line.split('=').next().unwrap().trim();
                line.contains('=') && name.to_ascii_lowercase() == last
            };
            self.edit(Path::new(file), |text| {
                let kept = text.lines().filter(|line| !is_key(line));
                kept.map(|line| format!("{line}\n")).collect()
            });
        } else {
            let fix = fix.split(", which").next().unwrap();
            let token = if fix.contains(" login ") { " --token-stdin" } else { "" };
            let program = binary("regauthctl").display().to_string();
            let line = fix.replace("regauthctl", &program) + token;
            let mut shell = self.command("sh");
            let output = exec::run_with_input(shell.args(["-c", &line]), "another-token");
            // `doctor --fix` reports what it cannot fix by its exit status.
            if !fix.contains("doctor --fix") {
                output.succeeds();
            }
        }
    }
}

/// The longest way from a fault to a working set-up.
const MAX_FIXES: usize = 4;

#[test]
fn each_fix_for_cargo_works() {
    let mut desk = Desk::with(&[]);
    let (config, project) = (desk.home(CONFIG), desk.home("project/.cargo/config.toml"));
    desk.recovers("cargo-no-proxy", |desk| {
        desk.edit(&config, |text| text.replace("proxy = ", "#"));
    });
    desk.recovers("cargo-other-proxy", |desk| desk.with_env("CARGO_HTTP_PROXY", ""));
    desk.recovers("cargo-other-proxy", |desk| {
        desk.edit(&project, |_| format!("[http]\nproxy = \"{OTHER_PROXY}\"\n"));
    });
    desk.recovers("cargo-other-proxy", |desk| {
        desk.edit(&project, |_| "[http]\nproxy = \"\"\n".to_owned());
    });
    desk.recovers("cargo-bundle-missing", |desk| {
        desk.with_env("CARGO_HTTP_CAINFO", "/nowhere.pem")
    });
    desk.recovers("cargo-other-bundle", |desk| {
        desk.edit(&project, |_| "[http]\ncainfo = \"/etc/hostname\"\n".to_owned());
    });
    desk.recovers("cargo-git-without-cli", |desk| {
        desk.edit(&config, |text| text.replace("git-fetch-with-cli = true", ""));
    });
    desk.recovers("cargo-git-without-cli", |desk| {
        desk.edit(&project, |_| "[net]\ngit-fetch-with-cli = false\n".to_owned());
    });
    desk.recovers("cargo-other-index", |desk| {
        desk.with_env("CARGO_REGISTRIES_CORP_INDEX", "sparse+https://elsewhere.example/");
    });
    desk.recovers("cargo-other-index", |desk| {
        desk.edit(&project, |_| {
            "[registries.corp]\nindex = \"sparse+https://elsewhere.example/\"\n".to_owned()
        });
    });
    let index = desk.registry.index();
    desk.recovers("cargo-index-twice", |desk| {
        desk.edit(&project, |_| format!("[registries.internal]\nindex = \"{index}\"\n"));
    });
    desk.recovers("cargo-no-provider", |desk| {
        desk.edit(&project, |_| {
            "[registries.corp]\ncredential-provider = \"cargo:token\"\n".to_owned()
        });
    });
    desk.recovers("cargo-provider-missing", |desk| {
        let gone = "cargo:token /nowhere/cargo-credential-regauth";
        desk.with_env("CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS", gone);
    });
    // cargo reads `config` and ignores `config.toml`.
    desk.recovers("set-up-outdated", |desk| {
        fs::write(desk.home("cargo/config"), "[net]\nretry = 3\n").unwrap();
    });
}

#[test]
fn each_fix_for_git_works() {
    let mut desk = Desk::with(&[]);
    let gitconfig = desk.home(".gitconfig");
    let proxy = desk.daemon.proxy();
    desk.recovers("git-other-proxy", |desk| {
        desk.edit(&gitconfig, |text| text.replace(&proxy, OTHER_PROXY));
    });
    desk.recovers("git-other-proxy", |desk| {
        let included = desk.home("included");
        let section = format!("[http \"{}\"]\n\tproxy = {OTHER_PROXY}\n", desk.scope);
        fs::write(&included, section).unwrap();
        desk.edit(&gitconfig, |text| {
            format!("{text}[include]\n\tpath = {}\n", included.display())
        });
    });
    desk.recovers("git-other-bundle", |desk| {
        desk.with_env("GIT_SSL_CAINFO", "/nowhere.pem")
    });
    desk.recovers("git-rewritten", |desk| {
        let section = format!("[url \"ssh://git@localhost/\"]\n\tinsteadOf = {}\n", desk.scope);
        desk.edit(&gitconfig, |text| text.to_owned() + &section);
    });
    desk.recovers("no-proxy-bypasses", |desk| {
        desk.with_env("NO_PROXY", "other.example,localhost")
    });
}

#[test]
fn each_fix_for_pip_works() {
    let mut desk = Desk::with(&[("pypi", "pip")]);
    let pip = desk.home(".config/pip/pip.conf");
    desk.recovers("pip-other-proxy", |desk| desk.with_env("PIP_PROXY", OTHER_PROXY));
    desk.recovers("pip-distrusts", |desk| {
        desk.with_env("REQUESTS_CA_BUNDLE", "/etc/hostname")
    });
    desk.recovers("pip-other-proxy", |desk| {
        desk.edit(&pip, |text| format!("{text}\n[install]\nproxy = {OTHER_PROXY}\n"));
        // The test's removal of `proxy` takes the global one as well, which setup then writes again.
    });
    desk.recovers("pip-distrusts", |desk| {
        desk.edit(&pip, |text| format!("{text}\n[download]\ncert = /etc/hostname\n"));
    });
}

#[test]
fn each_fix_for_npm_works() {
    let mut desk = Desk::with(&[("npm", "npm")]);
    let (npmrc, project) = (desk.home(".npmrc"), desk.home("project/.npmrc"));
    desk.recovers("npm-other-proxy", |desk| {
        desk.with_env("npm_config_https_proxy", OTHER_PROXY)
    });
    desk.recovers("npm-other-proxy", |desk| {
        desk.edit(&project, |_| format!("https-proxy={OTHER_PROXY}\n"));
    });
    desk.recovers("npm-distrusts", |desk| {
        desk.edit(&project, |_| "cafile=/etc/hostname\n".to_owned());
    });
    desk.recovers("npm-bypasses", |desk| {
        desk.edit(&npmrc, |text| format!("{text}noproxy=localhost\n"));
    });
}

#[test]
fn each_fix_for_the_daemon_works() {
    let mut desk = Desk::with(&[]);
    let config = desk.daemon.home().join("config.toml");
    let state = desk.daemon.home().join("state");
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    desk.recovers("bundle-amiss", |desk| fs::remove_file(desk.daemon.bundle()).unwrap());
    desk.recovers("configuration-open", |_| set_mode(&config, 0o644));
    desk.recovers("folder-open", |_| set_mode(&state, 0o755));
    desk.recovers("set-up-outdated", |desk| fs::remove_file(desk.home(CONFIG)).unwrap());
    desk.recovers("token-rejected", |desk| desk.registry.accept(&["another-token"]));
}

#[test]
fn a_password_in_a_url_of_git_is_not_shown() {
    let desk = Desk::with(&[]);
    let section = format!(
        "[url \"https://me:s3cret-of-git@elsewhere.example/\"]\n\tinsteadOf = {}\n",
        desk.scope
    );
    desk.edit(&desk.home(".gitconfig"), |text| text.to_owned() + &section);
    let broken = desk.broken();
    assert_eq!(broken[0]["code"], "git-rewritten", "{broken:#?}");
    assert!(!format!("{broken:?}").contains("s3cret"), "{broken:#?}");
}

#[test]
fn a_token_in_cargos_configuration_is_noted() {
    let desk = Desk::with(&[]);
    desk.edit(&desk.home("project/.cargo/config.toml"), |_| {
        "[registries.corp]\ntoken = \"Bearer left-over\"\n".to_owned()
    });
    let output = exec::run(desk.command(binary("regauthctl")).arg("doctor")).succeeds();
    assert!(
        output.stdout.contains("cargo has its own token for corp, in ") && !output.stdout.contains("left-over"),
        "{}",
        output.report()
    );
}

#[test]
fn a_configuration_that_the_next_start_refuses_is_found() {
    let desk = Desk::with(&[]);
    let config = desk.daemon.home().join("config.toml");
    desk.edit(&config, |text| format!("nonsense = 1\n{text}"));
    let broken = desk.broken();
    assert_eq!(broken[0]["code"], "configuration-invalid", "{broken:#?}");
    assert!(broken[0]["what"].as_str().unwrap().contains("nonsense"), "{broken:#?}");
    desk.edit(&config, |text| text.replace("nonsense = 1\n", ""));
    assert_eq!(desk.broken(), [Value::Null; 0]);
}

#[test]
fn certificates_that_the_next_start_cannot_read_are_found() {
    let desk = Desk::with(&[]);
    let file = desk.registry.ca();
    let pem = fs::read_to_string(&file).unwrap();
    let hidden = file.with_extension("hidden");
    for damage in ["gone", "not a certificate"] {
        match damage {
            "gone" => fs::rename(&file, &hidden).unwrap(),
            text => fs::write(&file, text).unwrap(),
        }
        let broken = desk.broken();
        assert_eq!(broken.len(), 1, "{broken:#?}");
        assert_eq!(broken[0]["code"], "certificates-unreadable", "{broken:#?}");
        let what = broken[0]["what"].as_str().unwrap();
        assert!(
            what.contains("corp") && what.contains(file.to_str().unwrap()),
            "{broken:#?}"
        );
        let status = desk.daemon.ctl(&["status"]).succeeds().json;
        assert!(
            status["problems"].to_string().contains(file.to_str().unwrap()),
            "{status}"
        );
        fs::write(&file, &pem).unwrap();
        assert_eq!(desk.broken(), [Value::Null; 0]);
    }
}

#[test]
fn one_finding_names_file_and_line_of_what_a_client_cannot_read() {
    let desk = Desk::with(&[("pypi", "pip")]);
    for client in ["bun", "gem", "gradle", "maven", "yarn"] {
        desk.user.ctl(&["setup", client]).succeeds();
    }
    // git and cargo are asked for other findings too, so each is broken alone.
    let rest = [
        ".config/pip/pip.conf",
        ".bunfig.toml",
        ".gemrc",
        ".gradle/gradle.properties",
        ".m2/settings.xml",
        ".yarnrc.yml",
    ];
    for (code, files) in [
        ("git-broken", &[".gitconfig"] as &[_]),
        ("client-broken", &[CONFIG]),
        ("client-broken", &rest),
    ] {
        let files: Vec<_> = files.iter().map(|file| desk.home(file)).collect();
        let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        for (file, text) in files.iter().zip(&texts) {
            let line = match file.extension() {
                Some(xml) if xml == "xml" => "<p>s3<cret-of-a-line</p>",
                Some(yaml) if yaml == "yml" => "nodeLinker: \"s3cret-of-a-line",
                _ => "[brok \\users s3cret-of-a-line",
            };
            fs::write(file, format!("{text}{line}\n")).unwrap();
        }
        let broken = desk.broken();
        assert_eq!(broken.len(), files.len(), "{broken:#?}");
        for (file, text) in files.iter().zip(&texts) {
            let (file_name, line) = (file.to_str().unwrap(), text.lines().count() + 1);
            let is_named = |finding: &&Value| finding["what"].as_str().unwrap().contains(file_name);
            let finding = broken.iter().find(is_named).unwrap();
            assert_eq!(finding["code"], code, "{finding:#?}");
            assert!(
                finding["what"].as_str().unwrap().contains(&format!("line {line}")),
                "line {line}: {finding:#?}"
            );
        }
        let shown = format!("{broken:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("cret-of"), "{shown}");
        for (file, text) in files.iter().zip(&texts) {
            fs::write(file, text).unwrap();
        }
    }
    assert_eq!(desk.broken(), [Value::Null; 0]);
}

#[test]
fn a_daemon_that_would_not_start_is_explained() {
    let mut desk = Desk::with(&[]);
    let config = desk.daemon.home().join("config.toml");
    // No other test uses this address, so none takes the port once it is free.
    let taken = TcpListener::bind("127.0.44.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let set_listen = |text: &str| {
        let others = text.lines().filter(|line| !line.starts_with("listen"));
        let others: Vec<_> = others.collect();
        format!("listen = \"{address}\"\n{}\n", others.join("\n"))
    };
    desk.edit(&config, set_listen);
    let broken = desk.broken();
    assert_eq!(broken[0]["code"], "next-address-taken", "{broken:#?}");

    desk.daemon.stop();
    let broken = desk.broken();
    assert_eq!(broken.len(), 1, "{broken:#?}");
    assert_eq!(broken[0]["code"], "daemon-cannot-start", "{broken:#?}");
    let said = broken[0]["what"].as_str().unwrap();
    assert!(said.contains(&format!("cannot listen on {address}")), "{broken:#?}");

    drop(taken);
    let broken = desk.broken();
    assert_eq!(broken[0]["code"], "daemon-unreachable", "{broken:#?}");
    desk.edit(&config, |text| format!("nonsense = 1\n{text}"));
    let broken = desk.broken();
    assert!(broken[0]["what"].as_str().unwrap().contains("nonsense"), "{broken:#?}");

    fs::set_permissions(desk.daemon.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let broken = desk.broken();
    assert_eq!(broken[0]["code"], "folder-open", "{broken:#?}");
    let fixed = exec::run(desk.command(binary("regauthctl")).args(["doctor", "--fix"]));
    assert!(
        fixed.stdout.contains("removed other users' permissions"),
        "{}",
        fixed.report()
    );
    let broken = desk.broken();
    assert_eq!(broken[0]["code"], "daemon-cannot-start", "{broken:#?}");
}

#[test]
fn a_fix_that_fails_stops_no_other() {
    let desk = Desk::with(&[]);
    let (config, gitconfig) = (desk.home(CONFIG), desk.home(".gitconfig"));
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    desk.edit(&config, |text| text.replace("proxy = ", "#"));
    set_mode(&config, 0o444);
    fs::remove_file(&gitconfig).unwrap();
    let output = exec::run(desk.command(binary("regauthctl")).args(["doctor", "--fix"]));
    assert!(output.stdout.contains("not fixed: "), "{}", output.report());
    assert!(output.stdout.contains("fixed: set up git: "), "{}", output.report());
    assert!(gitconfig.exists());
    set_mode(&config, 0o644);
    let output = exec::run(desk.command(binary("regauthctl")).args(["doctor", "--fix"]));
    assert!(output.stdout.contains("fixed: set up cargo: "), "{}", output.report());
}
