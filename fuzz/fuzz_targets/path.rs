//! Scope matching of paths: no server interprets a path differently from our decision. The input is `SCOPE PATH`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use regauthd::policy::path::canonical;
use regauthd::registry::Scope;

fuzz_target!(|text: &str| {
    let Some((prefix, path)) = text.split_once(' ') else {
        return;
    };
    if let Ok(scope) = format!("https://corp.example/{prefix}").parse::<Scope>() {
        assert_eq!(scope.to_string().parse::<Scope>().as_ref(), Ok(&scope), "{prefix:?}");
        check(&scope, path);
        check(&scope, &format!("{}{path}", scope.path()));
    }
});

fn check(scope: &Scope, path: &str) {
    // A request can only have a path that is valid in a URI.
    let Ok(uri) = path.parse::<http::uri::PathAndQuery>() else {
        return;
    };
    let path = uri.path();
    let Some(canonical_path) = canonical(path) else { return };
    assert_eq!(
        canonical(&canonical_path).as_deref(),
        Some(&*canonical_path),
        "{path:?}"
    );
    let inside = scope.covers_path(path);
    if inside != scope.covers_path(&canonical_path) {
        return;
    }
    for server in 0..3 * 16 {
        let resolved = resolve(path, server);
        assert_eq!(scope.covers_path(&resolved), inside, "{scope} {path:?}: {resolved:?}");
    }
}

/// Resolves a path as one of many servers would.
///
/// `server` selects the number of percent-decodings (0 to 2) and four switches: keep `%2f`, treat `\\` as `/`, drop `;`
/// parameters, drop empty segments.
fn resolve(path: &str, server: usize) -> String {
    let mut path = path.to_owned();
    for _ in 0..server / 16 {
        if server & 1 != 0 {
            path = path.replace("%2f", "%252f").replace("%2F", "%252F");
        }
        path = percent_decode(path.as_bytes());
    }
    if server & 2 != 0 {
        path = path.replace('\\', "/");
    }
    let mut kept = Vec::new();
    for segment in path.split('/').skip(1) {
        let bare = segment.split(';').next().unwrap();
        match if server & 4 != 0 { bare } else { segment } {
            "." => {}
            "" if server & 8 != 0 => {}
            ".." => drop(kept.pop()),
            name => kept.push(name.to_owned()),
        }
    }
    format!("/{}", kept.join("/"))
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
