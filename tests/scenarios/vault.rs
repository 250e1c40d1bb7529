//! Vault store: an age file, with its key in a file, from systemd, or protected by the user's passphrase.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use regauth_shared::exit_code;
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::{self, Ctl};
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use regauth_tests::programs::binary;
use regauth_tests::terminal::Terminal;
use serde_json::Value;

const TOKEN: &str = "token-of-the-vault";
const PASSPHRASE: &str = "correct horse battery staple";

#[test]
fn the_age_command_opens_the_vault_with_the_identity_file() {
    let fixture = Fixture::start(Daemon::builder().store("vault"));
    let state = fixture.daemon.home().join("state");
    assert_eq!(decrypt_vault(&state, &state.join("vault-identity.txt"))["corp"], TOKEN);
    let protection = fixture.daemon.ctl(&["status"]).json["store"]["protection"].to_string();
    assert!(protection.contains("readable by its owner alone"), "{protection}");
}

#[test]
fn status_and_the_first_start_say_who_can_read_the_tokens_and_what_is_better() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    let is_exposed = "every program of the daemon's user can read the tokens";
    let exposure = |fixture: &Fixture| {
        let status = fixture.daemon.ctl(&["status"]).succeeds().json;
        status["store"]["exposure"].as_str().unwrap().to_owned()
    };
    let before = exposure(&fixture);
    assert!(
        before.starts_with(is_exposed) && before.contains("unlock --set-passphrase"),
        "{before}"
    );
    assert_eq!(fixture.daemon.log().matches(is_exposed).count(), 1);
    fixture.set_passphrase(PASSPHRASE).succeeds();
    let after = exposure(&fixture);
    assert!(
        !after.contains(is_exposed) && after.contains("without the passphrase"),
        "{after}"
    );
    fixture.daemon.restart();
    assert_eq!(fixture.daemon.log().matches("chose the store").count(), 1);
}

#[test]
fn a_restarted_daemon_reads_its_token_from_the_vault_and_keeps_its_bundle() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    let bundle = fs::read(fixture.daemon.bundle()).unwrap();
    fixture.daemon.restart();
    fixture.assert_served();
    assert!(
        bundle == fs::read(fixture.daemon.bundle()).unwrap(),
        "the restart changed the bundle"
    );
}

#[test]
fn an_identity_file_that_others_can_read_is_refused_with_the_fix() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    let identity = fixture.daemon.home().join("state/vault-identity.txt");
    set_mode(&identity, 0o644);
    fixture.daemon.restart();
    let status = fixture.daemon.ctl(&["status"]).succeeds().json;
    let problem = status["problems"][0]["message"].as_str().unwrap();
    assert!(problem.contains("chmod 600"), "{status}");
    fixture.assert_unreadable();
    set_mode(&identity, 0o600);
    assert_eq!(fixture.daemon.ctl(&["unlock"]).succeeds().json["ready"], 1);
    fixture.assert_served();
}

#[test]
fn systemd_provides_the_key_and_the_state_has_none() {
    let credentials = tempfile::tempdir().unwrap();
    let identity = credentials.path().join("vault-identity");
    let mut keygen = exec::command("age-keygen", credentials.path());
    exec::run(keygen.arg("-o").arg(&identity)).succeeds();
    let daemon = Daemon::builder()
        .store("vault")
        .env("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap());
    let mut fixture = Fixture::start(daemon);
    let state = fixture.daemon.home().join("state");
    assert!(!state.join("vault-identity.txt").exists());
    assert_eq!(decrypt_vault(&state, &identity)["corp"], TOKEN);
    fixture.daemon.restart();
    fixture.assert_served();
    let status = fixture.daemon.ctl(&["status"]).json;
    assert!(
        status["store"]["protection"].to_string().contains("systemd"),
        "{status}"
    );
    let set = fixture.set_passphrase(PASSPHRASE);
    assert_eq!(set.exit, i32::from(exit_code::REFUSED), "{}", set.output.report());
    fixture.assert_served();
}

#[test]
fn a_passphrase_locks_the_vault_at_every_start_until_unlock() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    fixture.set_passphrase(PASSPHRASE).succeeds();
    fixture.assert_served();
    let state = fixture.daemon.home().join("state");
    assert!(
        !state.join("vault-identity.txt").exists(),
        "the key is still in plain text"
    );

    fixture.daemon.restart();
    let status = fixture.daemon.ctl(&["status"]).succeeds().json;
    assert_eq!(status["store"]["state"], "locked");
    assert!(
        status["store"]["protection"].to_string().contains("passphrase"),
        "{status}"
    );
    assert!(status["problems"].to_string().contains("regauthctl unlock"), "{status}");
    fixture.assert_locked();

    for (passphrase, exit) in [
        ("another passphrase", exit_code::STORE),
        ("", exit_code::USAGE),
        ("two\nlines", exit_code::USAGE),
    ] {
        let unlock = fixture.unlock(passphrase);
        assert_eq!(
            unlock.exit,
            i32::from(exit),
            "{passphrase:?}: {}",
            unlock.output.report()
        );
        fixture.assert_locked();
    }
    assert_eq!(fixture.daemon.ctl(&["unlock"]).exit, i32::from(exit_code::STORE));

    let unlocked = fixture.unlock(PASSPHRASE).succeeds().json;
    assert_eq!(
        [&unlocked["store"]["state"], &unlocked["ready"]],
        [&Value::from("open"), &Value::from(1)]
    );
    fixture.assert_served();
    fixture.daemon.rotate("corp", TOKEN).succeeds();
    fixture.assert_served();
    LeakScan::new(PASSPHRASE)
        .scan("the daemon's log", fixture.daemon.log())
        .scan_folder(fixture.daemon.home(), &[])
        .scan_process(fixture.daemon.pid())
        .assert_clean();
}

