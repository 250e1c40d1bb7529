//! Login of a person with a code: OAuth 2.0 device authorization (RFC 8628), and the refresh of its tokens.
//!
//! The refresh token is in the store. A server that rotates it accepts each once, so the new one replaces it there before
//! the access token is used.

use std::sync::Arc;
use std::time::Duration;

use regauth_shared::Secret;
use serde::Deserialize;

use super::MintContext;
use super::refresh_token::ReplacedRefreshToken;
use super::token_answer::TokenAnswer;
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::token_client::{ServiceRequest, TokenClient};
use crate::credential::source::{FetchError, FetchedToken};
use crate::credential::store::stored_secret::StoredSecret;

/// Endpoints and client of a login with a code.
#[derive(Clone, Debug)]
pub(crate) struct DeviceFlow {
    pub(super) authorization_url: Endpoint,
    pub(super) token_url: Endpoint,
    pub(super) client_id: String,
    pub(super) scope: Option<String>,
}

/// Login that a person has to confirm (RFC 8628, section 3.2).
#[derive(Debug)]
pub(crate) struct StartedLogin {
    device_code: Secret,
    /// Code that the person enters.
    pub(crate) user_code: String,
    /// Page that asks for the code.
    pub(crate) verification_url: String,
    /// Page for the person, with the code in its URL.
    pub(crate) complete_url: Option<String>,
    /// Lifetime of the code.
    pub(crate) expires_in: Duration,
    /// Pause between two polls.
    pub(crate) interval: Duration,
}

/// Answer to a poll (RFC 8628, section 3.5).
#[derive(Debug)]
pub(crate) enum LoginPoll {
    /// The person has not confirmed yet.
    Pending,
    /// The person has not confirmed yet, and polls must be rarer.
    SlowDown,
    /// The service gave no usable answer: it is down, or the network. The login can still be confirmed.
    Unanswered(FetchError),
    /// The person has confirmed; this is the refresh token.
    Confirmed(Secret),
}

#[derive(Deserialize)]
struct Authorization {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    #[serde(default)]
    verification_uri_complete: Option<String>,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

impl DeviceFlow {
    /// Asks for a code.
    ///
    /// # Errors
    /// [`FetchError`] with the server's reason.
    pub(crate) async fn begin(&self, client: &TokenClient) -> Result<StartedLogin, FetchError> {
        let mut form = vec![("client_id", self.client_id.as_str())];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let answer = client
            .send(ServiceRequest::post_form(&self.authorization_url, &form))
            .await?;
        let authorization: Authorization = answer.json()?;
        let page = |text: &str| {
            self.page(text)
                .ok_or_else(|| answer.lacks("https:// page for the code"))
        };
        let user_code = authorization.user_code;
        let is_shown = (1..=MAX_CODE_LENGTH).contains(&user_code.len()) && user_code.bytes().all(is_printable);
        if !is_shown {
            return Err(answer.lacks("code of printable ASCII characters"));
        }
        Ok(StartedLogin {
            device_code: answer.token(&authorization.device_code)?,
            user_code,
            verification_url: page(&authorization.verification_uri)?,
            complete_url: authorization
                .verification_uri_complete
                .as_deref()
                .map(page)
                .transpose()?,
            expires_in: Duration::from_secs(authorization.expires_in.min(MAX_CODE_SECONDS)),
            interval: Duration::from_secs(authorization.interval.unwrap_or(USUAL_INTERVAL).clamp(1, 60)),
        })
    }

    /// URL of a page that a browser opens for a person, with every character beyond ASCII encoded. It is `https://`, or on
    /// loopback for a server on loopback.
    fn page(&self, text: &str) -> Option<String> {
        let url = text.parse::<Endpoint>().ok()?;
        let is_safe = url.url().scheme() == "https" || self.authorization_url.url().scheme() == "http";
        let page = url.to_string();
        (is_safe && page.len() <= MAX_PAGE_LENGTH && page.bytes().all(is_printable)).then_some(page)
    }

    /// Asks whether the person has confirmed.
    ///
    /// # Errors
    /// [`FetchError`] if the person has refused, the code has ended, or the server gives no refresh token.
    pub(crate) async fn poll(&self, client: &TokenClient, login: &StartedLogin) -> Result<LoginPoll, FetchError> {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", login.device_code.expose()),
            ("client_id", &self.client_id),
        ];
        let request = ServiceRequest::post_form(&self.token_url, &form).hiding(&login.device_code);
        let answer = match client.send(request).await {
            Ok(answer) => answer,
            Err(error) => {
                return match error.code.as_deref() {
                    Some("authorization_pending") => Ok(LoginPoll::Pending),
                    Some("slow_down") => Ok(LoginPoll::SlowDown),
                    Some(_) => Err(error),
                    None => Ok(LoginPoll::Unanswered(error)),
                };
            }
        };
        let tokens: TokenAnswer = answer.json()?;
        let refresh_token = tokens.refresh_token(&answer)?;
        let missing = || {
            answer
                .lacks("refresh token")
                .hint("ask for one by the scope: for many servers, offline_access")
        };
        refresh_token.map(LoginPoll::Confirmed).ok_or_else(missing)
    }

