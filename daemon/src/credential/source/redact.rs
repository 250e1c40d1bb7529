//! Cuts secrets out of what a program said, before a person may see it. Pure.
//!
//! What the program printed on stdout is known and goes wherever it appears; what merely looks like a token goes too:
//! rather a gap in a message than a token in a terminal's history.

/// The last `most` bytes of `said`, in whole words, without control characters, without any word of `printed` and without
/// anything that looks like a token.
pub(super) fn tail(said: &[u8], printed: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(said);
    let text = text.trim_end();
    let mut known: Vec<String> = words(&String::from_utf8_lossy(printed)).map(str::to_owned).collect();
    // The longest first: none is cut in two by a part of it.
    known.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    let mut text = text.to_owned();
    for word in known.iter().filter(|word| word.len() >= SHORTEST_KNOWN) {
        text = text.replace(word.as_str(), GAP);
    }
    let text = without_lookalikes(&text);
    let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    last(&text, most).to_owned()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "\"'{}[](),;".contains(c))
        .filter(|word| !word.is_empty())
}

fn without_lookalikes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_of_a_token) {
        let (before, from) = rest.split_at(begin);
        let (word, after) = from.split_at(from.find(|c| !is_of_a_token(c)).unwrap_or(from.len()));
        kept.push_str(before);
        kept.push_str(if looks_like_a_token(word) { GAP } else { word });
        rest = after;
    }
    kept + rest
}

fn is_of_a_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_+/=.~".contains(c)
}

/// Long, and letters and digits mixed in a part that is neither a word nor a number; paths and host names are left alone
/// as long as their parts are.
fn looks_like_a_token(word: &str) -> bool {
    let mixed = |part: &str| {
        part.len() >= SHORTEST_LOOKALIKE
            && part.contains(|c: char| c.is_ascii_digit())
            && part.contains(|c: char| c.is_ascii_alphabetic())
    };
    mixed(word) && word.split(['/', '.']).any(mixed)
}

/// A word that is cut in two could be the rest of a secret, so it goes.
fn last(text: &str, most: usize) -> &str {
    let Some(surplus) = text.len().checked_sub(most).filter(|surplus| *surplus > 0) else {
        return text;
    };
    let from = text.char_indices().map(|(at, _)| at).find(|at| *at >= surplus);
    let tail = from.and_then(|from| text.get(from..)).unwrap_or_default();
    tail.split_once(char::is_whitespace).map_or("", |(_, rest)| rest)
}

const GAP: &str = "…";
const SHORTEST_KNOWN: usize = 4;
const SHORTEST_LOOKALIKE: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(said: &str) -> String {
        tail(said.as_bytes(), b"", 2048)
    }

    #[test]
    fn what_looks_like_a_token_is_cut_out() {
        for token in [
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlX29mX2l0",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "AKIAIOSFODNN7EXAMPLE1",
            "dGhpc2lzYXRva2VuMTIzNDU2Nzg5MA==",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(shown(&format!("bad token '{token}' given\n")), "bad token '…' given");
            assert_eq!(shown(&format!("?access={token}&x")), "?…&x");
        }
    }

    #[test]
    fn what_a_person_needs_stays() {
        for said in [
            "Unable to locate credentials. You can configure credentials by running \"aws configure\".",
            "Could not connect to https://sts.eu-central-1.amazonaws.com/: timed out after 60 s",
            "AADSTS70043: the refresh token has expired (2024-01-01T12:00:00.123Z)",
            "/home/me/.config/gcloud/credentials.db: permission denied",
            "error on line 1234567890123456789012345",
        ] {
            assert_eq!(shown(said), said);
        }
    }

    #[test]
    fn what_was_printed_is_cut_out() {
        let said = tail(
            b"got s3cret, not s3cret-2",
            b"{\"t\":\"s3cret\",\"u\":\"s3cret-2\"}",
            2048,
        );
        assert_eq!(said, "got …, not …");
    }

    #[test]
    fn only_the_end_is_kept_and_no_half_word() {
        assert_eq!(tail(b"one two three", b"", 9), "three");
        assert_eq!(tail(b"\x1b[1mone\x1b[0m\r\ntwo\n\n", b"", 99), "[1mone[0m\ntwo");
        assert_eq!(tail(b"onetwothree", b"", 5), "");
    }
}
