//! Canonical form of a path, to detect paths that servers interpret differently.
//!
//! A server may decode `%2e`, `%2f` and `%5c`, treat `\` as `/`, drop empty and dot segments, or cut a segment at `;`
//! before it maps a path to a resource. If such an interpretation belongs to another registry or means another
//! operation, the request is refused and not normalised: otherwise a guess about the server would decide where the
//! credential goes. A path with `..` is always refused. The result of `x%2fy/../..` depends on the order of decoding
//! and resolving, so no single interpretation covers the others.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Does the path contain anything that servers interpret differently?
pub fn is_ambiguous(path: &str) -> bool {
    !matches!(canonical(path), Some(Cow::Borrowed(_)))
}

/// Canonical form of a path: the interpretation of the most lenient server. It decodes until nothing changes, treats
/// backslashes as slashes, cuts path parameters, and drops empty and dot segments.
///
/// The result is borrowed if the path is canonical already. It is `None` if no interpretation is safe: the path does
/// not begin with `/`, contains `..`, is encoded more than five times, has a slash inside a parameter, contains a
/// control character, or is not UTF-8 (an overlong `/` or `.` is not).
///
/// # Examples
/// ```
/// use regauthd::policy::path::canonical;
///
/// assert_eq!(canonical("/api/cargo/index").as_deref(), Some("/api/cargo/index"));
/// assert_eq!(canonical("/api//cargo/%2e/index;v=1").as_deref(), Some("/api/cargo/index"));
/// assert_eq!(canonical("/api/%2e%2e/admin"), None);
/// ```
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

/// Detects the usual case without allocation: no escape, backslash, parameter, empty or dot segment.
fn is_plain(path: &str) -> bool {
    let mut previous = 0;
    path.bytes().all(|byte| {
        let starts_special_segment = previous == b'/' && matches!(byte, b'/' | b'.');
        previous = byte;
        !starts_special_segment && !matches!(byte, b'%' | b'\\' | b';') && !byte.is_ascii_control()
    })
}

/// Decodes until nothing changes. `None` after [`MAX_DECODING_ROUNDS`], because `%252525…` would take a round for every
/// two characters. `None` for a slash inside a parameter: a server that cuts before decoding drops more than one that
/// decodes first.
fn decode_fully(path: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = path.to_vec();
    for _ in 0..MAX_DECODING_ROUNDS {
        if bytes.split(is_slash).any(has_encoded_slash) {
            return None;
        }
        match decode_once(&bytes) {
            Some(decoded) => bytes = decoded,
            None => return Some(bytes),
        }
    }
    None
}

/// Does decoding the segment's parameter give a slash?
fn has_encoded_slash(segment: &[u8]) -> bool {
    let mut parts = segment.splitn(2, |byte| *byte == b';').skip(1);
    parts.any(|parameter| decode_once(parameter).is_some_and(|decoded| decoded.iter().any(is_slash)))
}

fn is_slash(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// One round of percent-decoding; `None` if there is nothing to decode.
fn decode_once(bytes: &[u8]) -> Option<Vec<u8>> {
    match Cow::from(percent_decode(bytes)) {
        Cow::Owned(decoded) => Some(decoded),
        Cow::Borrowed(_) => None,
    }
}

fn resolve_segments(path: &str) -> Option<String> {
    let path = path.replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_with_slash = false;
    for segment in path.split('/') {
        let segment = segment.split(';').next().unwrap_or_default();
        ends_with_slash = matches!(segment, "" | ".");
        match segment {
            "" | "." => {}
            ".." => return None,
            name => kept.push(name),
        }
    }
    let trailing = if ends_with_slash && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{trailing}", kept.join("/")))
}

/// No client encodes a path so often.
const MAX_DECODING_ROUNDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<&str>) {
        assert_eq!(canonical(path).as_deref(), expected, "{path}");
    }

    #[test]
    fn plain_paths_are_canonical() {
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
            assert!(!is_ambiguous(path), "{path}");
            check(path, Some(path));
        }
    }

    #[test]
    fn finds_the_most_lenient_interpretation() {
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
    fn refuses_paths_with_dot_dot() {
        for path in [
            "/..",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/%252e%252e/b",
            "/a%5c..%5cb",
            "/a\\..\\b",
            "/a/..;x/b",
            "/../../a",
            // `/cargo/c` to a server that decodes first, `/c` to one that resolves `..` first.
            "/cargo/x%2fy/../../c",
            "/cargo/x\\y/../../c",
            "/cargo/x%252fy/../../c",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn refuses_paths_without_a_safe_interpretation() {
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

    /// Ways of a server to map a path to a resource.
    #[derive(Clone, Copy, Debug)]
    struct Server {
        decodes: usize,
        leaves_encoded_slashes: bool,
        converts_backslashes: bool,
        cuts_parameters: bool,
        merges_slashes: bool,
    }

    impl Server {
        fn all() -> impl Iterator<Item = Self> {
            (0..3 * 16).map(|number| Self {
                decodes: number / 16,
                leaves_encoded_slashes: number & 1 != 0,
                converts_backslashes: number & 2 != 0,
                cuts_parameters: number & 4 != 0,
                merges_slashes: number & 8 != 0,
            })
        }

        fn interpret(self, path: &str) -> String {
            let mut path = path.to_owned();
            for _ in 0..self.decodes {
                if self.leaves_encoded_slashes {
                    path = path.replace("%2f", "%252f").replace("%2F", "%252F");
                }
                let bytes = path.into_bytes();
                path = String::from_utf8_lossy(&decode_once(&bytes).unwrap_or(bytes)).into_owned();
            }
            if self.converts_backslashes {
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
        /// The canonical form is its own canonical form, without `..`, empty segments, backslashes or parameters.
        #[test]
        fn a_canonical_path_is_canonical(path in "/([a-z./;%\\\\25eEfFcC]|%2e|%2F|%5c|%25){0,24}") {
            if let Some(canonical_form) = canonical(&path) {
                let canonical_form = canonical_form.into_owned();
                proptest::prop_assert!(canonical_form.starts_with('/'));
                let has_dots = canonical_form.split('/').skip(1).any(|segment| matches!(segment, "." | ".."));
                let hides = canonical_form.contains("//") || canonical_form.contains(['\\', ';']);
                proptest::prop_assert!(!has_dots && !hides, "{canonical_form}");
                let again = canonical(&canonical_form).map(Cow::into_owned);
                proptest::prop_assert_eq!(again, Some(canonical_form));
            }
        }

        /// If the path and its canonical form agree on a scope, every server's interpretation agrees too.
        #[test]
        fn no_server_interprets_a_path_into_or_out_of_a_scope(
            path in "(/cargo)?/?([a-c./;%\\\\]|/cargo|/\\.\\./|%2e|%2F|%5c|%252f|%63|\\.\\.){0,12}"
        ) {
            let scope: crate::registry::Scope = "https://corp.example/cargo/".parse().unwrap();
            if let Some(canonical_form) = canonical(&path)
                && scope.covers_path(&path) == scope.covers_path(&canonical_form)
            {
                for server in Server::all() {
                    let interpreted = server.interpret(&path);
                    let agrees = scope.covers_path(&interpreted) == scope.covers_path(&path);
                    proptest::prop_assert!(agrees, "{:?} interprets {} as {}", server, path, interpreted);
                }
            }
        }
    }
}
