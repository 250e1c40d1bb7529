//! Readings of a path, to detect paths that servers interpret differently.
//!
//! A server may decode `%2e`, `%2f` and `%5c`, treat `\` as `/`, drop empty and dot segments, drop dots and blanks at the
//! end of a segment, replace look-alikes of ASCII characters, or cut a path at `;` or at an encoded `?`. If one of these
//! interpretations belongs to another registry or means another operation, the request is refused and not normalised:
//! otherwise a guess about the server would decide where the credential goes. A path with `..` is always refused. The
//! result of `x%2fy/../..` depends on the order of decoding and resolving, so no single interpretation covers the others.
//!
//! Some spellings are equal for every server: `%40` and `@`, `%2B` and `+`, `%20` and a blank (RFC 3986, section 6.2.2).
//! [`Readings::literal`] removes these differences.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use percent_encoding::percent_decode;

/// Reason to refuse a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// The path does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A segment is `..` in some spelling.
    #[error("a segment of the path is `..`, as it is or encoded")]
    Climbs,
    /// A `%` is not followed by two hexadecimal digits, or the path contains a backslash.
    #[error("the path contains `%` without two hexadecimal digits, or a backslash")]
    InvalidEscape,
    /// The path is not UTF-8, or contains a control character or a look-alike of a slash, dot or other special character.
    #[error("the path is not UTF-8, or contains a control character or a look-alike of a slash or dot")]
    InvalidCharacter,
    /// The path is encoded too often, or has too many interpretations.
    #[error("the path is encoded too often")]
    TooManyReadings,
    /// The interpretations belong to different scopes.
    #[error("servers can interpret the path in different ways, which belong to different scopes")]
    DifferentScopes,
}

/// A path in its literal form, and the interpretations of lenient servers.
#[derive(Debug, PartialEq, Eq)]
pub struct Readings<'a> {
    literal: Cow<'a, str>,
    lenient: Vec<String>,
}

impl Readings<'_> {
    /// The path with every escape decoded that has the same meaning for all servers. Escapes of `/`, `\`, `.`, `;`, `%`,
    /// `?` and `#` stay, with digits in upper case.
    pub fn literal(&self) -> &str {
        &self.literal
    }

    /// Interpretations of lenient servers. None for a path that all servers interpret literally.
    pub fn lenient(&self) -> impl Iterator<Item = &str> {
        self.lenient.iter().map(String::as_str)
    }

    /// Interpretations of lenient servers, or the literal form if they have none of their own.
    pub fn lenient_or_literal(&self) -> impl Iterator<Item = &str> {
        let literal = self.lenient.is_empty().then_some(&*self.literal);
        literal.into_iter().chain(self.lenient())
    }

    /// Returns true if all servers interpret the path literally.
    pub fn is_plain(&self) -> bool {
        self.lenient.iter().all(|reading| *reading == self.literal)
    }
}

/// Readings of a request's path.
///
/// A lenient server decodes until nothing changes, treats backslashes as slashes, cuts path parameters, drops empty and dot
/// segments, and drops dots and blanks at the end of a segment. The order of cutting and decoding makes a difference if
/// a parameter contains an encoded slash, or the path an encoded `?` or `#`. Each order then has a reading of its own.
///
/// # Errors
/// [`PathProblem`] if no interpretation is safe.
///
/// # Examples
/// ```
/// use regauthd::policy::path::{PathProblem, readings};
///
/// assert!(readings("/api/cargo/index")?.is_plain());
/// assert_eq!(readings("/root/dev/%2Bf/")?.literal(), "/root/dev/+f/");
/// assert!(readings("/api//cargo/%2e/index;v=1")?.lenient().eq(["/api/cargo/index"]));
/// assert_eq!(readings("/api/%2e%2e/admin"), Err(PathProblem::Climbs));
/// # Ok::<(), PathProblem>(())
/// ```
pub fn readings(path: &str) -> Result<Readings<'_>, PathProblem> {
    if !path.starts_with('/') {
        return Err(PathProblem::NotAbsolute);
    }
    if is_plain(path) {
        return Ok(Readings {
            literal: Cow::Borrowed(path),
            lenient: Vec::new(),
        });
    }
    let literal = Cow::Owned(literal(path)?);
    let mut lenient = Vec::new();
    collect_lenient(path.as_bytes().to_vec(), 0, &mut lenient)?;
    lenient.sort_unstable();
    lenient.dedup();
    Ok(Readings { literal, lenient })
}

