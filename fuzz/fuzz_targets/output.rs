//! Parser of a token command's output: a token or an error, and neither contains the output. The first line of the input has
//! the JSON pointers, if any.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use regauthd::credential::source::output::read;
use regauthd::registry::Output;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, text) = bytes.split_at(end);
    let first = std::str::from_utf8(first).unwrap_or_default();
    let text = text.strip_prefix(b"\n").unwrap_or_default();
    let mut words = first.split(' ').map(ToOwned::to_owned);
    let output = match words.next().filter(|word| !word.is_empty()) {
        None => Output::Raw,
        Some(token) => Output::Json {
            token,
            expires: words.next(),
        },
    };
    let ttl = words.next().and_then(|word| word.parse().ok());
    match read(text, &output, ttl.map(Duration::from_secs)) {
        Ok(token) => {
            let secret = token.secret.expose();
            assert!(!secret.is_empty() && !format!("{token:?}").contains(secret) || secret.len() < 8);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