#[test]
fn the_passphrase_can_be_changed_with_the_present_one_only() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    fixture.set_passphrase(PASSPHRASE).succeeds();
    fixture.daemon.restart();
    let locked = fixture.set_passphrase("another passphrase");
    assert_eq!(locked.exit, i32::from(exit_code::STORE), "{}", locked.output.report());
    fixture.unlock(PASSPHRASE).succeeds();
    // Open, it still needs the present one.
    let without = fixture.set_passphrase("another passphrase").exits(8);
    assert_eq!(without.json["err"]["kind"], "presence-needed", "{}", without.json);
    without.output.says("two lines");
    let wrong = fixture.set_passphrase("a guess\nanother passphrase");
    assert_eq!(wrong.exit, i32::from(exit_code::STORE), "{}", wrong.output.report());
    let changed = fixture.set_passphrase_at_terminal(PASSPHRASE, "another passphrase");
    assert!(changed.contains("It has the new passphrase"), "{changed}");
    fixture.daemon.restart();
    assert_eq!(fixture.unlock(PASSPHRASE).exit, i32::from(exit_code::STORE));
    fixture.unlock("another passphrase").succeeds();
    fixture.assert_served();
}

#[test]
fn a_vault_without_its_key_is_left_unchanged() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    let state = fixture.daemon.home().join("state");
    let vault = fs::read(state.join("vault.age")).unwrap();
    fs::rename(state.join("vault-identity.txt"), state.join("elsewhere")).unwrap();
    fixture.daemon.restart();
    let status = fixture.daemon.ctl(&["status"]).succeeds().json;
    assert!(status["problems"].to_string().contains("put the key back"), "{status}");
    fixture.assert_unreadable();
    assert!(vault == fs::read(state.join("vault.age")).unwrap());
    fs::rename(state.join("elsewhere"), state.join("vault-identity.txt")).unwrap();
    fixture.daemon.restart();
    fixture.assert_served();
}

#[test]
fn a_damaged_vault_is_named_as_such_and_its_fix_works() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    let vault = fixture.daemon.home().join("state/vault.age");
    let (good, moved) = (fs::read(&vault).unwrap(), vault.with_extension("moved"));
    fs::write(&vault, "this is no vault").unwrap();
    fixture.daemon.restart();
    fixture.assert_unreadable();
    let refusal = Curl::new()
        .behind(&fixture.daemon)
        .fetch(&fixture.registry.url("/corp/"));
    refusal.output.fails().says("403");
    let unlock = fixture.daemon.ctl(&["unlock"]);
    assert_eq!(unlock.exit, i32::from(exit_code::STORE), "{}", unlock.output.report());
    let report = unlock.output.report();
    assert!(
        report.contains("is damaged") && report.contains("regauthctl rotate"),
        "{report}"
    );
    let status = fixture.daemon.ctl(&["status"]).succeeds().json;
    assert_eq!(status["store"]["state"], "unavailable", "{status}");
    let shown = fixture.daemon.ctl(&["show", "corp"]).json["credential"]["reason"].to_string();
    assert!(shown.contains("is damaged"), "{shown}");
    let warnings = fixture.daemon.log();
    let of_registry =
        |line: &&str| line.contains("could not read the registry's token") && line.contains("registry=corp");
    assert_eq!(warnings.lines().filter(of_registry).count(), 1, "{warnings}");

    fs::rename(&vault, &moved).unwrap();
    fixture.daemon.rotate("corp", TOKEN).succeeds();
    poll::wait_for("the authority", || {
        let fetched = Curl::new()
            .behind(&fixture.daemon)
            .fetch(&fixture.registry.url("/corp/"));
        fetched.output.status.success().then_some(())
    });
    fixture.assert_served();

    fs::write(&vault, good).unwrap();
    fixture.daemon.restart();
    fixture.assert_served();
}

#[test]
fn an_unlock_that_leaves_the_vault_locked_names_another_step() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    fixture.set_passphrase(PASSPHRASE).succeeds();
    fixture.daemon.restart();
    let unlock = fixture.daemon.ctl(&["unlock"]);
    assert_eq!(unlock.exit, i32::from(exit_code::STORE));
    unlock.output.says("--passphrase-stdin");
    fixture.unlock(PASSPHRASE).succeeds();
}

