//! Examples in packaging/ci for jobs behind a gateway: each runs unchanged, read as its CI system reads it, on a machine without
//! regauth. A real OpenID provider stands in for the forge's.

use std::fs;
use std::path::Path;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::curl::Curl;
use regauth_tests::exec;
use regauth_tests::gateway::Gateway;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::openid_provider::OpenidProvider;
use regauth_tests::process::Process;
use regauth_tests::programs::{binary, tool};
use regauth_tests::registry::Registry;
use regauth_tests::squid::free_port;
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";

/// Checked-out project with a private dependency and a lock file, and a gateway that trusts the forge.
struct Job {
    registry: Registry,
    provider: OpenidProvider,
    gateway: Gateway,
    cargo: Cargo,
}

impl Job {
    fn new() -> Self {
        let registry = Registry::builder(Scheme::bearer(), TOKEN).auth_required().start();
        let provider = OpenidProvider::start(registry.gate());
        let rule = format!(
            "[[trust]]\nissuer = \"{}\"\naudience = \"regauth\"\njwks = \"{}\"\nmatch = {{ repository = \"corp/*\" }}\n\
             registries = [\"corp\"]\n",
            provider.issuer(),
            provider.keys_url()
        );
        let gateway = Gateway::start(&rule);
        gateway.daemon.add("corp", &registry);
        let cargo = Cargo::new().depends_on(r#"ship = { version = "1", registry = "corp" }"#);
        let job = Self {
            registry,
            provider,
            gateway,
            cargo,
        };
        let mut lock = job.bash();
        let proxy = job.gateway.proxy(&job.provider.identity("regauth"));
        lock.envs([
            ("CARGO_REGISTRIES_CORP_INDEX", &*job.registry.index()),
            ("CARGO_REGISTRIES_CORP_TOKEN", "placeholder"),
            ("CARGO_REGISTRIES_CORP_CREDENTIAL_PROVIDER", "cargo:token"),
            ("CARGO_HTTP_PROXY", &proxy),
            ("CARGO_HTTP_CAINFO", job.gateway.daemon.bundle().to_str().unwrap()),
            (
                "CARGO_HTTP_PROXY_CAINFO",
                job.gateway.authority.file().to_str().unwrap(),
            ),
        ]);
        exec::run(lock.args(["-c", "cargo generate-lockfile"])).succeeds();
        job
    }

    /// Shell in the project.
    fn bash(&self) -> std::process::Command {
        let usual = cargo::command(self.cargo.home());
        let mut command = std::process::Command::new("bash");
        let set = usual.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(set).current_dir(self.cargo.project());
        command
    }

    /// Value of a setting of the CI system.
    fn setting(&self, name: &str) -> String {
        let text = |file: &Path| fs::read_to_string(file).unwrap();
        match name {
            "CORP_INDEX" => self.registry.index(),
            "REGAUTH_GATEWAY" => self.gateway.address(),
            "REGAUTH_BUNDLE" => text(&self.gateway.daemon.bundle()),
            "REGAUTH_ROOTS" => {
                let bundle = text(&self.gateway.daemon.bundle());
                let ours = bundle.split_once("# regauth authority for").unwrap().1;
                format!("# {ours}\n{}", text(&self.gateway.authority.file()))
            }
            "REGAUTH_ROOT" => text(&self.gateway.authority.file()),
            other => panic!("the example needs the unknown setting {other}"),
        }
    }

    fn assert_built(&self, output: &exec::Output) {
        assert!(self.cargo.project().join("target/debug/libproject.rlib").exists());
        LeakScan::new(TOKEN)
            .scan("stdout", &output.stdout)
            .scan("stderr", &output.stderr)
            .scan_folder(self.cargo.home(), &[])
            .assert_clean();
    }
}

/// First document of a file in packaging/ci.
fn yaml(name: &str) -> Value {
    documents(&format!("ci/{name}")).swap_remove(0)
}

fn documents(name: &str) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name);
    let read = "import json, sys, yaml; json.dump(list(yaml.load_all(open(sys.argv[1]), yaml.BaseLoader)), sys.stdout)";
    let mut python = exec::command(tool("python/bin/python"), Path::new("/"));
    let output = exec::run(python.args(["-c", read]).arg(file)).succeeds().stdout;
    serde_json::from_str(&output).unwrap()
}

#[test]
fn the_github_example_builds_behind_a_gateway() {
    let job = Job::new();
    let workflow = yaml("github-gateway.yml");
    assert_eq!(workflow["permissions"]["id-token"], "write");
    let step = &workflow["jobs"]["build"]["steps"][1];
    let file = job.cargo.home().join("step.sh");
    fs::write(&file, step["run"].as_str().unwrap()).unwrap();
    let mut bash = job.bash();
    for (name, value) in step["env"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        let setting = value
            .strip_prefix("${{ vars.")
            .and_then(|rest| rest.strip_suffix(" }}"));
        bash.env(name, setting.map_or_else(|| value.to_owned(), |name| job.setting(name)));
    }
    bash.envs(job.provider.github_job())
        .env("RUNNER_TEMP", job.cargo.home());
    let output = exec::run(bash.arg("-e").arg(&file)).succeeds();
    job.assert_built(&output);
}

