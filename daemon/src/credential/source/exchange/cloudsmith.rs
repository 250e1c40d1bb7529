//! Cloudsmith: takes an identity for the token of a service account.
//!
//! Cloudsmith's documentation, "OpenID Connect".

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::settings::{InvalidSetting, Key, Settings};
use super::{Exchange, ExchangeKind, MintContext};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::token_client::ServiceRequest;
use crate::credential::source::{FetchError, FetchedToken};
use crate::credential::token_claims;

/// Exchange of Cloudsmith.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cloudsmith {
    api: Endpoint,
    organization: String,
    service: String,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "cloudsmith",
    keys: &[ORGANIZATION, SERVICE, API],
    build: |settings| Cloudsmith::new(settings).map(Exchange::Cloudsmith),
};

#[derive(Deserialize)]
struct Answer {
    token: String,
}

impl Cloudsmith {
    fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        Ok(Self {
            api: settings.endpoint(API.name, "https://api.cloudsmith.io")?,
            organization: settings.required(&ORGANIZATION)?,
            service: settings.required(&SERVICE)?,
        })
    }

    /// URL that gets the identity.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.api
    }

    /// Exchanges the identity.
    ///
    /// # Errors
    /// [`FetchError`] with Cloudsmith's reason.
    pub(super) async fn mint(&self, context: &MintContext<'_>) -> Result<FetchedToken, FetchError> {
        let identity = context.identity(None).await?;
        let document = json!({ "oidc_token": identity.expose(), "service_slug": self.service });
        let endpoint = self.api.join(["openid", &self.organization]).with_final_slash();
        let request = ServiceRequest::post_json(&endpoint, &document).hiding(&identity);
        let answer = context.client.send(request).await?;
        let secret = answer.token(&answer.json::<Answer>()?.token)?;
        let expires = token_claims::expiry(&secret);
        Ok(FetchedToken {
            ttl: expires.is_none().then_some(LIFETIME),
            expires,
            secret,
        })
    }
}

const ORGANIZATION: Key = Key::new("organization", r#""corp""#);
const SERVICE: Key = Key::new("service", r#""ci""#);
const API: Key = Key::new("api", r#""https://api.cloudsmith.io""#);
/// Documented lifetime of a token, which the answer does not tell.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);
