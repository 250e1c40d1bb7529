//! The vault's files, whatever became of them: an error, never a panic, and no secret in it.
#![no_main]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use regauth_shared::Secret;
use regauth_shared::paths::Folders;
use regauthd::credential::store::vault::VaultStore;
use regauthd::credential::store::{Item, Store};
use tempfile::TempDir;

/// What is damaged.
#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// The file as a whole.
    Vault(&'a [u8]),
    /// Some of its bytes.
    Bytes(Vec<(u16, u8)>),
    /// What is encrypted in it.
    Content(&'a [u8]),
    /// The key.
    Identity(&'a [u8]),
}

const TOKEN: &str = "s3ntinel-of-the-fuzzer";

static IDENTITY: LazyLock<Identity> = LazyLock::new(Identity::generate);
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let plain = format!("{{\"corp\":\"{TOKEN}\"}}");
    age::encrypt(&IDENTITY.to_public(), plain.as_bytes()).unwrap()
});
/// In memory where there is such a place: what is tried here is what is read, not the disk.
static HOME: LazyLock<TempDir> = LazyLock::new(|| {
    let home = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    fs::create_dir(Folders::below(home.path()).state).unwrap();
    home
});

fuzz_target!(|input: Input<'_>| {
    let folders = Folders::below(HOME.path());
    let mut identity = good_identity();
    let mut vault = GOOD.clone();
    match input {
        Input::Vault(bytes) => vault = bytes.to_vec(),
        Input::Content(plain) => vault = age::encrypt(&IDENTITY.to_public(), plain).unwrap(),
        Input::Identity(bytes) => identity = bytes.to_vec(),
        Input::Bytes(changes) => {
            for (at, by) in changes {
                let at = usize::from(at) % vault.len();
                vault[at] ^= by;
            }
        }
    }
    fs::write(folders.vault(), &vault).unwrap();
    fs::write(folders.vault_identity(), &identity).unwrap();
    fs::set_permissions(folders.vault_identity(), fs::Permissions::from_mode(0o600)).unwrap();
    let mut store = VaultStore::new(&folders, None);
    let item = Item::Credential("corp".parse().unwrap());
    match store.read(&item) {
        Err(error) => {
            let said = format!("{error}{error:?}");
            assert!(!said.contains(TOKEN) && !said.contains("AGE-SECRET-KEY-"), "{said}");
            // What cannot be read is never overwritten.
            assert!(store.write(&item, &Secret::parse("new").unwrap()).is_err());
            assert_eq!(fs::read(folders.vault()).unwrap(), vault);
        }
        Ok(_) => {
            store.write(&item, &Secret::parse("new").unwrap()).unwrap();
            assert_eq!(store.read(&item).unwrap().unwrap().expose(), "new");
        }
    }
});

#[expect(
    clippy::disallowed_methods,
    reason = "age hands its key out as a SecretString; here it is written as the vault writes it"
)]
fn good_identity() -> Vec<u8> {
    IDENTITY.to_string().expose_secret().as_bytes().to_vec()
}
