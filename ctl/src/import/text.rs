//! Texts of files, and URLs with a user and password in them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use super::{Cut, Entry, Findings, Login, Origin, Place, login};

/// The text of a file that is there. One that cannot be read is a note.
pub(super) fn read(file: &Path, findings: &mut Findings) -> Option<String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            findings.notes.push(format!("cannot read {}: {error}", file.display()));
            None
        }
    }
}

/// The lines of a text with their endings, and where each begins.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

/// Where the bytes of `part` lie, which is a slice of `whole`.
pub(super) fn range_of(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// A URL with a user and password.
pub(super) struct WithUser<'a> {
    /// What it is without them, ending in `/`.
    pub(super) scope: String,
    /// How they are sent.
    pub(super) login: Login,
    /// What is secret of them.
    pub(super) secret: String,
    /// `user:password@` as it is written.
    pub(super) userinfo: &'a str,
}

/// Takes a URL apart that has a user and password, or a user that can only be a token.
pub(super) fn with_user(text: &str) -> Option<WithUser<'_>> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let userinfo = authority.get(..=authority.rfind('@')?)?;
    let (user, password) = match userinfo.trim_end_matches('@').split_once(':') {
        Some((user, password)) => (decoded(user)?, decoded(password)?),
        None => (decoded(userinfo.trim_end_matches('@'))?, String::new()),
    };
    if password.is_empty() && user.len() < SHORTEST_TOKEN {
        return None;
    }
    let (login, secret) = login::basic(&user, &password);
    Some(WithUser {
        scope: scope(&text.replacen(userinfo, "", 1))?,
        login,
        secret,
        userinfo,
    })
}

/// The scope of a URL: everything below it.
pub(super) fn scope(text: &str) -> Option<String> {
    let mut url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http"))?;
    url.host_str()?;
    url.set_query(None);
    url.set_fragment(None);
    let slash = if url.path().ends_with('/') { "" } else { "/" };
    Some(format!("{url}{slash}"))
}

fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

impl Entry {
    /// One for a URL with a user, which lies in `file`.
    pub(super) fn of(url: WithUser<'_>, kind: &'static str, origin: Origin) -> Self {
        Self {
            name: None,
            kind,
            place: Place::Scope(url.scope),
            login: url.login,
            secret: url.secret,
            origin,
        }
    }
}

impl Origin {
    /// These bytes of a file.
    pub(super) fn bytes(file: &Path, ranges: Vec<Range<usize>>) -> Self {
        let file = PathBuf::from(file);
        let cut = if ranges.is_empty() {
            Cut::ByHand
        } else {
            Cut::Bytes(ranges)
        };
        Self { file, cut }
    }
}

/// No user name that people choose is as long.
const SHORTEST_TOKEN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let token = "ghp_0123456789abcdefghij";
        for (url, scope, login, secret, userinfo) in [
            (
                "https://me:t0k%2Fen@a.example",
                "https://a.example/",
                "me",
                "t0k/en",
                "me:t0k%2Fen@",
            ),
            (
                "https://me%40x:p@a.example:8443/b?c",
                "https://a.example:8443/b/",
                "me@x",
                "p",
                "me%40x:p@",
            ),
            (
                "https://me:p@ss@a.example/",
                "https://a.example/",
                "me",
                "p@ss",
                "me:p@ss@",
            ),
        ] {
            let found = with_user(url).unwrap();
            assert_eq!((found.scope.as_str(), found.login.username().unwrap()), (scope, login));
            assert_eq!((found.secret.as_str(), found.userinfo), (secret, userinfo));
        }
        let found = format!("https://{token}@a.example/");
        assert_eq!(with_user(&found).unwrap().login, Login::Raw);
        for nothing in [
            "https://a.example/",
            "https://me@a.example/",
            "me:p@a.example",
            "ssh://me:p@a.example/",
        ] {
            assert!(with_user(nothing).is_none(), "{nothing}");
        }
    }
}
