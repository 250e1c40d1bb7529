//! Index file of a sparse registry: any bytes give steps to crates with valid paths, each once.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use regauthd::proxy::read_ahead::CrateName;
use regauthd::proxy::read_ahead::entry::Entry;
use regauthd::proxy::read_ahead::walk::Walk;

fuzz_target!(|files: &[u8]| {
    let mut walk = Walk::default();
    let mut seen = BTreeSet::new();
    let mut name = CrateName::parse("root").unwrap();
    // Zero bytes separate the files.
    for file in files.split(|byte| *byte == 0) {
        let Some(entry) = Entry::parse(file, |url| url.is_empty()) else {
            continue;
        };
        for step in walk.read(&name, entry) {
            let path = step.to.index_path();
            assert!(!path.contains("..") && !path.starts_with('/'), "{path}");
            assert_eq!(CrateName::of_index_path(&path).as_ref(), Some(&step.to));
            assert!(seen.insert(step.to.clone()), "{path} twice");
            name = step.to;
        }
    }
});
