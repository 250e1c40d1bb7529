//! README quick start: a new user's commands from the installed programs to the first `cargo build` with a private
//! registry, typed and timed. The transcript must equal the README's.
//! `cargo test -p regauth-tests --test scenarios three_commands -- --nocapture` prints it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::exec::{self, Output};
use regauth_tests::process::Process;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::terminal::Terminal;

const TOKEN: &str = "t0ken-of-a-new-user";

/// User who has just installed regauth.
struct NewUser {
    registry: Registry,
    cargo: Cargo,
    transcript: Transcript,
}

/// Commands, their output, and the duration of each command.
#[derive(Default)]
struct Transcript {
    lines: Vec<String>,
    durations: Vec<Duration>,
}

impl NewUser {
    fn new() -> Self {
        let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN)
            .auth_required()
            .start();
        let cargo = Cargo::new().depends_on(r#"ship = { version = "1", registry = "corp" }"#);
        fs::remove_file(cargo.home().join("cargo/config.toml")).unwrap();
        DirBuilder::new().mode(0o700).create(cargo.home().join("run")).unwrap();
        Self {
            registry,
            cargo,
            transcript: Transcript::default(),
        }
    }

    /// Command in this user's shell, with the installed programs on the `PATH`.
    fn command(&self, words: &str) -> Command {
        let home = self.cargo.home();
        let usual = cargo::command(home);
        let (_, path) = usual.get_envs().find(|(name, _)| *name == "PATH").unwrap();
        let folder = binary("regauthctl").parent().unwrap().to_owned();
        let path = [folder.as_os_str(), path.unwrap()].join(std::ffi::OsStr::new(":"));
        let mut words = words.split(' ');
        let mut command = exec::command(words.next().unwrap(), home);
        command
            .args(words)
            .env("PATH", path)
            .env("CARGO_HOME", home.join("cargo"))
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .current_dir(self.cargo.project());
        command
    }

    fn run(&self, words: &str) -> Output {
        exec::run(&mut self.command(words))
    }

    /// Starts the daemon on a free port. The machine trusts the registry's root.
    fn start_daemon(&mut self) -> Process {
        let log = self.cargo.home().join("regauthd.log");
        let mut regauthd = self.command("regauthd --listen 127.0.0.1:0");
        let mut daemon = Process::spawn("regauthd", regauthd.env("SSL_CERT_FILE", self.registry.ca()), &log);
        daemon.wait_until("regauthctl status", || {
            self.run("regauthctl status").status.success().then_some(())
        });
        daemon
    }

    fn run_and_type_token(&mut self, words: &str) {
        let started = Instant::now();
        let mut terminal = Terminal::start(&self.command(words));
        let prompt = terminal.read_until("): ");
        terminal.type_without_echo(TOKEN);
        let question = terminal.read_until("(y/N) ");
        terminal.type_line("y");
        let (rest, status) = terminal.finish();
        let took = started.elapsed();
        let shown = format!("{prompt}{question}{rest}").replace('\r', "");
        assert!(status.success() && !shown.contains(TOKEN), "{shown}");
        self.transcript.add(words, &shown, took);
    }

    fn run_and_record(&mut self, words: &str, shown: impl Fn(&str) -> bool) {
        let started = Instant::now();
        let output = self.run(words).succeeds();
        let took = started.elapsed();
        let text = output.stdout + &output.stderr;
        let lines: Vec<&str> = text.lines().filter(|line| shown(line)).collect();
        self.transcript.add(words, &lines.join("\n"), took);
    }

    /// Replaces addresses and paths by those in the README.
    fn as_in_readme(&self, text: &str, proxy: &str) -> String {
        text.replace(&self.registry.index(), "sparse+https://corp.example/index/")
            .replace(&self.registry.scope(), "https://corp.example/")
            .replace(&self.registry.nginx.authority(), "corp.example")
            .replace(
                &self.cargo.home().join("cargo").display().to_string(),
                "/home/me/.cargo",
            )
            .replace(&self.cargo.home().display().to_string(), "/home/me")
            .replace(
                &binary("regauthctl").parent().unwrap().display().to_string(),
                "/home/me/.cargo/bin",
            )
            .replace(proxy, "http://127.0.0.1:9001")
    }
}

impl Transcript {
    fn add(&mut self, command: &str, shown: &str, took: Duration) {
        self.lines.push(format!("$ {command}"));
        self.lines.extend(shown.lines().map(|line| line.trim_end().to_owned()));
        self.durations.push(took);
    }
}

#[test]
fn three_commands_lead_to_the_first_build() {
    let mut user = NewUser::new();
    let _daemon = user.start_daemon();
    let status: serde_json::Value = serde_json::from_str(&user.run("regauthctl status --json").stdout).unwrap();
    let add = format!(
        "regauthctl add-registry corp --index {} --username {USERNAME}",
        user.registry.index()
    );
    user.run_and_type_token(&add);
    user.run_and_record("regauthctl setup cargo", |_| true);
    user.run_and_record("cargo build", |line| line.contains("Compiling"));
    let transcript = user.as_in_readme(&user.transcript.lines.join("\n"), status["proxy"].as_str().unwrap());
    let mut durations = user.transcript.durations.iter();
    for line in transcript.lines() {
        match line.strip_prefix("$ ").and_then(|_| durations.next()) {
            Some(took) => println!("{line}   # {:.2} s", took.as_secs_f64()),
            None => println!("{line}"),
        }
    }
    let total: Duration = user.transcript.durations.iter().sum();
    println!("total: {:.2} s", total.as_secs_f64());
    for block in readme_transcripts() {
        assert!(
            matches(&transcript, &block),
            "README.md shows:\n{block}\n\nthe commands show:\n{transcript}"
        );
    }
}

/// Console blocks of the README that follow a comment naming this file.
fn readme_transcripts() -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let marked = readme.split("<!-- tests/scenarios/first_steps.rs ").skip(1);
    let blocks: Vec<String> = marked
        .map(|marked| {
            let (_, block) = marked.split_once("-->\n```console\n").unwrap();
            block.split_once("\n```").unwrap().0.to_owned()
        })
        .collect();
    assert_eq!(
        blocks.len(),
        2,
        "README.md has a picture of use and a walk through the first registry"
    );
    blocks
}

/// Compares a transcript with a block, in which a line `…` stands for any lines.
fn matches(transcript: &str, block: &str) -> bool {
    let Some((start, end)) = block.split_once("\n…\n") else {
        return transcript == block;
    };
    transcript
        .strip_prefix(start)
        .is_some_and(|rest| rest.starts_with('\n') && rest.ends_with(&format!("\n{end}")))
}
