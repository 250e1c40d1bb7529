//! Paths that could be read in more than one way.
//!
//! A server may decode `%2e`, `%2f` and `%5c`, take `\` for `/`, drop empty and dot segments, or cut a segment at `;`
//! before it maps a path to a resource. Where one such reading would fall under another registry or mean another
//! operation, the request is refused rather than normalised: a guess about the server would decide who gets the
//! credential. A path that climbs is refused in any case: what `x%2fy/../..` leaves standing depends on whether its
//! server decodes before it climbs, so no single reading of it speaks for the others.

use std::borrow::Cow;

/// Whether a path has anything in it that servers read differently.
pub fn readings_differ(path: &str) -> bool {
    !matches!(canonical(path), Some(Cow::Borrowed(_)))
}

/// The path as the most lenient server would read it: decoded until nothing changes, backslashes as slashes, path
/// parameters cut, empty and dot segments dropped. Borrowed when there is only one reading; `None` when no reading can be
/// relied on: it does not begin with `/`, climbs with `..`, is encoded again and again, has a slash inside of a parameter, hides a
/// control character or is not UTF-8, which is also what an overlong `/` or `.` looks like.
pub fn canonical(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        return None;
    }
    if is_plain(path) {
        return Some(Cow::Borrowed(path));
    }
    let decoded = decode_fully(path.as_bytes())?;
    if decoded.iter().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let resolved = resolve_segments(std::str::from_utf8(&decoded).ok()?)?;
    Some(if resolved == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(resolved)
    })
}

/// The usual case, without allocation: no escape, backslash, parameter, empty or dot segment.
fn is_plain(path: &str) -> bool {
    let mut previous = 0;
    path.bytes().all(|byte| {
        let odd_segment = previous == b'/' && matches!(byte, b'/' | b'.');
        previous = byte;
        !odd_segment && !matches!(byte, b'%' | b'\\' | b';') && !byte.is_ascii_control()
    })
}

/// `None` when that takes more than [`MOST_ROUNDS`]: `%252525…` would keep us busy with a round for every two letters. And
/// `None` where a parameter has a slash in it: who cuts before decoding loses more than who decodes first.
fn decode_fully(path: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = path.to_vec();
    for _ in 0..MOST_ROUNDS {
        if bytes.split(is_slash).any(hides_a_slash) {
            return None;
        }
        match decode_once(&bytes) {
            Some(decoded) => bytes = decoded,
            None => return Some(bytes),
        }
    }
    None
}

/// Whether there is one in the segment's parameter as soon as that is decoded.
fn hides_a_slash(segment: &[u8]) -> bool {
    let mut parts = segment.splitn(2, |byte| *byte == b';').skip(1);
    parts.any(|parameter| decode_once(parameter).is_some_and(|decoded| decoded.iter().any(is_slash)))
}

fn is_slash(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// One round of percent-decoding; `None` when there was nothing to decode.
fn decode_once(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, escape(tail)) {
            (b'%', Some(value)) => {
                decoded.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    (decoded.len() < bytes.len()).then_some(decoded)
}

fn escape(tail: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u8::from_str_radix(digits, 16).ok())?
}

fn resolve_segments(path: &str) -> Option<String> {
    let path = path.replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/') {
        let segment = segment.split(';').next().unwrap_or_default();
        ends_open = matches!(segment, "" | ".");
        match segment {
            "" | "." => {}
            ".." => return None,
            name => kept.push(name),
        }
    }
    let trailing = if ends_open && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{trailing}", kept.join("/")))
}

