//! `regauthctl doctor --fix` on twenty broken homes: each ends with a build that passes.
//!
//! The homes share one daemon and one registry. Each has a state folder of its own, and finds the socket by a runtime
//! folder that all share.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-twenty-homes";

/// Home of a user with a project.
struct Home {
    cargo: Cargo,
    runtime: PathBuf,
    daemon_home: PathBuf,
}

impl Home {
    fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = cargo::command(self.cargo.home());
        let (_, path) = command.get_envs().find(|(name, _)| *name == "PATH").unwrap();
        let path = path.unwrap().to_owned();
        command = exec::command(program.as_ref(), self.cargo.home());
        command
            .env("PATH", path)
            .env("CARGO_HOME", self.cargo.home().join("cargo"))
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .env("REGAUTH_BUNDLE", self.daemon_home.join("state/ca-bundle.pem"))
            .args(arguments)
            .current_dir(self.cargo.project());
        command
    }

    fn config(&self) -> PathBuf {
        self.cargo.home().join("cargo/config.toml")
    }

    fn edit(&self, edit: impl Fn(&str) -> String) {
        let text = fs::read_to_string(self.config()).unwrap();
        let edited = edit(&text);
        assert_ne!(text, edited, "the edit changed nothing");
        fs::write(self.config(), edited).unwrap();
    }

    /// Drops the lines that contain a text.
    fn drop_lines(&self, part: &str) {
        self.edit(|text| {
            let kept = text.lines().filter(|line| !line.contains(part));
            kept.map(|line| format!("{line}\n")).collect()
        });
    }
}

type Fault = (&'static str, fn(&Home));

const FAULTS: [Fault; 20] = [
    ("never set up", |home| {
        let undo = ["setup", "--all", "--undo"];
        exec::run(&mut home.command(binary("regauthctl"), &undo)).succeeds();
    }),
    ("the file is gone", |home| fs::remove_file(home.config()).unwrap()),
    ("the file is empty", |home| fs::write(home.config(), "").unwrap()),
    ("the folder is gone", |home| {
        fs::remove_dir_all(home.cargo.home().join("cargo")).unwrap()
    }),
    ("no proxy", |home| home.drop_lines("proxy = ")),
    ("an empty proxy", |home| {
        home.drop_lines("proxy = ");
        home.edit(|text| text.replace("[http]", "[http]\nproxy = \"\""));
    }),
    ("all of it commented out", |home| {
        home.edit(|text| text.lines().map(|line| format!("# {line}\n")).collect());
    }),
    ("no bundle", |home| home.drop_lines("cainfo = ")),
    ("a bundle that is gone", |home| {
        home.drop_lines("cainfo = ");
        home.edit(|text| text.replace("[http]", "[http]\ncainfo = \"/nowhere.pem\""));
    }),
    ("another bundle", |home| {
        home.drop_lines("cainfo = ");
        home.edit(|text| text.replace("[http]", "[http]\ncainfo = \"/etc/ssl/certs/ca-certificates.crt\""));
    }),
    ("no [http]", |home| {
        home.drop_lines("[http]");
        home.drop_lines("proxy = ");
        home.drop_lines("cainfo = ");
    }),
    ("built-in git", |home| {
        home.edit(|text| text.replace("git-fetch-with-cli = true", "git-fetch-with-cli = false"))
    }),
    ("no provider", |home| home.drop_lines("global-credential-providers")),
    ("only cargo's provider", |home| {
        home.drop_lines("global-credential-providers");
        home.edit(|text| {
            text.replace(
                "[registry]",
                "[registry]\nglobal-credential-providers = [\"cargo:token\"]",
            )
        });
    }),
    ("a provider that is gone", |home| {
        let ours = binary("cargo-credential-regauth").display().to_string();
        home.edit(|text| text.replace(&ours, "/nowhere/cargo-credential-regauth"));
    }),
    ("another provider for the registry", |home| {
        home.edit(|text| {
            text.replace(
                "[registries.corp]",
                "[registries.corp]\ncredential-provider = \"cargo:token\"",
            )
        });
    }),
    ("no index", |home| {
        home.drop_lines("[registries.corp]");
        home.drop_lines("index = ");
    }),
    ("another index", |home| {
        home.drop_lines("index = ");
        home.edit(|text| {
            text.replace(
                "[registries.corp]",
                "[registries.corp]\nindex = \"sparse+https://localhost:1/index/\"",
            )
        });
    }),
    ("a file that cargo prefers", |home| {
        fs::write(home.config().with_file_name("config"), "[net]\nretry = 3\n").unwrap();
    }),
    ("a link to a file without settings", |home| {
        let dotfiles = home.cargo.home().join("dotfiles");
        fs::create_dir(&dotfiles).unwrap();
        let file = dotfiles.join("cargo.toml");
        fs::write(&file, "# kept in git\n[build]\njobs = 1\n").unwrap();
        fs::remove_file(home.config()).unwrap();
        symlink(&file, home.config()).unwrap();
    }),
];

/// Breaks a home, has doctor fix it, and builds. Returns what went wrong.
fn recover(home: &Home, (name, fault): &Fault) -> Result<(), String> {
    let ctl = binary("regauthctl");
    exec::run(&mut home.command(&ctl, &["setup", "cargo"])).succeeds();
    fault(home);
    let found = exec::run(&mut home.command(&ctl, &["doctor", "--json"]));
    let diagnosis: Value = serde_json::from_str(&found.stdout).map_err(|_| format!("{name}: {}", found.report()))?;
    let broken = diagnosis["findings"].as_array().unwrap().iter();
    let broken = broken.filter(|finding| finding["broken"] == true).count();
    if broken != 1 {
        return Err(format!("{name}: one cause, and {broken} findings: {diagnosis:#}"));
    }
    let fixed = exec::run(&mut home.command(&ctl, &["doctor", "--fix"]));
    if !fixed.status.success() || !fixed.stdout.contains("All is well.") {
        return Err(format!("{name}: {}", fixed.report()));
    }
    let build = exec::run(&mut home.command("cargo", &["build"]));
    match build.stderr.contains("Compiling ship v1.0.0") {
        true => Ok(()),
        false => Err(format!("{name}: {}", build.report())),
    }
}

#[test]
fn twenty_broken_homes_end_with_a_build() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::builder().log_level("info").start();
    daemon.add("corp", &registry);
    let runtime = TempDir::new().unwrap();
    symlink(daemon.home().join("run"), runtime.path().join("regauth")).unwrap();
    let (faults, failures) = (Mutex::new(FAULTS.iter()), Mutex::new(Vec::new()));
    let next = || faults.lock().unwrap().next();
    let work = || {
        while let Some(fault) = next() {
            let home = Home {
                cargo: Cargo::new().depends_on(r#"ship = { version = "1", registry = "corp" }"#),
                runtime: runtime.path().to_owned(),
                daemon_home: daemon.home().to_owned(),
            };
            failures.lock().unwrap().extend(recover(&home, fault).err());
        }
    };
    thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(work)));
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