/// Detects the usual case without allocation: ASCII without an escape, backslash, parameter, empty or dot segment, or dot
/// or blank at the end of a segment.
fn is_plain(path: &str) -> bool {
    let mut previous = 0;
    let is_plain = path.bytes().all(|byte| {
        let starts_special_segment = previous == b'/' && matches!(byte, b'/' | b'.');
        let ends_special_segment = byte == b'/' && is_dropped_at_end(previous);
        previous = byte;
        !starts_special_segment
            && !ends_special_segment
            && !matches!(byte, b'%' | b'\\' | b';')
            && byte.is_ascii()
            && !byte.is_ascii_control()
    });
    is_plain && !is_dropped_at_end(previous)
}

/// Windows drops these at the end of a name.
fn is_dropped_at_end(byte: u8) -> bool {
    matches!(byte, b'.' | b' ')
}

/// Decodes the escapes that have the same meaning for all servers.
fn literal(path: &str) -> Result<String, PathProblem> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let Some((&[high, low], after)) = after.split_first_chunk() else {
                    return Err(PathProblem::InvalidEscape);
                };
                let value = hexadecimal(high).zip(hexadecimal(low));
                let value = value.map(|(high, low)| high * 16 + low);
                rest = after;
                match value.ok_or(PathProblem::InvalidEscape)? {
                    value if has_one_meaning(value) => decoded.push(value),
                    _ => decoded.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
                }
            }
            b'\\' => return Err(PathProblem::InvalidEscape),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| PathProblem::InvalidCharacter)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Do all servers treat this character and its escape as equal?
fn has_one_meaning(byte: u8) -> bool {
    !byte.is_ascii_control() && !SPECIAL.contains(&byte)
}

/// Adds the readings of a path that has been decoded so many times.
fn collect_lenient(path: Vec<u8>, rounds: usize, readings: &mut Vec<String>) -> Result<(), PathProblem> {
    if path.split(is_slash).any(has_encoded_slash) {
        collect_lenient(without_parameters(&path), rounds, readings)?;
    }
    // A server that leaves encoded slashes may decode a `;` before one, and then cut.
    let decoded = with_decoded_semicolons(&path);
    if decoded.len() < path.len() && decoded.split(is_slash).any(has_encoded_slash) {
        collect_lenient(without_parameters(&decoded), rounds, readings)?;
    }
    // The parser of the request has cut off the query and fragment, so these were encoded.
    if let Some(end) = path.iter().position(|byte| matches!(byte, b'?' | b'#')) {
        collect_lenient(path.get(..end).unwrap_or_default().to_vec(), rounds, readings)?;
    }
    match decode_once(&path)? {
        Some(_) if rounds == MAX_DECODING_ROUNDS => Err(PathProblem::TooManyReadings),
        Some(decoded) => collect_lenient(decoded, rounds + 1, readings),
        None if readings.len() == MAX_READINGS => Err(PathProblem::TooManyReadings),
        None => {
            readings.push(resolve_segments(&fully_decoded(path)?)?);
            Ok(())
        }
    }
}

/// Does decoding the segment's parameter give a slash? A server that cuts before decoding drops more than one that decodes
/// first.
fn has_encoded_slash(segment: &[u8]) -> bool {
    let mut parts = segment.splitn(2, |byte| *byte == b';').skip(1);
    parts.any(|parameter| percent_decode(parameter).any(|byte| is_slash(&byte)))
}

fn with_decoded_semicolons(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match rest {
            [b'3', b'b' | b'B', after @ ..] if byte == b'%' => {
                decoded.push(b';');
                rest = after;
            }
            _ => decoded.push(byte),
        }
    }
    decoded
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/');
    let bare = segments.map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default());
    bare.collect::<Vec<_>>().join(&b'/')
}

