//! pip and npm with a private index behind nginx: set up by `regauthctl setup`, used, set back.

use std::fs;
use std::path::{Path, PathBuf};

use regauth_tests::certificates::Authority;
use regauth_tests::client;
use regauth_tests::daemon::Daemon;
use regauth_tests::gate::{Gate, Scheme};
use regauth_tests::hand::Hand;
use regauth_tests::leaks::Hunt;
use regauth_tests::nginx::Nginx;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-daemon";

/// A folder behind a gate, at `/packages/`. A PUT to `/packages/mine` is taken from whoever has the token.
struct Index {
    nginx: Nginx,
    authority: Authority,
    folder: TempDir,
}

impl Index {
    fn start() -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("Corp Root"));
        let gate = Gate::new(Scheme::bearer(), folder.path());
        gate.accept(&[TOKEN]);
        let files = folder.path().join("packages");
        fs::create_dir(&files).unwrap();
        let guarded = |rest: &str| format!("{} {rest}", gate.guard());
        let nginx = Nginx::builder(&authority.issue(&["localhost"]))
            .http(&gate.declaration())
            .server(&gate.decision())
            .location(
                "/packages/",
                &guarded(&format!("alias {}/; index index.html;", files.display())),
            )
            .location(
                "= /packages/mine",
                &guarded("if ($request_method = PUT) { return 201 '{}'; } return 404 '{}';"),
            )
            .start();
        Self {
            nginx,
            authority,
            folder,
        }
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("packages")
    }

    fn added_to(&self, daemon: &Daemon, kind: &str) {
        let scope = self.nginx.url("/packages/");
        let place = ["--kind", kind, "--scope", &scope, "--writes", "allow", "--no-verify"];
        let added = daemon.try_add("corp", &place, &Scheme::bearer(), &self.authority.file(), TOKEN);
        added.succeeds();
    }
}

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn pip_installs_from_a_private_index_without_a_password() {
    let (index, daemon) = (Index::start(), Daemon::start());
    index.added_to(&daemon, "pypi");
    let hand = Hand::new(&daemon)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_NO_INPUT", "1");
    wheel(&hand, &index.files());
    let mine = "# mine\n[global]\ntimeout = 20\n\n[install]\nno-compile = yes\n";
    hand.write(".config/pip/pip.conf", mine);
    let url = index.nginx.url("/packages/simple/");
    let install = [
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--target",
        "t",
        "--index-url",
        &url,
        "treasure",
    ];
    hand.run("python3", &install).fails();
    hand.ctl(&["setup", "pip"]).succeeds();
    hand.run("python3", &install).succeeds();
    assert!(hand.home().join("t/treasure/__init__.py").exists());
    Hunt::new(TOKEN).folder(hand.home(), &[]).assert_clean();
    hand.ctl(&["setup", "pip", "--undo"]).succeeds();
    assert_eq!(hand.read(".config/pip/pip.conf").unwrap(), mine);
}

#[test]
fn npm_installs_and_publishes_without_a_token() {
    let (index, daemon) = (Index::start(), Daemon::start());
    index.added_to(&daemon, "npm");
    let hand = Hand::new(&daemon);
    tarball(&hand, &index);
    let mine = format!("; mine\nregistry={}\nfund=false\n", index.nginx.url("/packages/"));
    hand.write(".npmrc", &mine);
    hand.write(
        "project/package.json",
        r#"{"name":"mine","version":"1.0.0","dependencies":{"treasure":"1"}}"#,
    );
    let npm = |arguments: &[&str]| {
        let mut npm = hand.command("npm");
        npm.args(arguments).arg("--no-update-notifier").arg("--fetch-retries=0");
        client::run(npm.current_dir(hand.home().join("project")))
    };
    npm(&["install"]).fails();
    hand.ctl(&["setup", "npm"]).succeeds();
    npm(&["install"]).succeeds();
    assert!(hand.home().join("project/node_modules/treasure/package.json").exists());
    npm(&["publish"]).succeeds();
    let published = index
        .nginx
        .saw(|seen| seen.uri == "/packages/mine" && seen.status == 201);
    assert_eq!(published.authorization(), Some(format!("Bearer {TOKEN}").as_str()));
    Hunt::new(TOKEN).folder(hand.home(), &[]).assert_clean();
    hand.ctl(&["setup", "npm", "--undo"]).succeeds();
    assert_eq!(hand.read(".npmrc").unwrap(), mine);
}

/// The least that pip takes for a package (PEP 427), and its page (PEP 503).
fn wheel(hand: &Hand, files: &Path) {
    let source = hand.home().join("source");
    write(&source, "treasure/__init__.py", "");
    let facts = "Metadata-Version: 2.1\nName: treasure\nVersion: 1.0\n";
    write(&source, "treasure-1.0.dist-info/METADATA", facts);
    let form = "Wheel-Version: 1.0\nGenerator: regauth\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    write(&source, "treasure-1.0.dist-info/WHEEL", form);
    write(&source, "treasure-1.0.dist-info/RECORD", "");
    let wheel = files.join("treasure-1.0-py3-none-any.whl");
    let mut zip = hand.command("python3");
    zip.args(["-m", "zipfile", "-c"])
        .arg(wheel)
        .args(["treasure", "treasure-1.0.dist-info"]);
    client::run(zip.current_dir(&source)).succeeds();
    let link = "<a href=\"../../treasure-1.0-py3-none-any.whl\">treasure-1.0-py3-none-any.whl</a>";
    write(files, "simple/treasure/index.html", link);
}

/// A package as npm packs it, and what its registry says of it.
fn tarball(hand: &Hand, index: &Index) {
    hand.write(
        "source/package/package.json",
        r#"{"name":"treasure","version":"1.0.0"}"#,
    );
    let tarball = index.files().join("treasure-1.0.0.tgz");
    let source = hand.home().join("source");
    hand.run(
        "tar",
        &[
            "-czf",
            tarball.to_str().unwrap(),
            "-C",
            source.to_str().unwrap(),
            "package",
        ],
    )
    .succeeds();
    let url = index.nginx.url("/packages/treasure-1.0.0.tgz");
    let version = serde_json::json!({ "name": "treasure", "version": "1.0.0", "dist": { "tarball": url } });
    let all =
        serde_json::json!({ "name": "treasure", "dist-tags": { "latest": "1.0.0" }, "versions": { "1.0.0": version } });
    write(&index.files(), "treasure", &all.to_string());
}
