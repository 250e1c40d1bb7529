//! `regauthctl run`: one command with an ephemeral daemon, which leaves nothing behind however it ends.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, RunningCommand};
use regauth_tests::git_server::GitServer;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::poll;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::user::User;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-job";
const SHIP: &str = r#"ship = { version = "1", registry = "corp" }"#;

/// CI job: an environment with the token, and a temporary folder to inspect.
struct Job {
    registry: Registry,
    temporary: TempDir,
}

impl Job {
    fn new() -> Self {
        let temporary = TempDir::new().unwrap();
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self {
            registry: Registry::builder(Scheme::basic(USERNAME), TOKEN)
                .auth_required()
                .start(),
            temporary,
        }
    }

    /// `regauthctl run` with the registry and the token in the environment.
    fn command(&self, home: &Path, more: &[&str], command: &[&str]) -> Command {
        let mut run = exec::command(binary("regauthctl"), home);
        run.env("PATH", toolchain())
            .env("CARGO_HOME", home.join("cargo"))
            .env("CORP_TOKEN", TOKEN)
            .env("TMPDIR", self.temporary.path())
            .args(["run", "--registry", &format!("corp={}", self.registry.index())])
            .args(["--scheme", "basic", "--username", USERNAME, "--token-env", "CORP_TOKEN"])
            .args(["--ca-file", self.registry.ca().to_str().unwrap()])
            .args(more)
            .arg("--")
            .args(command);
        run
    }

    fn shell(&self, script: &str) -> Command {
        self.command(self.temporary.path(), &[], &["sh", "-c", script])
    }

    /// Entries of the temporary folder.
    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.temporary.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn wait_for_cleanup(&self) {
        poll::wait_for("the temporary folder to be removed", || {
            self.leftovers().is_empty().then_some(())
        });
    }

    /// Process of the ephemeral daemon, found by its home.
    fn daemon(&self) -> Pid {
        poll::wait_for("the ephemeral daemon", || {
            let home = self
                .leftovers()
                .into_iter()
                .find(|path| path.join("run/control.sock").exists())?;
            let pid = fs::read_to_string(home.join("run/daemon.lock")).ok()?;
            Pid::from_raw(pid.trim().parse().ok()?)
        })
    }
}

/// `PATH` with rustc for cargo.
fn toolchain() -> OsString {
    let cargo = cargo::command(Path::new("/"));
    let (_, path) = cargo.get_envs().find(|(name, _)| *name == "PATH").unwrap();
    path.unwrap().to_owned()
}

