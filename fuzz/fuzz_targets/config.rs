//! Parser and editor of `config.toml`: any text gives a configuration or errors, and an edited file reads back unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use regauthd::config::{Config, ConfigFile};
use regauthd::credential::store::StoreKind;

fuzz_target!(|text: &str| {
    let config = match Config::read(text) {
        Ok(config) => config,
        Err(errors) => {
            assert!(!errors.to_string().is_empty());
            return;
        }
    };
    let mut file = ConfigFile::parse(text).unwrap();
    for (name, registry) in &config.registries {
        let mut fresh = ConfigFile::parse("").unwrap();
        fresh.add_registry(name, registry);
        // A registry that uses the credential of another registry is invalid alone.
        if let Ok(read) = Config::read(&fresh.to_string()) {
            assert_eq!(read.registries.get(name), Some(registry), "{fresh}");
        }
        file.add_registry(name, registry);
        assert_same(&file, &config, text);
    }
    file.set_store(StoreKind::Vault);
    let mut with_store = config.clone();
    with_store.store = Some(StoreKind::Vault);
    assert_same(&file, &with_store, text);
    for name in config.registries.keys() {
        assert!(file.remove_registry(name));
        assert!(!file.remove_registry(name));
    }
    let empty = Config::read(&file.to_string()).unwrap();
    assert_eq!(empty.registries.len(), 0, "{text:?}");
    assert_eq!(empty.upstream, config.upstream, "{text:?}");
});

fn assert_same(file: &ConfigFile, config: &Config, text: &str) {
    let read = Config::read(&file.to_string());
    assert_eq!(
        read.as_ref().ok(),
        Some(config),
        "{text:?}\n{file}\n{}",
        read.as_ref().err().map(ToString::to_string).unwrap_or_default()
    );
}