    /// Gets an access token for the refresh token in the store.
    ///
    /// # Errors
    /// [`FetchError`] if nobody is logged in, or with the server's reason.
    pub(super) async fn refresh(
        &self,
        context: &MintContext<'_>,
        replaced: &mut ReplacedRefreshToken,
    ) -> Result<FetchedToken, FetchError> {
        let login = format!("`regauthctl login {}` logs you in", context.login.name());
        // A refresh before a change of the configuration may still be under way.
        let turn = context.login.take_turn().await;
        let stored = context
            .login
            .read()
            .await
            .map_err(|error| FetchError::new(error.to_string()))?;
        let stored = stored.ok_or_else(|| FetchError::new("nobody is logged in").hint(&*login))?;
        let present = replaced.current(&stored).clone();
        let exchange = Exchange {
            flow: self.clone(),
            client: Arc::clone(context.client),
            login: context.login.clone(),
            stored: stored.clone(),
            present,
        };
        let ending = || FetchError::new("this regauthd is ending; the next one refreshes the login");
        let exchanged = turn.finish(exchange.run()).await.ok_or_else(ending)?;
        let Exchanged { fetched, new } = exchanged.map_err(|error| match error.code.as_deref() {
            Some("invalid_grant") => error.hint(&*login),
            _ => error,
        })?;
        if let Some(new) = new {
            replaced.replace(stored, new);
        }
        fetched
    }
}

/// Exchange of a refresh token. It owns everything, because its caller may be dropped meanwhile.
struct Exchange {
    flow: DeviceFlow,
    client: Arc<TokenClient>,
    login: StoredSecret,
    /// Refresh token in the store.
    stored: Secret,
    /// Refresh token to send: the stored one, or the one that has replaced it.
    present: Secret,
}

/// Result of an exchange.
struct Exchanged {
    fetched: Result<FetchedToken, FetchError>,
    /// Refresh token that replaces the one that was sent.
    new: Option<Secret>,
}

impl Exchange {
    /// Sends the refresh token, and stores the one that replaces it.
    ///
    /// # Errors
    /// [`FetchError`] with the server's reason, or if the store has another refresh token by now, or none.
    async fn run(self) -> Result<Exchanged, FetchError> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", self.present.expose()),
            ("client_id", &self.flow.client_id),
        ];
        let request = ServiceRequest::post_form(&self.flow.token_url, &form).hiding(&self.present);
        let answer = self.client.send(request).await?;
        let tokens: TokenAnswer = answer.json()?;
        let new = tokens.refresh_token(&answer)?.filter(|new| !new.is_same(&self.stored));
        if let Some(new) = &new {
            let name = self.login.name();
            match self.login.replace(&[self.stored, self.present], new).await {
                Ok(true) => {}
                Ok(false) => return Err(FetchError::new("the login has ended or was replaced meanwhile")),
                Err(error) => tracing::warn!(registry = %name, %error, "could not store a new refresh token"),
            }
        }
        Ok(Exchanged {
            fetched: tokens.fetched(&answer),
            new,
        })
    }
}

/// True if a terminal shows the character, and does nothing else.
fn is_printable(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

/// Longest code that a person types in.
const MAX_CODE_LENGTH: usize = 64;
const MAX_PAGE_LENGTH: usize = 2048;
/// Pause between polls if the server names none (RFC 8628, section 3.2).
const USUAL_INTERVAL: u64 = 5;
/// Longest life of a code that is believed.
const MAX_CODE_SECONDS: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_the_code_is_printable_and_https() {
        let page = |server: &str, text: &str| {
            let flow = DeviceFlow {
                authorization_url: server.parse().unwrap(),
                token_url: server.parse().unwrap(),
                client_id: "person".to_owned(),
                scope: None,
            };
            flow.page(text)
        };
        let there = "https://login.example/device/auth";
        for (text, expected) in [
            ("https://login.example/device", Some("https://login.example/device")),
            (
                "https://login.example/\u{202e}x",
                Some("https://login.example/%E2%80%AEx"),
            ),
            ("https://l\u{f6}gin.example/", Some("https://xn--lgin-5qa.example/")),
            ("http://127.0.0.1/device", None),
            ("http://login.example/device", None),
            ("javascript:alert(1)", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(page(there, text).as_deref(), expected, "{text}");
        }
        assert_eq!(
            page(there, &format!("https://login.example/{}", "x".repeat(3000))),
            None
        );
        assert!(page("http://127.0.0.1:1/auth", "http://127.0.0.1:1/device").is_some());
    }
}
