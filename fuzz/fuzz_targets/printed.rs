//! What a program printed in place of a token: a token or why not, and nothing of it is repeated. The
//! input's first line has the pointers, if any.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use regauthd::credential::source::output::read;
use regauthd::registry::Output;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, printed) = bytes.split_at(end);
    let first = std::str::from_utf8(first).unwrap_or_default();
    let printed = printed.strip_prefix(b"\n").unwrap_or_default();
    let mut words = first.split(' ').map(ToOwned::to_owned);
    let output = match words.next().filter(|word| !word.is_empty()) {
        None => Output::Raw,
        Some(token) => Output::Json {
            token,
            expires: words.next(),
        },
    };
    let ttl = words.next().and_then(|word| word.parse().ok());
    match read(printed, &output, ttl.map(Duration::from_secs)) {
        Ok(fetched) => {
            let text = fetched.secret.expose();
            assert!(!text.is_empty() && !format!("{fetched:?}").contains(text) || text.len() < 8);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
