//! JFrog Artifactory: its OpenID Connect integration takes an identity for an access token.
//!
//! JFrog, "REST APIs", section "Exchange Token for OIDC".

use serde_json::json;

use super::settings::{InvalidSetting, Key, Settings};
use super::token_answer::TokenAnswer;
use super::{Exchange, ExchangeKind, MintContext};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::token_client::ServiceRequest;
use crate::credential::source::{FetchError, FetchedToken};

/// Exchange of JFrog Artifactory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Jfrog {
    host: Endpoint,
    /// Name of the OpenID Connect integration.
    provider: String,
    /// Optional fields of the request, by their names there.
    options: Vec<(&'static str, String)>,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "jfrog",
    keys: &[HOST, PROVIDER, OPTIONS[0].0, OPTIONS[1].0, OPTIONS[2].0, OPTIONS[3].0],
    build: |settings| Jfrog::new(settings).map(Exchange::Jfrog),
};

impl Jfrog {
    fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let host = Endpoint::of_host(&settings.required(&HOST)?);
        let option = |(key, field): &(Key, &'static str)| Some((*field, settings.owned(key.name)?));
        Ok(Self {
            host: host.map_err(|reason| InvalidSetting::new(HOST.name, reason))?,
            provider: settings.required(&PROVIDER)?,
            options: OPTIONS.iter().filter_map(option).collect(),
        })
    }

    /// URL that gets the identity.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.host
    }

    /// Exchanges the identity.
    ///
    /// # Errors
    /// [`FetchError`] with JFrog's reason.
    pub(super) async fn mint(&self, context: &MintContext<'_>) -> Result<FetchedToken, FetchError> {
        let identity = context.identity(None).await?;
        let mut document = json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "subject_token": identity.expose(),
            "provider_name": self.provider,
        });
        if let Some(fields) = document.as_object_mut() {
            fields.extend(
                self.options
                    .iter()
                    .map(|(field, value)| ((*field).to_owned(), json!(value))),
            );
        }
        let endpoint = self.host.join(["access", "api", "v1", "oidc", "token"]);
        let request = ServiceRequest::post_json(&endpoint, &document).hiding(&identity);
        TokenAnswer::read(&context.client.send(request).await?)
    }
}

const HOST: Key = Key::new("host", r#""corp.jfrog.io""#);
const PROVIDER: Key = Key::new("provider", r#""github-corp""#);
const OPTIONS: [(Key, &str); 4] = [
    (Key::new("provider-type", r#""GitHub""#), "provider_type"),
    (Key::new("token-audience", r#""jfrt@*""#), "audience"),
    (Key::new("mapping", r#""ci-readers""#), "identity_mapping_name"),
    (Key::new("project", r#""corp""#), "project_key"),
];