fn is_slash(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// One round of percent-decoding; `None` if there is nothing to decode. IIS also decodes `%u002e`, which is refused.
fn decode_once(bytes: &[u8]) -> Result<Option<Vec<u8>>, PathProblem> {
    let is_wide_escape = |window: &[u8]| {
        let digits = window.get(2..).unwrap_or_default();
        matches!(window, [b'%', b'u' | b'U', ..]) && digits.iter().all(u8::is_ascii_hexdigit)
    };
    if bytes.windows(WIDE_ESCAPE_LENGTH).any(is_wide_escape) {
        return Err(PathProblem::InvalidEscape);
    }
    Ok(match Cow::from(percent_decode(bytes)) {
        Cow::Owned(decoded) => Some(decoded),
        Cow::Borrowed(_) => None,
    })
}

/// Text of a decoded path, with look-alikes replaced as by Unicode's compatibility normalisation (NFKC).
fn fully_decoded(path: Vec<u8>) -> Result<String, PathProblem> {
    if path.iter().any(u8::is_ascii_control) {
        return Err(PathProblem::InvalidCharacter);
    }
    let text = String::from_utf8(path).map_err(|_| PathProblem::InvalidCharacter)?;
    if text.is_ascii() {
        return Ok(text);
    }
    let normalised = ComposingNormalizerBorrowed::new_nfkc().normalize(&text);
    let specials = |text: &str| text.bytes().filter(|byte| !has_one_meaning(*byte)).count();
    if text.contains(BEST_FIT_SLASHES) || specials(&normalised) != specials(&text) {
        return Err(PathProblem::InvalidCharacter);
    }
    Ok(normalised.into_owned())
}

fn resolve_segments(path: &str) -> Result<String, PathProblem> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_with_slash = false;
    for segment in path.split(['/', '\\']) {
        let bare = segment.split(';').next().unwrap_or_default();
        let name = bare.trim_end_matches(['.', ' ']);
        ends_with_slash = name.is_empty();
        if !name.is_empty() {
            kept.push(name);
        } else if bare.contains("..") {
            return Err(PathProblem::Climbs);
        }
    }
    let trailing = if ends_with_slash && !kept.is_empty() { "/" } else { "" };
    Ok(format!("/{}{trailing}", kept.join("/")))
}