/// A backup or a hostile program may have copied the key before.
#[test]
fn a_copy_of_the_old_key_does_not_open_the_vault_after_a_new_passphrase() {
    let mut fixture = Fixture::start(Daemon::builder().store("vault"));
    let state = fixture.daemon.home().join("state");
    let copy = fixture.daemon.home().join("copy.txt");
    fs::copy(state.join("vault-identity.txt"), &copy).unwrap();
    assert_eq!(decrypt_vault(&state, &copy)["corp"], TOKEN);
    fixture.set_passphrase(PASSPHRASE).succeeds();
    let mut age = exec::command("age", &state);
    age.arg("-d").arg("-i").arg(&copy).arg(state.join("vault.age"));
    exec::run(&mut age).fails().says("no identity matched");
    fixture.assert_served();
    fixture.daemon.restart();
    fixture.unlock(PASSPHRASE).succeeds();
    fixture.assert_served();
}

#[test]
fn a_short_passphrase_is_refused_and_changes_nothing() {
    let fixture = Fixture::start(Daemon::builder().store("vault"));
    for passphrase in ["x", "aaaaaaaaaaaaaaaa"] {
        let set = fixture.set_passphrase(passphrase);
        assert_eq!(set.exit, i32::from(exit_code::USAGE), "{}", set.output.report());
        set.output.says("nothing was changed");
    }
    let state = fixture.daemon.home().join("state");
    assert!(!state.join("vault-identity.age").exists());
    assert_eq!(decrypt_vault(&state, &state.join("vault-identity.txt"))["corp"], TOKEN);
}

#[test]
fn other_stores_have_no_passphrase() {
    let daemon = Daemon::start();
    let set = daemon.ctl_with_input(&["unlock", "--set-passphrase", "--passphrase-stdin"], PASSPHRASE);
    assert_eq!(set.exit, i32::from(exit_code::REFUSED), "{}", set.output.report());
    let missing_input = daemon.ctl(&["unlock", "--set-passphrase"]);
    assert_eq!(missing_input.exit, i32::from(exit_code::USAGE));
    missing_input.output.says("--passphrase-stdin");
}

/// Daemon, and a registry whose token is in the vault.
struct Fixture {
    daemon: Daemon,
    registry: MockServer,
    /// Keeps the CA file, which the daemon reads at every start.
    _authority: Authority,
}

impl Fixture {
    fn start(daemon: regauth_tests::daemon::Builder) -> Self {
        let daemon = daemon.start();
        let authority = Authority::new("Corp Root");
        let registry = MockServer::builder(&authority, "localhost").start();
        let (scope, ca) = (registry.url("/corp/"), authority.file());
        let add = ctl::add_scope("corp", &scope, ca.to_str().unwrap());
        daemon.ctl_with_input(&add, TOKEN).succeeds();
        Self {
            daemon,
            registry,
            _authority: authority,
        }
    }

    #[track_caller]
    fn assert_served(&self) {
        let answer = Curl::new().behind(&self.daemon).get(&self.registry.url("/corp/"));
        assert_eq!(answer.status, 200, "{}", answer.body());
        let sent = self.registry.requests().pop().unwrap().header("authorization");
        assert_eq!(sent, Some(format!("Bearer {TOKEN}")));
    }

    /// Asserts that no request reaches the registry and `list` reports the locked vault.
    #[track_caller]
    fn assert_locked(&self) {
        self.assert_refused("locked");
    }

    fn assert_unreadable(&self) {
        self.assert_refused("unreadable");
    }

    fn assert_refused(&self, state: &str) {
        let before = self.registry.requests().len();
        let fetch = Curl::new().behind(&self.daemon).fetch(&self.registry.url("/corp/"));
        fetch.output.fails().says("403");
        assert_eq!(self.registry.requests().len(), before);
        let list = self.daemon.ctl(&["list"]).succeeds().json;
        assert_eq!(list["registries"][0]["credential"]["state"], state, "{list}");
    }

    fn set_passphrase(&self, passphrase: &str) -> Ctl {
        self.daemon
            .ctl_with_input(&["unlock", "--set-passphrase", "--passphrase-stdin"], passphrase)
    }

    /// Returns what the terminal shows at the end.
    fn set_passphrase_at_terminal(&self, present: &str, new: &str) -> String {
        let home = self.daemon.home();
        let mut ctl = exec::command(binary("regauthctl"), home);
        ctl.arg("--home").arg(home).args(["unlock", "--set-passphrase"]);
        let mut terminal = Terminal::start(&ctl);
        for (prompt, typed) in [("New ", new), ("again: ", new), ("Present ", present)] {
            terminal.read_until(prompt);
            terminal.type_without_echo(typed);
        }
        terminal.finish().0
    }

    fn unlock(&self, passphrase: &str) -> Ctl {
        self.daemon
            .ctl_with_input(&["unlock", "--passphrase-stdin"], passphrase)
    }
}

/// Contents of the vault, decrypted by `age -d`.
fn decrypt_vault(state: &Path, identity: &Path) -> Value {
    let mut age = exec::command("age", state);
    age.arg("-d").arg("-i").arg(identity).arg(state.join("vault.age"));
    age.stdin(Stdio::null());
    serde_json::from_str(&exec::run(&mut age).succeeds().stdout).unwrap()
}

fn set_mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}
