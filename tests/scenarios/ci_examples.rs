//! Examples in packaging/ci: each runs unchanged, read as its CI system reads it, in an environment like the CI system's.
//! Only the installation of regauth is done beforehand. A real OpenID provider stands in for the forge's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::exec;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::openid_provider::{JOB_TOKEN, OpenidProvider};
use regauth_tests::programs::{binary, tool};
use regauth_tests::registry::Registry;
use regauth_tests::token_service::{TokenService, Vendor};
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-pipeline";
const PROGRAMS: [&str; 3] = ["regauthctl", "regauthd", "cargo-credential-regauth"];

/// Checked-out project with a private dependency and a lock file, and the settings of the CI system.
struct Job {
    registry: Registry,
    cargo: Cargo,
}

/// OpenID provider in place of the forge's, and Artifactory's exchange, which trusts it.
struct Forge {
    provider: OpenidProvider,
    artifactory: TokenService,
}

impl Forge {
    /// From now on the registry accepts minted tokens only.
    fn new(job: &Job) -> Self {
        job.registry.accept(&[]);
        let provider = OpenidProvider::start(job.registry.gate());
        let (gate, authority) = (job.registry.gate(), job.registry.authority());
        let artifactory = TokenService::start(Vendor::Jfrog, &provider, gate, authority);
        Self { provider, artifactory }
    }

    /// Asserts that no secret of the build is in the job's output or folders.
    fn assert_no_leaks(&self, job: &Job, output: &exec::Output) {
        let minted = self.artifactory.secrets();
        assert!(minted.len() >= 2, "an identity and a token: {minted:?}");
        for secret in minted.iter().map(String::as_str).chain([JOB_TOKEN]) {
            LeakScan::new(secret)
                .scan("stdout", &output.stdout)
                .scan("stderr", &output.stderr)
                .scan_folder(job.cargo.home(), &[])
                .assert_clean();
        }
    }
}

impl Job {
    fn new(scheme: Scheme) -> Self {
        let registry = Registry::builder(scheme, TOKEN).auth_required().start();
        let cargo = Cargo::new().depends_on(r#"ship = { version = "1", registry = "corp" }"#);
        let job = Self { registry, cargo };
        let mut lock = job.command(binary("regauthctl"));
        lock.args(["run", "--registry", &format!("corp={}", job.registry.index())])
            .args(["--token-env", "CORP_TOKEN"])
            .args(["--", "cargo", "generate-lockfile"]);
        exec::run(&mut lock).succeeds();
        job
    }

    /// Command in the project with the CI settings. The machine trusts the registry's root, as a company's machines do.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let usual = cargo::command(self.cargo.home());
        let mut command = Command::new(program);
        let set = usual.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command
            .env_clear()
            .envs(set)
            .env("CORP_TOKEN", TOKEN)
            .env("CORP_INDEX", self.registry.index())
            .env("SSL_CERT_FILE", self.registry.ca())
            .current_dir(self.cargo.project());
        command
    }

    /// Command in the project with the settings of the forge's examples. A build script checks that the build can get no
    /// identity and no token.
    fn command_without_a_secret(&self, forge: &Forge) -> Command {
        let script = "fn main() {\n    for name in [\"ACTIONS_ID_TOKEN_REQUEST_TOKEN\", \"REGAUTH_ID_TOKEN\"] {\n        \
                      assert!(std::env::var_os(name).is_none(), \"{name} is set\");\n    }\n}\n";
        fs::write(self.cargo.project().join("build.rs"), script).unwrap();
        let mut command = self.command("bash");
        command
            .env_remove("CORP_TOKEN")
            .env("CORP_HOST", forge.artifactory.host())
            .env("CORP_PROVIDER", "corp");
        command
    }

    /// Installs the programs where `cargo install --root` does.
    fn install(&self, root: &Path) {
        fs::create_dir_all(root.join("bin")).unwrap();
        for program in PROGRAMS {
            symlink(binary(program), root.join("bin").join(program)).unwrap();
        }
    }

