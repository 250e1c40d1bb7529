//! `regauthctl import`: tokens in the files of cargo, git, curl, pip and npm are found, imported, removed and restored byte
//! for byte.

mod plaintext_tokens;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::Output;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::registry::Registry;
use regauth_tests::user::User;
use serde_json::Value;

use self::plaintext_tokens::{KINDS, NPM, PlaintextTokens};

#[test]
fn tokens_of_each_kind_are_imported_removed_and_restored_byte_for_byte() {
    let home = PlaintextTokens::new();
    let before = home.files();
    let shown = home.import(&["--dry-run"]).succeeds();
    home.assert_prints_no_token(&shown);
    assert_eq!(home.states(&shown), [("new", KINDS.len() + 1)], "{}", shown.report());
    assert_eq!(home.files(), before);

    let imported = home.import(&["--all", "--remove-originals"]);
    assert_eq!(
        imported.status.code(),
        Some(1),
        "the host in .netrc cannot be reached: {}",
        imported.report()
    );
    assert_eq!(home.states(&imported), [("added", KINDS.len()), ("failed", 1)]);
    let imported_rest = home
        .import(&["--only", "localhost", "--no-verify", "--remove-originals"])
        .succeeds();
    assert_eq!(home.states(&imported_rest), [("added", 1)]);
    home.assert_prints_no_token(&imported);
    home.assert_served();
    home.assert_clean();
    assert!(
        home.read(".gitconfig")
            .starts_with("# mine\n[user]\n\tname = Me # really\n")
    );
    assert!(
        home.read(".gitconfig").contains("insteadOf = git@b:"),
        "the insteadOf rewrite stays"
    );
    assert_eq!(home.read(".netrc"), "# curl's\nmachine other.example login nobody\n");
    assert_eq!(home.read("cargo/credentials.toml"), "# kept by hand\n");

    let registries = home.registries();
    let again = home.import(&["--all", "--remove-originals"]).succeeds();
    assert_eq!(home.states(&again), []);
    assert_eq!(home.registries(), registries, "a registry was added twice");

    home.import(&["--undo"]).succeeds();
    assert_eq!(home.files(), before, "a file differs in its content or mode");
    let present = home.import(&["--all"]).succeeds();
    assert_eq!(home.states(&present), [("present", KINDS.len() + 1)]);
    assert_eq!(home.registries(), registries, "a registry was added twice");
    assert_eq!(home.files(), before, "a file changed without --remove-originals");
}

#[test]
fn the_backup_is_private_and_can_be_deleted() {
    let home = PlaintextTokens::new();
    let imported = home.import(&["--all", "--no-verify", "--remove-originals"]).succeeds();
    let backup = home.daemon.home().join("state/import");
    assert_eq!(json(&imported)["originals"]["backup"], backup.to_str().unwrap());
    assert_eq!(mode(&backup), 0o700);
    let copies: Vec<_> = fs::read_dir(&backup)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(copies.len(), home.files().len() + 1, "{copies:?}");
    assert!(copies.iter().all(|copy| mode(copy) == 0o600));
    let record = fs::read_to_string(backup.join("record.json")).unwrap();
    for token in home.tokens() {
        LeakScan::new(&token).scan("the record", &record).assert_clean();
    }
    home.import(&["--forget-backup"]).succeeds();
    assert!(!backup.exists());
    home.import(&["--undo"]).succeeds().says("there is no backup");
    home.assert_clean();
    let mut scan = LeakScan::new(KINDS[0].1);
    scan.scan("the log", home.daemon.log());
    scan.scan_folder(home.daemon.home(), &[]).assert_clean();
}

#[test]
fn undo_keeps_edits_made_since() {
    let home = PlaintextTokens::new();
    home.import(&["--all", "--no-verify", "--remove-originals"]).succeeds();
    let edited = format!("# new\n{}", home.read(".npmrc"));
    home.user.write(".npmrc", &edited);
    home.user.write(".netrc", "machine all.new login me\n");
    let undone = home.import(&["--undo"]).succeeds();
    assert_eq!(home.read(".npmrc"), format!("# new\n{}", home.original(".npmrc")));
    assert_eq!(home.read(".netrc"), "machine all.new login me\n");
    assert_eq!(home.read(".gitconfig"), home.original(".gitconfig"));
    let notes = json(&undone)["notes"].to_string();
    assert!(
        notes.contains(".netrc was edited since") && notes.contains("state/import/"),
        "{notes}"
    );
}

#[test]
fn another_token_for_the_same_url_needs_rotate() {
    let home = PlaintextTokens::new();
    let npm = home.npm();
    home.import(&["--only", &npm, "--keep-originals"]).succeeds();
    let text = home.read(".npmrc").replace(KINDS[NPM].1, "another-token-of-npm");
    home.user.write(".npmrc", &text);
    let differs = home.import(&["--only", &npm, "--remove-originals"]);
    assert_eq!(
        differs.status.code(),
        Some(i32::from(exit_code::EXISTS)),
        "{}",
        differs.report()
    );
    assert_eq!(home.state(&differs, &npm), "differs");
    assert_eq!(
        home.read(".npmrc"),
        text,
        "a token that was not imported must stay in its file"
    );
    assert_eq!(home.sent(NPM), format!("Bearer {}", KINDS[NPM].1));
    let rotated = home
        .import(&["--only", &npm, "--rotate", "--remove-originals"])
        .succeeds();
    assert_eq!(home.state(&rotated, &npm), "rotated");
    assert_eq!(home.sent(NPM), "Bearer another-token-of-npm");
    assert!(!home.read(".npmrc").contains("another-token-of-npm"));
}

#[test]
fn a_rejected_token_stays_in_its_file() {
    let registry = Registry::builder(Scheme::raw(), "the-good-token").start();
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .token("corp", "the-stale-token");
    let daemon = Daemon::start();
    let user = User::at(&daemon, cargo.home());
    let before = user.read("cargo/credentials.toml");
    let ca = registry.ca();
    let refused = user.ctl(&[
        "import",
        "--all",
        "--remove-originals",
        "--ca-file",
        ca.to_str().unwrap(),
    ]);
    assert_eq!(
        refused.status.code(),
        Some(i32::from(exit_code::TOKEN_REJECTED)),
        "{}",
        refused.report()
    );
    assert_eq!(user.read("cargo/credentials.toml"), before);
    assert_eq!(daemon.ctl(&["list"]).json["registries"], serde_json::json!([]));
}

#[test]
fn cargo_builds_after_its_token_is_imported() {
    let registry = Registry::builder(Scheme::raw(), "t0ken-of-cargo")
        .auth_required()
        .start();
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .token("corp", "t0ken-of-cargo")
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    let daemon = Daemon::start();
    let user = User::at(&daemon, cargo.home());
    let ca = registry.ca();
    user.ctl(&[
        "import",
        "--all",
        "--remove-originals",
        "--ca-file",
        ca.to_str().unwrap(),
    ])
    .succeeds()
    .says("`regauthctl setup cargo` sets it up");
    user.ctl(&["setup", "cargo"]).succeeds();
    cargo.build().succeeds().says("Compiling anchor v1.0.0");
    LeakScan::new("t0ken-of-cargo")
        .scan_folder(&cargo.home().join("cargo"), &[])
        .assert_clean();
    user.ctl(&["import", "--all"]).succeeds().says("No tokens were found");
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.report()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
