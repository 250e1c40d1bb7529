//! Damaged vault files: the store returns an error without a secret, and never panics or overwrites the file.
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

/// Damage to the vault.
#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Replaces the whole file.
    Vault(&'a [u8]),
    /// Changes some bytes of the file: position and XOR mask.
    Bytes(Vec<(u16, u8)>),
    /// Replaces the encrypted content.
    Content(&'a [u8]),
    /// Replaces the key file.
    Identity(&'a [u8]),
}

const TOKEN: &str = "s3ntinel-of-the-fuzzer";

static IDENTITY: LazyLock<Identity> = LazyLock::new(Identity::generate);
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let plain = format!("{{\"corp\":\"{TOKEN}\"}}");
    age::encrypt(&IDENTITY.to_public(), plain.as_bytes()).unwrap()
});
/// Folder in memory if possible, so that the disk does not limit the rate.
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
            for (position, mask) in changes {
                let position = usize::from(position) % vault.len();
                vault[position] ^= mask;
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
            let output = format!("{error}{error:?}");
            assert!(
                !output.contains(TOKEN) && !output.contains("AGE-SECRET-KEY-"),
                "{output}"
            );
            // The store never overwrites a file that it cannot read.
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
    reason = "age returns its key as a SecretString; the vault writes it in this form"
)]
fn good_identity() -> Vec<u8> {
    IDENTITY.to_string().expose_secret().as_bytes().to_vec()
}