/// Nobody means a path that is encoded so often.
const MOST_ROUNDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, reading: Option<&str>) {
        assert_eq!(canonical(path).as_deref(), reading, "{path}");
    }

    #[test]
    fn plain_paths_have_one_reading() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c/d-e",
            "/1/a.",
            "/a/..b",
            "/a/@scope/b",
            "/a+b/~c",
        ] {
            assert!(!readings_differ(path), "{path}");
            check(path, Some(path));
        }
    }

    #[test]
    fn the_lenient_reading_is_found() {
        check("/a//b", Some("/a/b"));
        check("/a%2fb", Some("/a/b"));
        check("/a%5cb", Some("/a/b"));
        check("/a;v=1/b", Some("/a/b"));
        check("/a/.", Some("/a/"));
        check("/a/%2e/%252e/b", Some("/a/b"));
        check("/a/%zz", Some("/a/%zz"));
        check("/caf%C3%A9", Some("/café"));
    }

    #[test]
    fn a_path_that_climbs_has_no_reading() {
        for path in [
            "/..",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/%252e%252e/b",
            "/a%5c..%5cb",
            "/a\\..\\b",
            "/a/..;x/b",
            "/../../a",
            // `/cargo/c` to a server that decodes first, `/c` to one that climbs first.
            "/cargo/x%2fy/../../c",
            "/cargo/x\\y/../../c",
            "/cargo/x%252fy/../../c",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn what_has_no_reading_is_none() {
        check("", None);
        check("/a/%c0%ae%c0%ae/b", None);
        check(&format!("/a/%{}2e", "25".repeat(4)), None);
        check(&format!("/%{}", "25".repeat(10_000)), None);
        check("/caf%e9", None);
        check("a", None);
        check("*", None);
        check("/a%00", None);
        check("/a%0d%0ab", None);
        // `/cargo` to a server that cuts parameters first, `/c/cargo` to one that decodes first.
        check("/;%2F%63/cargo", None);
        check("/%3b%252f%63/cargo", None);
        check("/a;x%5Cb/c", None);
        check("/a;v=%20b/c", Some("/a/c"));
    }

    /// How a server may map a path to a resource.
    #[derive(Clone, Copy, Debug)]
    struct Server {
        decodes: usize,
        leaves_encoded_slashes: bool,
        takes_backslashes: bool,
        cuts_parameters: bool,
        merges_slashes: bool,
    }

    impl Server {
        fn all() -> impl Iterator<Item = Self> {
            (0..3 * 16).map(|number| Self {
                decodes: number / 16,
                leaves_encoded_slashes: number & 1 != 0,
                takes_backslashes: number & 2 != 0,
                cuts_parameters: number & 4 != 0,
                merges_slashes: number & 8 != 0,
            })
        }

        fn reads(self, path: &str) -> String {
            let mut path = path.to_owned();
            for _ in 0..self.decodes {
                if self.leaves_encoded_slashes {
                    path = path.replace("%2f", "%252f").replace("%2F", "%252F");
                }
                let bytes = path.into_bytes();
                path = String::from_utf8_lossy(&decode_once(&bytes).unwrap_or(bytes)).into_owned();
            }
            if self.takes_backslashes {
                path = path.replace('\\', "/");
            }
            let mut kept: Vec<&str> = Vec::new();
            for segment in path.split('/').skip(1) {
                let bare = segment.split(';').next().unwrap_or_default();
                match if self.cuts_parameters { bare } else { segment } {
                    "." => {}
                    "" if self.merges_slashes => {}
                    ".." => drop(kept.pop()),
                    name => kept.push(name),
                }
            }
            format!("/{}", kept.join("/"))
        }
    }

    proptest::proptest! {
        /// What the most lenient server reads, it reads the same way again, and nothing in it climbs or hides.
        #[test]
        fn a_reading_has_one_reading(path in "/([a-z./;%\\\\25eEfFcC]|%2e|%2F|%5c|%25){0,24}") {
            if let Some(reading) = canonical(&path) {
                let reading = reading.into_owned();
                proptest::prop_assert!(reading.starts_with('/'));
                let odd = reading.split('/').skip(1).any(|segment| matches!(segment, "." | ".."));
                proptest::prop_assert!(!odd && !reading.contains("//") && !reading.contains(['\\', ';']), "{reading}");
                let again = canonical(&reading).map(Cow::into_owned);
                proptest::prop_assert_eq!(again, Some(reading));
            }
        }

        /// Where our reading and the letters agree on a scope, every server's reading does.
        #[test]
        fn no_server_reads_a_path_into_or_out_of_a_scope(
            path in "(/cargo)?/?([a-c./;%\\\\]|/cargo|/\\.\\./|%2e|%2F|%5c|%252f|%63|\\.\\.){0,12}"
        ) {
            let scope: crate::registry::Scope = "https://corp.example/cargo/".parse().unwrap();
            if let Some(reading) = canonical(&path)
                && scope.covers_path(&path) == scope.covers_path(&reading)
            {
                for server in Server::all() {
                    let read = server.reads(&path);
                    let agrees = scope.covers_path(&read) == scope.covers_path(&path);
                    proptest::prop_assert!(agrees, "{:?} reads {} as {}", server, path, read);
                }
            }
        }
    }
}
