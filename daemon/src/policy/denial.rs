//! Classification of a registry's answer to a request with a token: accepted, denied, or neither.
//!
//! Registries disagree about the status. A token that has ended gets 401 from most, 403 from Artifactory and Google, 400
//! from S3, 404 from GitLab and GitHub, and a redirect to a login page from Azure DevOps. All of them give the same
//! answers for a path that a good token may not read, or that does not exist. So an answer alone never condemns a token:
//! it is a reason to ask the registry. A registry's `rejected-by` lists the statuses that are strong reasons.

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use memchr::memmem;

use crate::policy::Rejections;

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
    /// A status that rejects tokens at this registry: 401 and 403, or those that its `rejected-by` lists.
    Clear,
    /// Other answers that a rejected token may get: 400, 401, 403, 404, redirects to a login page, referrals to a token
    /// server. At this registry they are usually about the path.
    Vague,
}

impl Answer {
    /// Classifies the head of an answer from a registry that rejects tokens with `rejections`.
    pub fn of(status: StatusCode, headers: &HeaderMap, rejections: &Rejections) -> Self {
        match status {
            StatusCode::UNAUTHORIZED if refers_to_token_server(headers) => Self::Denied(Denial::Vague),
            status if rejections.contains(status) => Self::Denied(Denial::Clear),
            // Unlisted, they still are a reason to ask a source for another token.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
                Self::Denied(Denial::Vague)
            }
            StatusCode::NOT_MODIFIED => Self::Accepted,
            status if status.is_success() => Self::Accepted,
            status if status.is_redirection() && leads_to_login(headers) => Self::Denied(Denial::Vague),
            _ => Self::Neutral,
        }
    }
}

impl Denial {
    /// Classifies the status of a page that the registry has served with the token before; `None` if it says nothing about
    /// the token.
    pub fn of_served_page(status: StatusCode, rejections: &Rejections) -> Option<Self> {
        match status {
            // The page may have been deleted since, whatever else the status stands for.
            StatusCode::NOT_FOUND | StatusCode::GONE => Some(Self::Vague),
            // The same request was no bad one before.
            StatusCode::BAD_REQUEST => Some(Self::Clear),
            status if rejections.contains(status) => Some(Self::Clear),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(Self::Vague),
            status if status.is_redirection() => Some(Self::Vague),
            _ => None,
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
                Answer::of(StatusCode::from_u16(status).unwrap(), &headers, &Rejections::default()),
                answer,
                "{status} {headers:?}"
            );
        }
    }

    #[test]
    fn a_registrys_own_statuses_are_clear_and_the_usual_ones_stay_vague() {
        let referral = "Bearer realm=\"https://a.example/token\",service=\"a\"";
        let referral = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(referral))]);
        let (clear, vague) = (Answer::Denied(Denial::Clear), Answer::Denied(Denial::Vague));
        for (listed, status, answer) in [
            (&[401][..], 401, clear),
            (&[401], 403, vague),
            (&[403], 401, vague),
            (&[400, 401], 400, clear),
            (&[404], 404, clear),
            (&[404], 401, vague),
            (&[418], 418, clear),
            (&[401], 418, Answer::Neutral),
            (&[401], 503, Answer::Neutral),
            (&[401], 200, Answer::Accepted),
        ] {
            let (status, listed) = (StatusCode::from_u16(status).unwrap(), Rejections::new(listed).unwrap());
            assert_eq!(
                Answer::of(status, &HeaderMap::new(), &listed),
                answer,
                "{status} {listed:?}"
            );
            assert_eq!(
                Answer::of(StatusCode::UNAUTHORIZED, &referral, &listed),
                vague,
                "{listed:?}"
            );
        }
    }

    #[test]
    fn a_page_that_is_gone_is_no_clear_denial_whatever_is_listed() {
        let (clear, vague) = (Some(Denial::Clear), Some(Denial::Vague));
        for (listed, status, denial) in [
            (&[401, 403][..], 401, clear),
            (&[401, 403], 403, clear),
            (&[401, 403], 400, clear),
            (&[401, 403], 404, vague),
            (&[401, 403], 302, vague),
            (&[401], 403, vague),
            (&[403], 401, vague),
            (&[404, 410], 404, vague),
            (&[404, 410], 410, vague),
            (&[401], 429, None),
            (&[401], 500, None),
        ] {
            let (status, listed) = (StatusCode::from_u16(status).unwrap(), Rejections::new(listed).unwrap());
            assert_eq!(Denial::of_served_page(status, &listed), denial, "{status} {listed:?}");
        }
    }
}
