//! Cuts secrets out of a program's error messages before a person sees them. Pure.
//!
//! Words of the program's stdout are cut out, and so is everything that looks like a token: a gap in a message is
//! better than a token in a terminal's history.

/// The last `max` bytes of `stderr` in whole words, without control characters, words of `stdout` or anything that
/// looks like a token.
pub(super) fn tail(stderr: &[u8], stdout: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim_end();
    let mut known: Vec<String> = words(&String::from_utf8_lossy(stdout)).map(str::to_owned).collect();
    // The longest first, so that no word is cut in two by a part of it.
    known.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    let mut text = text.to_owned();
    for word in known.iter().filter(|word| word.len() >= MIN_KNOWN_LENGTH) {
        text = text.replace(word.as_str(), GAP);
    }
    let text = without_lookalikes(&text);
    let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    last(&text, max).to_owned()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "\"'{}[](),;".contains(c))
        .filter(|word| !word.is_empty())
}

fn without_lookalikes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_token_character) {
        let (before, from) = rest.split_at(begin);
        let (word, after) = from.split_at(from.find(|c| !is_token_character(c)).unwrap_or(from.len()));
        kept.push_str(before);
        kept.push_str(if looks_like_a_token(word) { GAP } else { word });
        rest = after;
    }
    kept + rest
}

fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_+/=.~".contains(c)
}

/// True if a word is long and mixes letters and digits in one part. Paths and host names stay if their parts do not.
fn looks_like_a_token(word: &str) -> bool {
    let mixed = |part: &str| {
        part.len() >= MIN_LOOKALIKE_LENGTH
            && part.contains(|c: char| c.is_ascii_digit())
            && part.contains(|c: char| c.is_ascii_alphabetic())
    };
    mixed(word) && word.split(['/', '.']).any(mixed)
}

/// The end of a text. Half a word could be the rest of a secret, and is left out.
fn last(text: &str, max: usize) -> &str {
    let Some(surplus) = text.len().checked_sub(max).filter(|surplus| *surplus > 0) else {
        return text;
    };
    let from = text.char_indices().map(|(at, _)| at).find(|at| *at >= surplus);
    let tail = from.and_then(|from| text.get(from..)).unwrap_or_default();
    tail.split_once(char::is_whitespace).map_or("", |(_, rest)| rest)
}

const GAP: &str = "…";
const MIN_KNOWN_LENGTH: usize = 4;
const MIN_LOOKALIKE_LENGTH: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stderr: &str) -> String {
        tail(stderr.as_bytes(), b"", 2048)
    }

    #[test]
    fn cuts_out_anything_that_looks_like_a_token() {
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
    fn keeps_messages_paths_and_times() {
        for text in [
            "Unable to locate credentials. You can configure credentials by running \"aws configure\".",
            "Could not connect to https://sts.eu-central-1.amazonaws.com/: timed out after 60 s",
            "AADSTS70043: the refresh token has expired (2024-01-01T12:00:00.123Z)",
            "/home/me/.config/gcloud/credentials.db: permission denied",
            "error on line 1234567890123456789012345",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn cuts_out_words_of_stdout() {
        let text = tail(
            b"got s3cret, not s3cret-2",
            b"{\"t\":\"s3cret\",\"u\":\"s3cret-2\"}",
            2048,
        );
        assert_eq!(text, "got …, not …");
    }

    #[test]
    fn keeps_the_end_and_no_half_word() {
        assert_eq!(tail(b"one two three", b"", 9), "three");
        assert_eq!(tail(b"\x1b[1mone\x1b[0m\r\ntwo\n\n", b"", 99), "[1mone[0m\ntwo");
        assert_eq!(tail(b"onetwothree", b"", 5), "");
    }
}
