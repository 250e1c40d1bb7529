//! Finds passwords and tokens in the text of a configuration file, so that setup neither records nor shows one.
//!
//! The search is by form, over every format: a URL with a password, and a key whose name is that of a secret. It may find
//! too much. That costs a refusal or a mask, never a file.

use std::ops::Range;

use regauth_shared::placeholder::PLACEHOLDER;

/// Byte ranges of the secrets in a text.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\r', '\n']);
        let in_line = in_urls(content).into_iter().chain(in_values(content));
        found.extend(in_line.map(|range| start + range.start..start + range.end));
        start += line.len();
    }
    found
}

/// True if a text has a secret.
pub(super) fn has_secret(text: &str) -> bool {
    !find(text).is_empty()
}

/// True if a value is a secret of its owner: neither empty, nor the placeholder, nor taken from a variable.
pub(super) fn is_secret_value(value: &str) -> bool {
    let is_variable = value.starts_with("${") && value.ends_with('}');
    !value.is_empty() && value != PLACEHOLDER && !is_variable
}

/// Replaces each secret by `…`.
pub(super) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    let mut ranges = find(text);
    ranges.sort_by_key(|range| range.start);
    for range in ranges {
        if let Some(before) = text.get(at..range.start) {
            masked.push_str(before);
            masked.push('…');
        }
        at = at.max(range.end);
    }
    masked + text.get(at..).unwrap_or_default()
}

/// User and password of each URL that has a password, or a user that is long enough to be a token.
fn in_urls(line: &str) -> Vec<Range<usize>> {
    let starts = line.match_indices("://").map(|(at, separator)| at + separator.len());
    let userinfo = |start: usize| {
        let rest = line.get(start..)?;
        let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'');
        let authority = rest.get(..rest.find(is_end).unwrap_or(rest.len()))?;
        let userinfo = authority.get(..authority.rfind('@')?)?;
        let is_secret = match userinfo.split_once(':') {
            Some((_, password)) => is_secret_value(password),
            None => userinfo.len() >= SHORTEST_TOKEN && is_secret_value(userinfo),
        };
        is_secret.then(|| start..start + userinfo.len())
    };
    starts.filter_map(userinfo).collect()
}

/// Value of each `key = value` whose key names a secret.
fn in_values(line: &str) -> Vec<Range<usize>> {
    let separators = line.match_indices(['=', ':']);
    let value = |(at, _): (usize, &str)| {
        let before = line.get(..at)?.trim_end().trim_end_matches(['"', '\'']);
        let is_part_of_key = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let key = before.get(before.trim_end_matches(is_part_of_key).len()..)?;
        let key = key.to_lowercase();
        if !SECRET_KEYS.iter().any(|part| key.contains(part)) {
            return None;
        }
        let after = line.get(at + 1..)?;
        let start = at + 1 + (after.len() - after.trim_start().len());
        let rest = line.get(start..)?;
        let value = match rest.chars().next().filter(|first| matches!(first, '"' | '\'')) {
            Some(quote) => {
                let inner = rest.get(1..)?;
                start + 1..start + 1 + inner.find(quote).unwrap_or(inner.len())
            }
            None => start..start + rest.trim_end().len(),
        };
        is_secret_value(line.get(value.clone())?).then_some(value)
    };
    separators.filter_map(value).collect()
}

/// Parts of the names of keys that hold secrets, in lower case.
const SECRET_KEYS: [&str; 9] = [
    "token",
    "password",
    "passwd",
    "secret",
    "_auth",
    "apikey",
    "api_key",
    "api-key",
    "extraheader",
];
/// A shorter user in a URL is a name.
const SHORTEST_TOKEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_every_secret_and_nothing_else() {
        for (text, masked) in [
            ("//npm.example/:_authToken=s3cret\n", "//npm.example/:_authToken=…\n"),
            (
                "//npm.example/:_password = \"czNj\" ; old\n",
                "//npm.example/:_password = \"…\" ; old\n",
            ),
            (
                "proxy = http://me:s3cret@corp:3128\r\nx=1\n",
                "proxy = http://…@corp:3128\r\nx=1\n",
            ),
            (
                "corp = { token = \"s3cret\", index = \"sparse+https://x/\" }",
                "corp = { token = \"…\", index = \"sparse+https://x/\" }",
            ),
            ("\textraHeader = Authorization: Basic czNj", "\textraHeader = …"),
            ("export CORP_TOKEN=s3cret", "export CORP_TOKEN=…"),
            (
                "https://0123456789abcdef@x/ https://me@x/",
                "https://…@x/ https://me@x/",
            ),
        ] {
            assert_eq!(mask(text), masked);
        }
        for text in [
            "registry.global-credential-providers = [\"cargo:token\", \"regauth\"]",
            "proxy = http://me@corp:3128",
            "//npm.example/:_authToken=${NPM_TOKEN}",
            "//npm.example/:_authToken=regauth-placeholder-not-a-secret",
            "always-auth=true",
        ] {
            assert_eq!(mask(text), text);
        }
    }
}
