//! Scope matching of paths: no server interprets a path differently from our decision. The input is `SCOPE PATH`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use regauthd::policy::path::readings;
use regauthd::registry::Scope;

fuzz_target!(|text: &str| {
    let Some((prefix, path)) = text.split_once(' ') else {
        return;
    };
    if let Ok(scope) = format!("https://corp.example/{prefix}").parse::<Scope>() {
        assert_eq!(scope.to_string().parse::<Scope>().as_ref(), Ok(&scope), "{prefix:?}");
        check(&scope, path);
        let prefix = scope.to_string();
        let prefix = prefix.trim_start_matches("https://corp.example");
        check(&scope, &format!("{prefix}{path}"));
    }
});

fn check(scope: &Scope, path: &str) {
    // A request can only have a path that is valid in a URI.
    let Ok(uri) = path.parse::<http::uri::PathAndQuery>() else {
        return;
    };
    let path = uri.path();
    let Ok(readings) = readings(path) else { return };
    let literal = readings.literal();
    let inside = scope.covers_path(literal);
    if readings
        .lenient_or_literal()
        .any(|reading| scope.covers_lenient(reading) != inside)
    {
        return;
    }
    for server in 0..SERVERS {
        // All servers take equivalent spellings for the same path, and interpret the scope as they do a path.
        let resolved = resolve(literal, server);
        let prefix = resolve(scope.path(), server);
        let rest = resolved.strip_prefix(prefix.trim_end_matches('/'));
        let found = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        assert_eq!(found, inside, "{scope} {path:?}: {resolved:?}");
    }
}

const SERVERS: usize = 3 * 128;

/// Resolves a path as one of many servers would.
///
/// `server` selects the number of percent-decodings (0 to 2) and switches: keep `%2f`, treat `\\` as `/`, drop `;`
/// parameters before or after the decodings, drop empty segments, drop dots and blanks at the end of a segment, cut at a
/// decoded `?` or `#`.
fn resolve(path: &str, server: usize) -> String {
    let mut path = path.to_owned();
    if server & 16 != 0 {
        path = without_parameters(&path);
    }
    for _ in 0..server / 128 {
        if server & 1 != 0 {
            path = path.replace("%2f", "%252f").replace("%2F", "%252F");
        }
        path = percent_decode(path.as_bytes());
    }
    if server & 64 != 0 && server / 128 > 0 {
        path.truncate(path.find(['?', '#']).unwrap_or(path.len()));
    }
    if server & 2 != 0 {
        path = path.replace('\\', "/");
    }
    if server & 4 != 0 {
        path = without_parameters(&path);
    }
    let mut kept = Vec::new();
    for segment in path.split('/').skip(1) {
        let segment = match segment.trim_end_matches(' ') {
            ".." if server & 32 != 0 => "..",
            bare if server & 32 != 0 => bare.trim_end_matches(['.', ' ']),
            _ => segment,
        };
        match segment {
            "." => {}
            "" if server & 8 != 0 => {}
            ".." => drop(kept.pop()),
            name => kept.push(name.to_owned()),
        }
    }
    format!("/{}", kept.join("/"))
}

fn without_parameters(path: &str) -> String {
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap());
    segments.collect::<Vec<_>>().join("/")
}

fn percent_decode(bytes: &[u8]) -> String {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match value.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if bytes[at] == b'%' => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