fn is_alive(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

#[test]
fn a_job_builds_and_publishes_and_leaves_nothing() {
    let job = Job::new();
    let cargo = Cargo::new().depends_on(SHIP);
    let script = "cargo build && cargo publish --registry corp --allow-dirty --no-verify";
    let mut run = job.command(cargo.home(), &["--writes", "allow"], &["sh", "-c", script]);
    run.env("REGAUTH_LOG", "trace").current_dir(cargo.project());
    let output = exec::run(&mut run)
        .succeeds()
        .says("Compiling anchor v1.0.0")
        .says("Published project v0.1.0");
    assert!(job.leftovers().is_empty(), "{:?}", job.leftovers());
    assert!(
        output.stderr.len() > 10_000,
        "the log is not at level trace: {}",
        output.report()
    );
    LeakScan::new(TOKEN)
        .scan_folder(cargo.home(), &[])
        .scan("output", output.stdout + &output.stderr)
        .assert_clean();
}

#[test]
fn a_job_clones_from_a_private_git_host() {
    let (job, host) = (Job::new(), Authority::new("Corp Root"));
    let server = GitServer::start(&host, Scheme::basic("me"), "g1t-token");
    server.repository("plans", &[("README", "secret\n")]);
    let more = [
        "--registry",
        &format!("forge={}", server.scope()),
        "--kind",
        "git",
        "--scheme",
        "basic",
        "--username",
        "me",
        "--token-env",
        "FORGE_TOKEN",
        "--ca-file",
        server.ca().to_str().unwrap(),
    ]
    .map(str::to_owned);
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let home = TempDir::new().unwrap();
    let mut run = job.command(home.path(), &more, &["git", "clone", &server.url("plans"), "plans"]);
    exec::run(run.env("FORGE_TOKEN", "g1t-token").current_dir(home.path())).succeeds();
    assert!(home.path().join("plans/README").exists());
}

/// The test reads the environment and arguments of each process of the job.
#[test]
fn the_token_is_in_no_environment_argument_or_file() {
    let job = Job::new();
    let script = "env; echo parent $PPID; echo ready; exec sleep 60";
    let running = RunningCommand::start(&mut job.shell(script), b"");
    let daemon = job.daemon();
    let child = sleeper(&running);
    LeakScan::new(TOKEN)
        .scan_process(running.pid())
        .scan_process(daemon.as_raw_nonzero().get().cast_unsigned())
        .scan_process(child)
        .scan_folder(
            job.temporary.path(),
            &job.leftovers().iter().map(|home| home.join("run")).collect::<Vec<_>>(),
        )
        .assert_clean();
    kill_process(Pid::from_raw(running.pid().cast_signed()).unwrap(), Signal::TERM).unwrap();
    let output = running.finish();
    assert_eq!(output.status.code(), Some(143), "{}", output.report());
    LeakScan::new(TOKEN)
        .scan("the command's output", &output.stdout)
        .assert_clean();
    job.wait_for_cleanup();
    assert!(!is_alive(daemon));
}

/// Process id of `sleep`, the last command of the script.
fn sleeper(running: &RunningCommand) -> u32 {
    poll::wait_for("the command", || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).ok()?;
        let ids: Vec<u32> = children.split_whitespace().map(|id| id.parse().unwrap()).collect();
        ids.into_iter()
            .find(|id| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "sleep"))
    })
}

#[test]
fn a_killed_run_ends_its_daemon_and_removes_its_folder() {
    let job = Job::new();
    let running = RunningCommand::start(&mut job.shell("exec sleep 20"), b"");
    let daemon = job.daemon();
    kill_process(Pid::from_raw(running.pid().cast_signed()).unwrap(), Signal::KILL).unwrap();
    job.wait_for_cleanup();
    poll::wait_for("the daemon to end", || (!is_alive(daemon)).then_some(()));
    drop(running);
}

#[test]
fn signals_are_forwarded_to_the_command() {
    let job = Job::new();
    let script = "trap 'echo caught; exit 7' INT; echo ready > \"$HOME/ready\"; while :; do sleep 0.05; done";
    let home = TempDir::new().unwrap();
    let mut run = job.command(home.path(), &[], &["sh", "-c", script]);
    let running = RunningCommand::start(&mut run, b"");
    poll::wait_for("the command", || home.path().join("ready").exists().then_some(()));
    kill_process(Pid::from_raw(running.pid().cast_signed()).unwrap(), Signal::INT).unwrap();
    let output = running.finish();
    assert_eq!(output.status.code(), Some(7), "{}", output.report());
    assert_eq!(output.stdout, "caught\n");
    job.wait_for_cleanup();
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let job = Job::new();
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137)] {
        assert_eq!(exec::run(&mut job.shell(script)).status.code(), Some(code), "{script}");
    }
    let mut missing = job.command(job.temporary.path(), &[], &["no-such-program"]);
    assert_eq!(exec::run(&mut missing).status.code(), Some(127));
    assert!(job.leftovers().is_empty(), "{:?}", job.leftovers());
}

#[test]
fn a_rejected_token_prevents_the_command() {
    let job = Job::new();
    job.registry.accept(&["another"]);
    let output = exec::run(&mut job.shell("echo ran"))
        .fails()
        .says("does not accept this token")
        .says("the command was not started");
    assert!(!output.stderr.contains("stored"), "{}", output.report());
    assert_eq!((output.status.code(), output.stdout.as_str()), (Some(4), ""));
    assert!(job.leftovers().is_empty(), "{:?}", job.leftovers());
}

