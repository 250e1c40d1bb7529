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
