//! Answer of a token endpoint (RFC 6749, section 5.1), which the services' own exchanges resemble.

use std::time::Duration;

use regauth_shared::Secret;
use serde::Deserialize;

use crate::credential::source::service_answer::ServiceAnswer;
use crate::credential::source::{FetchError, FetchedToken};
use crate::credential::token_claims;

/// Answer of a token endpoint.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    access_token: String,
    /// Lifetime in seconds. Some servers send it as a string.
    #[serde(default)]
    expires_in: Option<Seconds>,
    #[serde(default)]
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl TokenAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`FetchError`] if it has no token.
    pub(super) fn read(answer: &ServiceAnswer) -> Result<FetchedToken, FetchError> {
        answer.json::<Self>()?.fetched(answer)
    }

    /// The token. Without `expires_in`, a token that is a JWT tells its end itself (RFC 9068, section 2.2).
    ///
    /// # Errors
    /// [`FetchError`] if the text cannot be a token.
    pub(super) fn fetched(&self, answer: &ServiceAnswer) -> Result<FetchedToken, FetchError> {
        let ttl = self.expires_in.as_ref().and_then(Seconds::duration);
        let secret = answer.token(&self.access_token)?;
        Ok(FetchedToken {
            expires: ttl.is_none().then(|| token_claims::expiry(&secret)).flatten(),
            ttl,
            secret,
        })
    }

    /// The refresh token, if the server gives another one.
    ///
    /// # Errors
    /// [`FetchError`] if the text cannot be a token.
    pub(super) fn refresh_token(&self, answer: &ServiceAnswer) -> Result<Option<Secret>, FetchError> {
        let text = self.refresh_token.as_deref();
        text.map(|text| answer.token(text)).transpose()
    }
}

impl Seconds {
    /// The lifetime; `None` for zero, by which JFrog means a token that does not expire.
    fn duration(&self) -> Option<Duration> {
        let seconds = match self {
            Self::Number(seconds) => *seconds,
            Self::Text(text) => text.parse().ok()?,
        };
        let duration = Duration::try_from_secs_f64(seconds).ok()?;
        (!duration.is_zero()).then_some(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_or_a_text() {
        for (json, expected) in [
            ("3600", Some(3600)),
            ("\"3600\"", Some(3600)),
            ("0", None),
            ("-5", None),
            ("\"soon\"", None),
        ] {
            let seconds: Seconds = serde_json::from_str(json).unwrap();
            assert_eq!(seconds.duration(), expected.map(Duration::from_secs), "{json}");
        }
    }
}