#[test]
fn the_gitlab_example_builds_behind_a_gateway() {
    let job = Job::new();
    let pipeline = yaml("gitlab-gateway.yml");
    let lines = pipeline["build"]["script"].as_array().unwrap();
    let script: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    let mut bash = job.bash();
    for (name, identity) in pipeline["build"]["id_tokens"].as_object().unwrap() {
        bash.env(name, job.provider.identity(identity["aud"].as_str().unwrap()));
    }
    for name in ["CORP_INDEX", "REGAUTH_GATEWAY"] {
        bash.env(name, job.setting(name));
    }
    // Variables of the type File hold the path of a file with the value.
    for name in ["REGAUTH_BUNDLE", "REGAUTH_ROOT"] {
        let file = job.cargo.home().join(name);
        fs::write(&file, job.setting(name)).unwrap();
        bash.env(name, file);
    }
    let output = exec::run(bash.args(["-eo", "pipefail", "-c", &script.join("\n")])).succeeds();
    job.assert_built(&output);
}

/// The pod's volumes are folders below a temporary one, and the registry is one of this machine.
#[test]
fn the_sidecar_example_serves_the_build_beside_it() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let [pod, config]: [Value; 2] = documents("helm/examples/sidecar.yaml").try_into().unwrap();
    let (root, port) = (TempDir::new().unwrap(), free_port());
    let volumes = ["/etc/regauth", "/run/regauth", "/var/lib/regauth", "/bundle"];
    let here = |text: &str| {
        let folder = root.path().display();
        let moved = |text: String, path: &&str| text.replace(path, &format!("{folder}{path}"));
        volumes.iter().fold(text.to_owned(), moved)
    };
    let config = here(config["data"]["config.toml"].as_str().unwrap());
    let example = "scopes = [\"https://corp.example/maven/\"]";
    assert!(config.contains(example), "{config}");
    let own = format!(
        "scopes = [\"{}\"]\nca-file = \"{}\"",
        registry.scope(),
        registry.ca().display()
    );
    let config = format!("listen = \"127.0.0.1:{port}\"\n{}", config.replace(example, &own));
    let at = |path: &str| root.path().join(path);
    for (file, text) in [
        ("etc/regauth/config.toml", config.as_str()),
        ("run/regauth/token/token", TOKEN),
        ("var/lib/regauth/empty", ""),
        ("bundle/empty", ""),
    ] {
        fs::create_dir_all(at(file).parent().unwrap()).unwrap();
        fs::write(at(file), text).unwrap();
    }
    let spec = &pod["spec"];
    let sidecar = &spec["initContainers"][0];
    let words = |value: &Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|word| here(word.as_str().unwrap()))
            .collect()
    };
    let arguments: Vec<String> = words(&sidecar["args"]);
    let probe: Vec<String> = words(&sidecar["startupProbe"]["exec"]["command"]);
    let command = |program: &str| {
        let mut command = exec::command(binary(program), root.path());
        for variable in sidecar["env"].as_array().unwrap() {
            command.env(
                variable["name"].as_str().unwrap(),
                here(variable["value"].as_str().unwrap()),
            );
        }
        command
    };
    let mut daemon = command("regauthd");
    let mut daemon = Process::spawn("regauthd", daemon.args(&arguments), &at("regauthd.log"));
    assert_eq!(probe, ["/usr/bin/regauthctl", "status"]);
    daemon.wait_until("the startup probe", || {
        exec::run(command("regauthctl").args(&probe[1..]))
            .status
            .success()
            .then_some(())
    });
    // The build has another container's file system: only the bundle's folder is shared.
    let options = spec["containers"][0]["env"][0]["value"].as_str().unwrap();
    assert!(
        options.contains("-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9001"),
        "the default of `listen`"
    );
    let store = options.split("-Djavax.net.ssl.trustStore=").nth(1).unwrap();
    let store = here(store.split_whitespace().next().unwrap());
    assert!(fs::metadata(&store).unwrap().len() > 0, "{store}");
    let curl = Curl::new()
        .proxy(&format!("http://127.0.0.1:{port}"))
        .trusts(&Path::new(&store).with_extension("pem"));
    assert_eq!(
        curl.get(&registry.nginx.url("/api/cargo/index/config.json")).status,
        200
    );
    assert!(daemon.stop().success());
    assert!(!daemon.log().contains(TOKEN));
}
