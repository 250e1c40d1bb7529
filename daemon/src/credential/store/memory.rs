//! Store in the daemon's memory, for `--ephemeral`, `regauthctl run` and tests.

use std::collections::HashMap;

use regauth_shared::Secret;

use super::{Item, Store, StoreError};

/// A [`Store`] whose secrets end with it.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    secrets: HashMap<Item, Secret>,
}

impl MemoryStore {
    /// An empty store.
    pub(super) fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn read(&mut self, item: &Item) -> Result<Option<Secret>, StoreError> {
        Ok(self.secrets.get(item).cloned())
    }

    fn write(&mut self, item: &Item, secret: &Secret) -> Result<(), StoreError> {
        self.secrets.insert(item.clone(), secret.clone());
        Ok(())
    }

    fn delete(&mut self, item: &Item) -> Result<(), StoreError> {
        self.secrets.remove(item);
        Ok(())
    }

    fn unlock(&mut self, _passphrase: Option<&Secret>) -> Result<(), StoreError> {
        Ok(())
    }

    fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn protection(&self) -> String {
        "the daemon's memory, gone when it ends".to_owned()
    }

    fn exposure(&self) -> &'static str {
        concat!(
            "programs of the daemon's user cannot read the tokens here, but can have the daemon move them to a store that \
             they can read; better: a daemon with a user of its own, `",
            own_user_command!(),
            "`"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_replaces_and_deletes() {
        let mut store = MemoryStore::new();
        let corp = Item::Credential("corp".parse().unwrap());
        let authority = Item::AuthorityKey("corp.example".parse().unwrap());
        assert!(store.read(&corp).unwrap().is_none());
        store.write(&corp, &Secret::parse("one").unwrap()).unwrap();
        store.write(&corp, &Secret::parse("two").unwrap()).unwrap();
        assert_eq!(store.read(&corp).unwrap().unwrap().expose(), "two");
        assert!(store.read(&authority).unwrap().is_none());
        store.delete(&corp).unwrap();
        store.delete(&corp).unwrap();
        assert!(store.read(&corp).unwrap().is_none());
        assert!(!format!("{store:?}").contains("two"));
    }
}
