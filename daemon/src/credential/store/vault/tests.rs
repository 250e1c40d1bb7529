//! Tests of the vault. The `age` command checks the format.

mod passphrase;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::*;

struct Home {
    _folder: TempDir,
    folders: Folders,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path());
        fs::create_dir(&folders.state).unwrap();
        Self {
            _folder: folder,
            folders,
        }
    }

    fn open(&self) -> VaultStore {
        VaultStore {
            work_factor: 2,
            ..VaultStore::new(&self.folders, None)
        }
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folders.state).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn age(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("age")
            .args(arguments)
            .current_dir(&self.folders.state)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

fn corp() -> Item {
    Item::Credential("corp".parse().unwrap())
}

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

fn failure<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Failed(message) | StoreError::Damaged(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_replaces_and_deletes_across_restarts() {
    let home = Home::new();
    let authority = Item::AuthorityKey("corp.example".parse().unwrap());
    home.open().write(&corp(), &secret("one")).unwrap();
    home.open().write(&authority, &secret(r#"a "quoted\" one"#)).unwrap();
    home.open().write(&corp(), &secret("two")).unwrap();
    assert_eq!(home.open().read(&corp()).unwrap().unwrap().expose(), "two");
    home.open().delete(&corp()).unwrap();
    home.open().delete(&corp()).unwrap();
    assert!(home.open().read(&corp()).unwrap().is_none());
    assert_eq!(
        home.open().read(&authority).unwrap().unwrap().expose(),
        r#"a "quoted\" one"#
    );
}

#[test]
fn a_file_is_decrypted_once_and_again_when_another_process_has_changed_it() {
    let home = Home::new();
    let mut store = home.open();
    store.write(&corp(), &secret("one")).unwrap();
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one");
    // The text in memory is taken for the file's, as long as the file has the same bytes.
    let decrypted = store.decrypted.as_mut().unwrap();
    decrypted.secrets.insert(corp().to_string(), secret("own"));
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "own");
    home.open().write(&corp(), &secret("two")).unwrap();
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "two");
    store.forget();
    assert!(store.decrypted.is_none());
}

#[test]
fn only_a_write_creates_files_and_they_are_private() {
    let home = Home::new();
    let mut store = home.open();
    store.check().unwrap();
    assert!(store.read(&corp()).unwrap().is_none());
    store.delete(&corp()).unwrap();
    store.unlock(None).unwrap();
    assert!(home.files().is_empty());
    store.write(&corp(), &secret("one")).unwrap();
    assert_eq!(home.files(), ["vault-identity.txt", "vault.age"]);
    for path in [home.folders.vault(), home.folders.vault_identity()] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn the_age_command_opens_it() {
    let home = Home::new();
    home.open().write(&corp(), &secret("one")).unwrap();
    let plain = home.age(&["-d", "-i", "vault-identity.txt", "vault.age"]);
    assert_eq!(plain, br#"{"corp":"one"}"#);
}

#[test]
fn opens_files_of_the_age_commands() {
    let home = Home::new();
    let state = &home.folders.state;
    let status = Command::new("age-keygen")
        .args(["-o", "vault-identity.txt"])
        .current_dir(state)
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    fs::write(state.join("plain"), r#"{"corp": "by hand"}"#).unwrap();
    home.age(&["-e", "-i", "vault-identity.txt", "-o", "vault.age", "plain"]);
    assert_eq!(home.open().read(&corp()).unwrap().unwrap().expose(), "by hand");
}

#[test]
fn a_vault_without_its_key_is_an_error_and_gets_no_new_key() {
    let home = Home::new();
    home.open().write(&corp(), &secret("one")).unwrap();
    let vault = fs::read(home.folders.vault()).unwrap();
    fs::remove_file(home.folders.vault_identity()).unwrap();
    let mut store = home.open();
    for message in [
        failure(store.check()),
        failure(store.read(&corp())),
        failure(store.write(&corp(), &secret("two"))),
        failure(store.delete(&corp())),
        failure(store.seal(None, &secret("passphrase"))),
    ] {
        assert!(message.contains("vault-identity.txt does not"), "{message}");
    }
    assert_eq!(home.files(), ["vault.age"]);
    assert_eq!(fs::read(home.folders.vault()).unwrap(), vault);
}

#[test]
fn a_vault_that_does_not_open_is_never_overwritten() {
    let home = Home::new();
    home.open().write(&corp(), &secret("canary")).unwrap();
    let whole = fs::read(home.folders.vault()).unwrap();
    let encrypt = |plain: &[u8]| Key::encrypt(&[&home.open().load_key().unwrap().unwrap()], plain).unwrap();
    let half = whole.len() / 2;
    for (bytes, message) in [
        (whole[..whole.len() - 1].to_vec(), "damaged"),
        (whole[..half].to_vec(), "damaged"),
        (Vec::new(), "damaged"),
        (b"{}".to_vec(), "damaged"),
        ([&whole[..], b"x"].concat(), "damaged"),
        (
            Key::encrypt(&[&Key::generate()], b"{}").unwrap(),
            "does not open the vault",
        ),
        (encrypt(br#"{"corp":"canary""#), "line 1, column 16"),
        (encrypt(br#"{"corp":["canary"]}"#), "not a JSON map"),
        (encrypt(br#""canary""#), "not a JSON map"),
        (encrypt(b""), "not a JSON map"),
        (encrypt(br#"{"corp":"canary\nbird"}"#), "not a JSON map"),
    ] {
        fs::write(home.folders.vault(), &bytes).unwrap();
        let mut store = home.open();
        for found in [
            failure(store.check()),
            failure(store.read(&corp())),
            failure(store.write(&corp(), &secret("two"))),
            failure(store.delete(&corp())),
        ] {
            assert!(found.contains(message), "{found}");
            assert!(!found.contains("canary"), "{found}");
        }
        assert_eq!(fs::read(home.folders.vault()).unwrap(), bytes);
    }
}

#[test]
fn refuses_a_key_that_others_can_read() {
    let home = Home::new();
    home.open().write(&corp(), &secret("one")).unwrap();
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(home.folders.vault_identity(), Permissions::from_mode(mode)).unwrap();
        let message = failure(home.open().read(&corp()));
        assert!(message.contains("chmod 600"), "{message}");
    }
    fs::set_permissions(home.folders.vault_identity(), Permissions::from_mode(0o400)).unwrap();
    home.open().check().unwrap();
}

#[test]
fn refuses_a_key_file_without_exactly_one_key() {
    let home = Home::new();
    let key = home.folders.vault_identity();
    let one = Key::generate().to_text();
    for text in [
        "",
        "# nothing\n",
        "AGE-SECRET-KEY-1CANARY\n",
        &format!("{}{}", *one, *one),
    ] {
        atomic::write(&key, text.as_bytes(), PRIVATE).unwrap();
        let message = failure(home.open().write(&corp(), &secret("one")));
        assert!(message.contains("does not hold one age identity"), "{message}");
        assert!(!message.contains("CANARY"), "{message}");
    }
    assert!(!home.folders.vault().exists());
}

#[test]
fn takes_its_key_from_systemd() {
    let home = Home::new();
    let credentials = tempfile::tempdir().unwrap();
    let path = credentials.path().join("vault-identity");
    fs::write(&path, Key::generate().to_text().as_bytes()).unwrap();
    // An access list looks like this.
    fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    let mut store = VaultStore::new(&home.folders, Some(credentials.path()));
    store.write(&corp(), &secret("one")).unwrap();
    assert_eq!(home.files(), ["vault.age"]);
    assert_eq!(store.read(&corp()).unwrap().unwrap().expose(), "one");
    assert!(store.protection().contains("systemd"));
    let refused = store.seal(None, &secret("passphrase")).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Refused(why) if why.contains("systemd")),
        "{refused}"
    );
}

#[test]
fn prefers_the_passphrase_to_systemd_and_systemd_to_the_file() {
    let home = Home::new();
    let credentials = tempfile::tempdir().unwrap();
    let find = || VaultKey::find(&home.folders, Some(credentials.path()));
    assert_eq!(find(), VaultKey::File(home.folders.vault_identity()));
    let credential = credentials.path().join("vault-identity");
    fs::write(&credential, "").unwrap();
    assert_eq!(find(), VaultKey::Credential(credential));
    fs::write(home.folders.vault_identity_sealed(), "").unwrap();
    assert_eq!(find(), VaultKey::Passphrase(home.folders.vault_identity_sealed()));
}

/// The writer is this test in another process.
#[test]
fn a_kill_at_any_moment_leaves_a_whole_vault() {
    let name = "credential::store::vault::tests::a_kill_at_any_moment_leaves_a_whole_vault";
    if let Some(home) = std::env::var_os("REGAUTH_TEST_VAULT_WRITER") {
        let mut store = VaultStore::new(&Folders::below(Path::new(&home)), None);
        for letter in ["a", "b"].iter().cycle() {
            store.write(&corp(), &secret(&letter.repeat(16_000))).unwrap();
        }
    }
    let home = Home::new();
    for round in 0..20 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env("REGAUTH_TEST_VAULT_WRITER", home.folders.home.as_ref().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while round == 0 && !home.folders.vault().exists() {
            assert!(writer.try_wait().unwrap().is_none(), "the writer gave up");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20 + 3 * round));
        assert!(writer.try_wait().unwrap().is_none(), "the writer gave up");
        writer.kill().unwrap();
        writer.wait().unwrap();
        let found = home.open().read(&corp()).unwrap().unwrap();
        assert!(["a", "b"].iter().any(|letter| found.expose() == letter.repeat(16_000)));
    }
}
