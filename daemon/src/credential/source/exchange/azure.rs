//! Azure Artifacts: Microsoft Entra ID takes an identity as the assertion of an application with a federated credential.
//!
//! Microsoft, "OAuth 2.0 client credentials flow", section "Access token request with a federated credential".

use super::device::DeviceFlow;
use super::oauth::ASSERTION_TYPE;
use super::settings::{InvalidSetting, Key, Settings};
use super::token_answer::TokenAnswer;
use super::{Exchange, ExchangeKind, MintContext};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::token_client::ServiceRequest;
use crate::credential::source::{FetchError, FetchedToken};

/// Exchange of Azure Artifacts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Azure {
    token_url: Endpoint,
    device_url: Endpoint,
    client_id: String,
    scope: String,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "azure",
    keys: &[TENANT, CLIENT_ID, SCOPE, AUTHORITY],
    build: |settings| Azure::new(settings).map(Exchange::Azure),
};

impl Azure {
    fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let authority = settings.endpoint(AUTHORITY.name, "https://login.microsoftonline.com")?;
        let tenant = settings.required(&TENANT)?;
        Ok(Self {
            token_url: authority.join([&*tenant, "oauth2", "v2.0", "token"]),
            device_url: authority.join([&*tenant, "oauth2", "v2.0", "devicecode"]),
            client_id: settings.required(&CLIENT_ID)?,
            scope: settings.text_or(SCOPE.name, AZURE_DEVOPS),
        })
    }

    /// URLs that get the identity.
    pub(super) fn endpoints(&self) -> Vec<&Endpoint> {
        vec![&self.token_url, &self.device_url]
    }

    /// Login of a person with a code.
    pub(super) fn device_flow(&self) -> DeviceFlow {
        DeviceFlow {
            authorization_url: self.device_url.clone(),
            token_url: self.token_url.clone(),
            client_id: self.client_id.clone(),
            scope: Some(format!("{} offline_access", self.scope)),
        }
    }

    /// Exchanges the identity.
    ///
    /// # Errors
    /// [`FetchError`] with Entra's reason.
    pub(super) async fn mint(&self, context: &MintContext<'_>) -> Result<FetchedToken, FetchError> {
        let identity = context.identity(Some("api://AzureADTokenExchange")).await?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("scope", &self.scope),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", identity.expose()),
        ];
        let request = ServiceRequest::post_form(&self.token_url, &form).hiding(&identity);
        TokenAnswer::read(&context.client.send(request).await?)
    }
}

const TENANT: Key = Key::new("tenant", r#""corp.onmicrosoft.com""#);
const CLIENT_ID: Key = Key::new("client-id", r#""00000000-0000-0000-0000-000000000000""#);
const SCOPE: Key = Key::new("scope", r#""499b84ac-1321-427f-aa17-267ca6975798/.default""#);
const AUTHORITY: Key = Key::new("authority", r#""https://login.microsoftonline.com""#);
/// Application id of Azure DevOps, which serves Azure Artifacts.
const AZURE_DEVOPS: &str = "499b84ac-1321-427f-aa17-267ca6975798/.default";