/// The container has no HOME, the user id of nobody, and a read-only root except /dev/shm. The command searches for the
/// token in everything that it can read.
#[test]
fn run_works_in_a_hardened_container() {
    let job = Job::new();
    let installed = installed(&job);
    let url = job.registry.nginx.url("/api/cargo/index/config.json");
    let script = format!(
        "echo \"home $REGAUTH_HOME\"; curl -sf {url}; for id in $$ $PPID $(cat \"$REGAUTH_HOME/run/daemon.lock\"); do \
         cat /proc/$id/environ /proc/$id/cmdline; done 2>/dev/null; cat $(find \"$REGAUTH_HOME\" -type f) 2>/dev/null; true"
    );
    let mut run = contained(&job, installed.path(), Path::new("/dev/shm"), &script);
    let output = exec::run(&mut run).succeeds().says("auth-required").stdout;
    let home = output.lines().find_map(|line| line.strip_prefix("home ")).unwrap();
    assert!(home.starts_with("/dev/shm/") && !Path::new(home).exists(), "{home}");
    assert!(
        output.contains("BEGIN CERTIFICATE"),
        "the command did not read any file"
    );
    LeakScan::new(TOKEN)
        .scan("output of the search", &output)
        .assert_clean();
}

#[test]
fn an_ended_or_killed_container_leaves_nothing() {
    for (signal, code) in [(Signal::TERM, Some(143)), (Signal::KILL, None)] {
        let job = Job::new();
        let installed = installed(&job);
        let mut run = contained(&job, installed.path(), job.temporary.path(), "exec sleep 20");
        let running = RunningCommand::start(&mut run, b"");
        let daemon = job.daemon();
        sleeper(&running);
        kill_process(Pid::from_raw(running.pid().cast_signed()).unwrap(), signal).unwrap();
        job.wait_for_cleanup();
        poll::wait_for("the daemon to end", || (!is_alive(daemon)).then_some(()));
        if code.is_some() {
            let output = running.finish();
            assert_eq!(output.status.code(), code, "{}", output.report());
        }
    }
}

/// Folder with the programs and the registry's root, readable for all users.
fn installed(job: &Job) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["regauthctl", "regauthd", "cargo-credential-regauth"] {
        exec::copy_program(&binary(name), &folder.path().join(name));
    }
    let ca = folder.path().join("ca.pem");
    fs::copy(job.registry.ca(), &ca).unwrap();
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o644)).unwrap();
    folder
}

/// `regauthctl run` of a script in a hardened container with one writable folder.
fn contained(job: &Job, installed: &Path, writable: &Path, script: &str) -> Command {
    let enter = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro / && ! touch /x 2>/dev/null && exec \"$@\"";
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        .args(["unshare", "--user", "--map-root-user", "--mount", "--"])
        .args(["sh", "-c", enter])
        .arg(writable)
        .arg(installed.join("regauthctl"))
        .args(["run", "--registry", &format!("corp={}", job.registry.index())])
        .args(["--scheme", "basic", "--username", USERNAME, "--token-env", "CORP_TOKEN"])
        .arg("--ca-file")
        .arg(installed.join("ca.pem"))
        .args(["--", "sh", "-c", script])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("CORP_TOKEN", TOKEN)
        .env("TMPDIR", job.temporary.path())
        .current_dir("/");
    command
}

#[test]
fn without_a_registry_the_users_own_daemon_serves_the_command() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let cargo = Cargo::new().registry("corp", &registry.index()).depends_on(SHIP);
    let user = User::at(&daemon, cargo.home()).env("PATH", toolchain().to_str().unwrap());
    let mut run = user.command(binary("regauthctl"));
    let project = cargo.project();
    let manifest = project.join("Cargo.toml");
    let build = [
        "run",
        "--",
        env!("CARGO"),
        "build",
        "--manifest-path",
        manifest.to_str().unwrap(),
    ];
    exec::run(run.args(build)).succeeds().says("Compiling anchor v1.0.0");
}

#[test]
fn run_starts_within_its_time_limit() {
    let job = Job::new();
    exec::run(&mut job.shell("exit 0")).succeeds();
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            exec::run(&mut job.shell("exit 0")).succeeds();
            start.elapsed()
        })
        .min()
        .unwrap();
    println!("regauthctl run takes {best:?}");
    assert!(best.as_millis() < 1500, "{best:?}");
}