/// Characters that separate, end or climb in a path, and the escape itself.
const SPECIAL: &[u8] = b"/\\.;%?#";
/// Code pages of Windows replace these by a slash or backslash, and NFKC does not.
const BEST_FIT_SLASHES: [char; 6] = ['\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}', '\u{29f9}'];
const WIDE_ESCAPE_LENGTH: usize = "%u002e".len();
/// No client encodes a path so often; `%252525…` would take a round for every two characters.
const MAX_DECODING_ROUNDS: usize = 5;
const MAX_READINGS: usize = 8;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn check(path: &str, literal: &str, lenient: &[&str]) {
        let readings = readings(path).unwrap();
        assert_eq!(readings.literal(), literal, "{path}");
        assert_eq!(readings.lenient().collect::<Vec<_>>(), lenient, "{path}");
    }

    fn check_refused(path: &str, problem: PathProblem) {
        assert_eq!(readings(path), Err(problem), "{path}");
    }

    #[test]
    fn plain_paths_have_one_reading() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c/d-e",
            "/1/.a",
            "/a/..b",
            "/a/@scope/b",
            "/a+b/~c",
        ] {
            assert!(readings(path).unwrap().is_plain(), "{path}");
            assert_eq!(readings(path).unwrap().literal(), path);
        }
    }

    #[test]
    fn equivalent_spellings_have_one_literal_form() {
        for (path, literal) in [
            ("/root/dev/%2Bf/%2bg", "/root/dev/+f/+g"),
            ("/feed%40Release", "/feed@Release"),
            ("/%7eme/%41", "/~me/A"),
            ("/My%20Project/x", "/My Project/x"),
            ("/caf%C3%A9", "/café"),
        ] {
            check(path, literal, &[literal]);
            assert!(readings(path).unwrap().is_plain(), "{path}");
        }
    }

    #[test]
    fn finds_the_readings_of_lenient_servers() {
        check("/a//b", "/a//b", &["/a/b"]);
        check("/a%2fb", "/a%2Fb", &["/a/b"]);
        check("/a%5cb", "/a%5Cb", &["/a/b"]);
        check("/a;v=1/b", "/a;v=1/b", &["/a/b"]);
        check("/a/.", "/a/.", &["/a/"]);
        check("/a/%2e/%252e/b", "/a/%2E/%252e/b", &["/a/b"]);
        check("/100%25", "/100%25", &["/100%"]);
        check("/private./x", "/private./x", &["/private/x"]);
        check("/private%20/x%20", "/private /x ", &["/private/x"]);
        check("/private%3f/x", "/private%3F/x", &["/private", "/private?/x"]);
        check("/a%23b", "/a%23b", &["/a", "/a#b"]);
        check("/%EF%BC%A1", "/\u{ff21}", &["/A"]);
    }

    /// Each order of cutting and decoding has its own reading.
    #[test]
    fn a_slash_in_a_parameter_gives_several_readings() {
        check(
            "/a.jar;vcs.url=https%3A%2F%2Fgit.example%2Fx.git",
            "/a.jar;vcs.url=https:%2F%2Fgit.example%2Fx.git",
            &["/a.jar", "/a.jar/git.example/x.git"],
        );
        check("/;%2F%63/cargo", "/;%2Fc/cargo", &["/c/cargo", "/cargo"]);
        check("/%3b%252f%63/cargo", "/%3B%252fc/cargo", &["/c/cargo", "/cargo"]);
        check("/%3b%2F%63/cargo", "/%3B%2Fc/cargo", &["/c/cargo", "/cargo"]);
        check("/a;x%5Cb/c", "/a;x%5Cb/c", &["/a/b/c", "/a/c"]);
        check("/a;v=%20b/c", "/a;v= b/c", &["/a/c"]);
    }

    #[test]
    fn refuses_paths_that_climb() {
        for path in [
            "/..",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/%252e%252e/b",
            "/a%5c..%5cb",
            "/a/..;x/b",
            "/a/..%3bx/b",
            "/a/..%3fx/b",
            "/a;x=%2F../b",
            "/../../a",
            "/a/..%20/b",
            "/a/.../b",
            "/a/%20.%2e/b",
            // `/cargo/c` to a server that decodes first, `/c` to one that resolves `..` first.
            "/cargo/x%2fy/../../c",
            "/cargo/x%252fy/../../c",
        ] {
            check_refused(path, PathProblem::Climbs);
        }
    }

    #[test]
    fn refuses_paths_without_a_safe_reading() {
        use PathProblem::{InvalidCharacter, InvalidEscape, NotAbsolute, TooManyReadings};
        for (path, problem) in [
            ("", NotAbsolute),
            ("a", NotAbsolute),
            ("*", NotAbsolute),
            ("/a/%zz", InvalidEscape),
            ("/a%", InvalidEscape),
            ("/a/%u002e%u002e/b", InvalidEscape),
            ("/a/%25u002e%25u002e/b", InvalidEscape),
            ("/a\\b", InvalidEscape),
            ("/a/%c0%ae%c0%ae/b", InvalidCharacter),
            ("/caf%e9", InvalidCharacter),
            ("/a%00", InvalidCharacter),
            ("/a%0d%0ab", InvalidCharacter),
            ("/a%2500", InvalidCharacter),
            // Full-width dots, a two-dot leader, full-width slash and percent sign, division slash, Greek question mark.
            ("/a/%EF%BC%8E%EF%BC%8E/b", InvalidCharacter),
            ("/a/\u{2025}/b", InvalidCharacter),
            ("/a\u{ff0f}b", InvalidCharacter),
            ("/a\u{ff05}2eb", InvalidCharacter),
            ("/a\u{2215}b", InvalidCharacter),
            ("/a\u{37e}b", InvalidCharacter),
        ] {
            check_refused(path, problem);
        }
        check_refused(&format!("/a/%{}2e", "25".repeat(5)), TooManyReadings);
        check_refused(&format!("/%{}", "25".repeat(10_000)), TooManyReadings);
        let cut_in_each_round: String = (0..4)
            .rev()
            .map(|round| "/%3f%3b%2f".replace('%', &format!("%{}", "25".repeat(round))))
            .collect();
        check_refused(&cut_in_each_round, TooManyReadings);
    }

    /// Ways of a server to map a path to a resource.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Server {
        decodes: usize,
        leaves_encoded_slashes: bool,
        converts_backslashes: bool,
        merges_slashes: bool,
        /// As Windows does.
        drops_dots_and_blanks: bool,
        /// Rounds of decoding after which it cuts parameters, if it does.
        cuts_parameters_after: Option<usize>,
        /// Rounds of decoding after which it cuts the query, if it does.
        cuts_query_after: Option<usize>,
    }

    impl Server {
        pub(crate) fn all() -> impl Iterator<Item = Self> {
            let switches = (0..16).flat_map(|switches| (0..3).map(move |decodes| (switches, decodes)));
            switches.flat_map(|(switches, decodes)| {
                let cuts = move |first| std::iter::once(None).chain((first..=decodes).map(Some));
                cuts(0).flat_map(move |parameters| {
                    cuts(1).map(move |query| Self {
                        decodes,
                        leaves_encoded_slashes: switches & 1 != 0,
                        converts_backslashes: switches & 2 != 0,
                        merges_slashes: switches & 4 != 0,
                        drops_dots_and_blanks: switches & 8 != 0,
                        cuts_parameters_after: parameters,
                        cuts_query_after: query,
                    })
                })
            })
        }

        pub(crate) fn interpret(self, path: &str) -> String {
            // Every server takes equivalent spellings for the same path.
            let mut path = literal(path).unwrap();
            for round in 0..=self.decodes {
                if round > 0 {
                    path = self.decode(&path);
                }
                if self.cuts_query_after == Some(round) {
                    path.truncate(path.find(['?', '#']).unwrap_or(path.len()));
                }
                if self.cuts_parameters_after == Some(round) {
                    path = String::from_utf8(without_parameters(path.as_bytes())).unwrap();
                }
            }
            if self.converts_backslashes {
                path = path.replace('\\', "/");
            }
            let mut kept: Vec<&str> = Vec::new();
            for segment in path.split('/').skip(1) {
                let segment = match segment.trim_end_matches(' ') {
                    ".." if self.drops_dots_and_blanks => "..",
                    bare if self.drops_dots_and_blanks => bare.trim_end_matches(['.', ' ']),
                    _ => segment,
                };
                match segment {
                    "." => {}
                    "" if self.merges_slashes => {}
                    ".." => drop(kept.pop()),
                    name => kept.push(name),
                }
            }
            format!("/{}", kept.join("/"))
        }

        fn decode(self, path: &str) -> String {
            let path = if self.leaves_encoded_slashes {
                Cow::Owned(path.replace("%2f", "%252f").replace("%2F", "%252F"))
            } else {
                Cow::Borrowed(path)
            };
            percent_decode(path.as_bytes()).decode_utf8_lossy().into_owned()
        }

        /// Is the path inside the scope, as this server interprets both?
        pub(crate) fn covers(self, scope: &crate::registry::Scope, path: &str) -> bool {
            let prefix = self.interpret(scope.path());
            let prefix = prefix.trim_end_matches('/');
            let rest = self.interpret(path);
            rest.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    }

    const SCOPES: [&str; 3] = ["https://h/cargo/", "https://h/p/a%2Fb/", "https://h/a@b/"];

    proptest::proptest! {
        /// A lenient reading is its own only lenient reading, without `..`, empty segments, backslashes or parameters.
        #[test]
        fn a_lenient_reading_has_no_other(path in "/([a-z./;%\\\\25eEfFcC]|%2e|%2F|%5c|%25|%3f|%20){0,24}") {
            let found = super::readings(&path);
            for reading in found.iter().flat_map(Readings::lenient) {
                proptest::prop_assert!(reading.starts_with('/'));
                let has_dots = reading.split('/').skip(1).any(|segment| matches!(segment, "." | ".."));
                let hides = reading.contains("//") || reading.contains(['\\', ';']);
                proptest::prop_assert!(!has_dots && !hides, "{reading}");
                if !reading.contains(['%', '?']) {
                    let again = readings(reading).unwrap();
                    proptest::prop_assert!(again.is_plain() && again.literal() == reading, "{}", reading);
                }
            }
        }

        /// If all readings of a path agree on a scope, every server's interpretation agrees too.
        #[test]
        fn no_server_interprets_a_path_into_or_out_of_a_scope(
            path in "(/cargo|/p|/a%40b)?/?([a-c./;%]|/cargo|/p|/a%2fb|/a@b|/\\.\\./|%2e|%2F|%5c|%252f|%63|%3f|%3b|%20|\\.\\.){0,12}",
            scope in proptest::sample::select(&SCOPES[..]),
        ) {
            let scope: crate::registry::Scope = scope.parse().unwrap();
            if let Ok(readings) = readings(&path) {
                let inside = scope.covers_path(readings.literal());
                if readings.lenient_or_literal().all(|reading| scope.covers_lenient(reading) == inside) {
                    for server in Server::all() {
                        let agrees = server.covers(&scope, &path) == inside;
                        let interpreted = server.interpret(&path);
                        proptest::prop_assert!(agrees, "{:?} interprets {} as {}", server, path, interpreted);
                    }
                }
            }
        }
    }
}
