//! Parser of the first request head: every accepted CONNECT names exactly one target.
#![no_main]

use libfuzzer_sys::fuzz_target;
use regauthd::host::Origin;
use regauthd::proxy::downstream::connect::FirstRequest;

fuzz_target!(|bytes: &[u8]| {
    // The daemon reads a head up to the first empty line.
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return;
    };
    let head = &bytes[..end + 4];
    let Ok(FirstRequest::Connect(connect)) = FirstRequest::parse(head) else {
        return;
    };
    let Ok(target) = connect.target() else { return };
    let text = std::str::from_utf8(head).unwrap_or_default();
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap();
    let line = std::str::from_utf8(line).unwrap();
    let authority = line.split(' ').nth(1).unwrap();
    assert_eq!(Origin::parse(authority, None).as_ref(), Ok(&target), "{text:?}");
    // Every line that another parser could take for a Host must name the same target.
    let lower = head.to_ascii_lowercase();
    for host in lower
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"host:"))
    {
        let host = std::str::from_utf8(host).unwrap().trim();
        assert_eq!(Origin::parse(host, Some(target.port)).as_ref(), Ok(&target), "{text:?}");
    }
});