    fn assert_built(&self, profile: &str) {
        let built = self
            .cargo
            .project()
            .join("target")
            .join(profile)
            .join("libproject.rlib");
        assert!(built.exists(), "{} was not built", built.display());
        LeakScan::new(TOKEN).scan_folder(self.cargo.home(), &[]).assert_clean();
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/ci").join(name)
}

fn yaml(name: &str) -> Value {
    let read = "import json, sys, yaml; json.dump(yaml.load(open(sys.argv[1]), yaml.BaseLoader), sys.stdout)";
    let mut python = exec::command(tool("python/bin/python"), Path::new("/"));
    let output = exec::run(python.args(["-c", read]).arg(example(name)))
        .succeeds()
        .stdout;
    serde_json::from_str(&output).unwrap()
}

/// GitHub runs a step by `bash -e` on a file (its documentation, "jobs.<job_id>.steps[*].shell").
#[test]
fn the_github_actions_example_builds() {
    let job = Job::new(Scheme::bearer());
    let forge = Forge::new(&job);
    job.install(&job.cargo.home().join("regauth"));
    let workflow = yaml("github-actions.yml");
    assert_eq!(workflow["permissions"]["id-token"], "write");
    let steps = workflow["jobs"]["build"]["steps"].as_array().unwrap();
    let restored = "steps.regauth.outputs.cache-hit != 'true'";
    let mut ran = 0;
    for step in steps {
        let Some(script) = step["run"].as_str().filter(|_| step["if"] != restored) else {
            continue;
        };
        let file = job.cargo.home().join("step.sh");
        fs::write(&file, script).unwrap();
        let mut bash = job.command_without_a_secret(&forge);
        // The settings come from the step's own `env` only.
        for name in ["CORP_INDEX", "CORP_HOST", "CORP_PROVIDER"] {
            bash.env_remove(name);
        }
        for (name, value) in step["env"].as_object().unwrap() {
            bash.env(name, setting(value.as_str().unwrap(), &job, &forge));
        }
        bash.envs(forge.provider.github_job());
        let output = exec::run(bash.arg("-e").arg(&file)).succeeds();
        forge.assert_no_leaks(&job, &output);
        ran += 1;
    }
    assert_eq!(ran, 1, "{workflow}");
    job.assert_built("debug");
}

/// Value of `${{ vars.NAME }}`.
fn setting(expression: &str, job: &Job, forge: &Forge) -> String {
    let inner = expression
        .strip_prefix("${{ ")
        .and_then(|rest| rest.strip_suffix(" }}"));
    match inner.unwrap_or_else(|| panic!("not an expression: {expression}")) {
        "vars.CORP_INDEX" => job.registry.index(),
        "vars.CORP_HOST" => forge.artifactory.host(),
        // The provider is a forge of one's own.
        "vars.CORP_PROVIDER" => format!("corp,identity-host={}", forge.provider.host()),
        other => panic!("the example needs the unknown setting {other}"),
    }
}

/// GitLab runs `before_script` and `script` in one shell (its documentation, "before_script"), and puts an identity into each
/// variable of `id_tokens`.
#[test]
fn the_gitlab_example_builds() {
    let job = Job::new(Scheme::bearer());
    let forge = Forge::new(&job);
    job.install(&job.cargo.project().join(".regauth"));
    let pipeline = yaml("gitlab-ci.yml");
    let lines = |key: &str| pipeline["build"][key].as_array().unwrap().clone();
    let lines = [lines("before_script"), lines("script")].concat();
    let script: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    let mut bash = job.command_without_a_secret(&forge);
    bash.env("GITLAB_CI", "true");
    for (name, identity) in pipeline["build"]["id_tokens"].as_object().unwrap() {
        bash.env(name, forge.provider.identity(identity["aud"].as_str().unwrap()));
    }
    let output = exec::run(bash.args(["-eo", "pipefail", "-c", &script.join("\n")])).succeeds();
    forge.assert_no_leaks(&job, &output);
    job.assert_built("debug");
}

/// BuildKit runs a RUN line by `sh -c` with the build arguments and the secret in the environment. This test is stricter: no
/// HOME, the user id of nobody, and a read-only root.
#[test]
fn the_dockerfile_example_builds_in_a_container() {
    let job = Job::new(Scheme::bearer());
    let dockerfile = fs::read_to_string(example("Dockerfile")).unwrap().replace("\\\n", "");
    let run = dockerfile.lines().find_map(|line| line.strip_prefix("RUN ")).unwrap();
    let (secret, script) = run.trim_start().split_once(' ').unwrap();
    assert_eq!(secret, "--mount=type=secret,id=corp-token,env=CORP_TOKEN,required=true");
    assert!(dockerfile.contains("\nARG CORP_INDEX\n"), "{dockerfile}");
    let image = image(&dockerfile, &job);
    let output = exec::run(&mut contained(image.path(), &job, script)).succeeds();
    LeakScan::new(TOKEN)
        .scan("stdout", &output.stdout)
        .scan("stderr", &output.stderr)
        .assert_clean();
    job.assert_built("release");
}

/// Folder with the files of the COPY lines and the registry's root. The project is given to the user nobody.
fn image(dockerfile: &str, job: &Job) -> TempDir {
    let copy = dockerfile
        .lines()
        .find(|line| line.starts_with("COPY --from=regauth "))
        .unwrap();
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for source in copy.split(' ').filter_map(|word| word.strip_prefix("/usr/bin/")) {
        exec::copy_program(&binary(source), &folder.path().join(source));
    }
    let ca = folder.path().join("ca.pem");
    fs::copy(job.registry.ca(), &ca).unwrap();
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o644)).unwrap();
    exec::run(Command::new("chown").args(["-R", NOBODY]).arg(job.cargo.home())).succeeds();
    chown(folder.path(), Some(65534), Some(65534)).unwrap();
    folder
}

/// Runs a script in a mount namespace with the toolchain at /opt and the project at /srv, as the user nobody. Needs root.
fn contained(image: &Path, job: &Job, script: &str) -> Command {
    let toolchain = cargo::command(Path::new("/"));
    let toolchain = Path::new(toolchain.get_program()).ancestors().nth(2).unwrap();
    let enter = "mount --bind \"$1\" /opt && mount --bind \"$2\" /srv && mount -o remount,bind,ro / && ! touch /x \
                 2>/dev/null && cd /srv/project && exec setpriv --reuid=65534 --regid=65534 --clear-groups \
                 --no-new-privs sh -c \"$3\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--", "sh", "-c", enter, "sh"])
        .args([toolchain, job.cargo.home()])
        .arg(script)
        .env_clear()
        .env(
            "PATH",
            format!("{}:/opt/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin", image.display()),
        )
        .env("CARGO_HOME", "/srv/cargo")
        .env("CORP_TOKEN", TOKEN)
        .env("CORP_INDEX", job.registry.index())
        .env("SSL_CERT_FILE", image.join("ca.pem"));
    command
}

const NOBODY: &str = "65534:65534";
