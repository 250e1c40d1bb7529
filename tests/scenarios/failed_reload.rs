//! A reload or a start that fails changes nothing, and says what is true.

use std::fs;
use std::path::PathBuf;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::registry::Registry;
use serde_json::json;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";

/// Daemon whose bundle is in a folder that the test can make unusable.
struct Fixture {
    daemon: Daemon,
    registry: Registry,
    folder: TempDir,
}

impl Fixture {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let bundles = folder.path().join("bundles");
        fs::create_dir(&bundles).unwrap();
        let daemon = Daemon::builder()
            .store("vault")
            .env("REGAUTH_BUNDLE", bundles.join("bundle.pem").to_str().unwrap())
            .start();
        let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
        daemon.add("corp", &registry);
        Self {
            daemon,
            registry,
            folder,
        }
    }

    /// Replaces the bundle's folder by a file: nothing can be written there, also as root.
    fn break_bundles(&self) {
        fs::rename(self.folder.path().join("bundles"), self.folder.path().join("moved")).unwrap();
        fs::write(self.folder.path().join("bundles"), "").unwrap();
    }

    fn mend_bundles(&self) {
        fs::remove_file(self.folder.path().join("bundles")).unwrap();
        fs::rename(self.folder.path().join("moved"), self.folder.path().join("bundles")).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.daemon.home().join("config.toml")
    }

    /// Status with the bundle of before, wherever it is now.
    fn get(&self) -> u16 {
        let moved = self.folder.path().join("moved/bundle.pem");
        let bundle = if moved.exists() {
            moved
        } else {
            self.folder.path().join("bundles/bundle.pem")
        };
        let curl = Curl::new().trusts(&bundle).proxy(&self.daemon.proxy());
        curl.get(&self.registry.nginx.url("/api/cargo/index/config.json"))
            .status
    }

    fn names(&self) -> Vec<String> {
        let listed = self.daemon.ctl(&["list"]).succeeds().json;
        let registries = listed["registries"].as_array().unwrap().iter();
        registries
            .map(|registry| registry["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn a_reload_that_cannot_write_the_bundle_adds_no_registry() {
    let fixture = Fixture::start();
    let other = Authority::new("Other Root");
    let text = fs::read_to_string(fixture.config()).unwrap();
    let added =
        "\n[registries.other]\nkind = \"generic\"\nscopes = [\"https://other.invalid/\"]\nsource = \"file:/nowhere\"\n";
    fs::write(fixture.config(), text + added).unwrap();
    fixture.break_bundles();
    let failed = fixture.daemon.ctl(&["reload"]).exits(1);
    assert!(
        failed.json["err"]["hint"].to_string().contains("nothing was changed"),
        "{}",
        failed.json
    );
    assert_eq!(fixture.names(), ["corp"]);
    assert_eq!(fixture.get(), 200);
    let journal = fs::read_to_string(fixture.daemon.home().join("state/ledger.json")).unwrap();
    assert!(
        !journal.contains("other.invalid"),
        "its authority is gone again: {journal}"
    );
    fixture.mend_bundles();
    fixture.daemon.ctl(&["reload"]).succeeds();
    assert_eq!(fixture.names(), ["corp", "other"]);
    drop(other);
}

#[test]
fn a_reload_that_cannot_write_the_bundle_removes_no_registry() {
    let fixture = Fixture::start();
    let text = fs::read_to_string(fixture.config()).unwrap();
    let (before, _) = text.split_once("[registries").unwrap();
    fs::write(fixture.config(), before).unwrap();
    fixture.break_bundles();
    fixture.daemon.ctl(&["reload"]).exits(1);
    assert_eq!(fixture.names(), ["corp"]);
    assert_eq!(fixture.get(), 200, "its token is still sent");
}

#[test]
fn a_company_root_that_does_not_get_into_the_bundle_does_not_get_into_the_configuration() {
    let fixture = Fixture::start();
    let company = Authority::new("Company Root");
    let root = company.file().display().to_string();
    let set = || {
        fixture
            .daemon
            .request(json!({ "method": "set-upstream", "ca-file": root }))
    };
    fixture.break_bundles();
    let failed = set();
    let hint = failed["err"]["hint"].as_str().unwrap();
    assert!(hint.contains("the ca-file was not set"), "{failed}");
    let config = fs::read_to_string(fixture.config()).unwrap();
    assert!(!config.contains(&root), "{config}");
    fixture.mend_bundles();
    fixture.daemon.ctl(&["reload"]).succeeds();
    let bundle = || fs::read_to_string(fixture.daemon.bundle()).unwrap();
    let certificate = fs::read_to_string(company.file()).unwrap();
    let first_line = certificate.lines().nth(1).unwrap();
    assert!(!bundle().contains(first_line), "the bundle is as before");
    assert!(set()["err"].is_null());
    assert!(bundle().contains(first_line));
    assert_eq!(fixture.daemon.ctl(&["status"]).succeeds().json["ca-file"], root);
}

#[test]
fn a_start_that_cannot_write_the_bundle_says_so_and_claims_nothing_else() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let bundle = folder.path().join("file/bundle.pem");
    let output = Daemon::builder()
        .store("vault")
        .env("REGAUTH_BUNDLE", bundle.to_str().unwrap())
        .run(&folder.path().join("home"))
        .fails()
        .says(&format!("cannot write {}", bundle.display()))
        .says("REGAUTH_BUNDLE");
    assert!(!output.stderr.contains("nothing was changed"), "{}", output.stderr);
}
