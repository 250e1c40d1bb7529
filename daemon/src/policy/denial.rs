//! Classification of a registry's answer to a request with a token: accepted, denied, or neither.
//!
//! Registries disagree about the status. A token that has ended gets 401 from most, 403 from Artifactory and Google, 400
//! from S3, 404 from GitLab and GitHub, and a redirect to a login page from Azure DevOps. All of them give the same
//! answers for a path that a good token may not read, or that does not exist. So an answer alone never condemns a token:
//! it is a reason to ask the registry.

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use memchr::memmem;

/// Statement of an answer about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The registry served the request.
    Accepted,
    /// The registry did not serve the request, and the token may be the reason.
    Denied(Denial),
    /// The token is not the reason: an overload, a redirect to a download.
    Neutral,
}

/// Strength of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// 401 and 403: about permission.
    Clear,
    /// 400, 404, redirects to a login page, referrals to a token server: seldom about permission.
    Vague,
}

impl Answer {
    /// Classifies the head of an answer.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::UNAUTHORIZED if refers_to_token_server(headers) => Self::Denied(Denial::Vague),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Denied(Denial::Clear),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Self::Denied(Denial::Vague),
            StatusCode::NOT_MODIFIED => Self::Accepted,
            status if status.is_success() => Self::Accepted,
            status if status.is_redirection() && leads_to_login(headers) => Self::Denied(Denial::Vague),
            _ => Self::Neutral,
        }
    }
}

/// True if a 401 sends the client to a token server, as container registries do with every token: the client is to
/// fetch another token there (Docker Registry v2 authentication).
pub fn refers_to_token_server(headers: &HeaderMap) -> bool {
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes);
    challenges.any(|challenge| {
        is_bearer_challenge(challenge)
            && memmem::find(challenge, b"realm=\"http").is_some()
            && memmem::find(challenge, b"service=").is_some()
    })
}

/// True if a challenge asks for no password: programs do not prompt for a Bearer token.
pub fn is_bearer_challenge(challenge: &[u8]) -> bool {
    challenge
        .split_at_checked(7)
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
}

fn leads_to_login(headers: &HeaderMap) -> bool {
    let Some(location) = headers.get(LOCATION) else {
        return false;
    };
    let location = location.as_bytes().to_ascii_lowercase();
    let path = location.split(|byte| *byte == b'?').next().unwrap_or(&location);
    LOGIN_PAGES.iter().any(|page| memmem::find(path, page).is_some())
}

/// Parts of the paths of login pages.
const LOGIN_PAGES: [&[u8]; 6] = [b"login", b"signin", b"sign_in", b"sign-in", b"/oauth", b"/saml"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_accepted_denied_or_neither() {
        let clear = Answer::Denied(Denial::Clear);
        let vague = Answer::Denied(Denial::Vague);
        for (status, header, answer) in [
            (200, None, Answer::Accepted),
            (206, None, Answer::Accepted),
            (304, None, Answer::Accepted),
            (401, None, clear),
            (401, Some((WWW_AUTHENTICATE, "Basic realm=\"x\"")), clear),
            (
                401,
                Some((
                    WWW_AUTHENTICATE,
                    "Bearer realm=\"https://a.example/token\",service=\"a\"",
                )),
                vague,
            ),
            (403, None, clear),
            (400, None, vague),
            (404, None, vague),
            (302, Some((LOCATION, "/users/sign_in")), vague),
            (302, Some((LOCATION, "https://login.example/")), vague),
            (
                302,
                Some((LOCATION, "https://cdn.example/a?next=login")),
                Answer::Neutral,
            ),
            (302, None, Answer::Neutral),
            (429, None, Answer::Neutral),
            (503, None, Answer::Neutral),
        ] {
            let headers = header.map(|(name, value)| (name, HeaderValue::from_static(value)));
            let headers = HeaderMap::from_iter(headers);
            assert_eq!(
                Answer::of(StatusCode::from_u16(status).unwrap(), &headers),
                answer,
                "{status} {headers:?}"
            );
        }
    }
}
