//! Files for editors and readers: the schema of config.toml, manual pages, and `explain`.

use std::fs;
use std::path::{Path, PathBuf};

use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, Output};
use regauth_tests::programs::{binary, tool};
use tempfile::TempDir;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Validates a TOML text against the schema, as an editor does.
fn validate(text: &str) -> Output {
    let mut python = exec::command(tool("python/bin/python3"), Path::new("/nonexistent"));
    python
        .args(["-c", VALIDATE])
        .arg(project("packaging/config.schema.json"));
    exec::run_with_input(&mut python, text)
}

const VALIDATE: &str = "
import json, sys, tomllib
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
faults = list(Draft202012Validator(schema).iter_errors(tomllib.loads(sys.stdin.read())))
for fault in faults:
    print(fault.json_path, fault.message[:300])
sys.exit(1 if faults else 0)
";

/// Blocks of TOML in the documentation that are for config.toml.
fn documented() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for page in [
        "README.md",
        "docs/registries.md",
        "docs/clients.md",
        "docs/minted-tokens.md",
        "docs/ci.md",
        "docs/observability.md",
    ] {
        let text = fs::read_to_string(project(page)).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // The others are cargo's and a team's.
            let is_ours = !block.contains("format = 1");
            let is_ours =
                is_ours && (block.contains("source =") || block.contains("scopes =") || block.contains("listen ="));
            found.extend(is_ours.then(|| (page.to_owned(), block.to_owned())));
        }
    }
    assert!(found.len() >= 3, "{found:?}");
    found
}

#[test]
fn the_schema_accepts_what_the_documentation_shows() {
    for (page, text) in documented() {
        let output = validate(&text);
        assert!(output.status.success(), "{page}:\n{text}\n{}", output.report());
    }
    // The file that the first start writes, with its comments taken off.
    let daemon = Daemon::start();
    let initial = fs::read_to_string(daemon.home().join("config.toml")).unwrap();
    let keys = initial.lines().filter_map(|line| line.strip_prefix("# "));
    let keys = keys.filter(|line| line.starts_with('[') || line.split(' ').nth(1) == Some("="));
    let text: Vec<_> = keys.filter(|line| !line.starts_with("store")).collect();
    validate(&text.join("\n")).succeeds();
}

#[test]
fn the_schema_refuses_what_the_daemon_refuses() {
    for (text, said) in [
        ("lisen = \"127.0.0.1:1\"", "lisen"),
        ("clients = \"everybody\"", "clients"),
        ("[upstream]\nprxy = \"http://p:1\"", "prxy"),
        (
            "[registries.corp]\nindex = \"sparse+https://x.example/\"\ntoken = \"s3cret\"",
            "token",
        ),
        ("[registries.corp]\nkind = \"cargo\"", "registries"),
        ("[registries.corp]\nscopes = []", "scopes"),
        (
            "[registries.corp]\nscopes = [\"https://x.example/\"]\nclient-cert = \"/me.pem\"",
            "client-key",
        ),
        (
            "[registries.corp]\nscopes = [\"https://x.example/\"]\nsource = { exchange = \"jfrog\", hots = \"x\" }",
            "source",
        ),
    ] {
        let output = validate(text);
        assert!(
            !output.status.success() && output.stdout.contains(said),
            "{text}\n{}",
            output.report()
        );
    }
}

#[test]
fn manual_pages_are_readable_and_complete() {
    let folder = TempDir::new().unwrap();
    let mut man = exec::command(binary("regauthctl"), folder.path());
    exec::run(man.args(["man", "--folder"]).arg(folder.path())).succeeds();
    let main = fs::read_to_string(folder.path().join("regauthctl.1")).unwrap();
    let mut of_daemon = exec::command(binary("regauthd"), folder.path());
    let of_daemon = exec::run(of_daemon.arg("--man-page")).succeeds().stdout;
    for page in [&main, &of_daemon] {
        for section in ["EXAMPLES", "FILES", "ENVIRONMENT", "SEE ALSO"] {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}:\n{page}");
        }
    }
    assert!(folder.path().join("regauth.1").exists() && folder.path().join("regauthctl-setup.1").exists());
}

#[test]
fn the_command_that_an_error_names_explains_it() {
    let daemon = Daemon::start();
    let curl = Curl::new();
    let refused = curl.get(&format!("{}/x", daemon.proxy()));
    let body = refused.body();
    let (_, command) = body.split_once("More: `").unwrap();
    let words: Vec<_> = command.split('`').next().unwrap().split(' ').skip(1).collect();
    let explained = daemon.ctl(&words).succeeds().json;
    assert_eq!(explained["code"], "bad-request");
    assert!(
        explained["text"].as_str().unwrap().contains("it is a proxy"),
        "{explained}"
    );
    daemon.ctl(&["explain", "no-such-code"]).exits(6);
}
