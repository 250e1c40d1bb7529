//! GitHub App: a JWT that the app's private key signs becomes the token of an installation.
//!
//! GitHub, "Generating an installation access token for a GitHub App".

use http::header::{self, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::settings::{InvalidSetting, Key, Settings};
use super::{Exchange, ExchangeKind, MintContext, jwt};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::secret_reference::SecretReference;
use crate::credential::source::token_client::ServiceRequest;
use crate::credential::source::{FetchError, FetchedToken};
use crate::registry::{Kind, Scheme};

/// Exchange of a GitHub App.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GithubApp {
    tokens: Endpoint,
    client_id: String,
    private_key: SecretReference,
    /// Repositories and permissions that the token is limited to.
    limits: Value,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "github-app",
    keys: &[CLIENT_ID, INSTALLATION, PRIVATE_KEY, REPOSITORIES, PERMISSIONS, API],
    build: |settings| GithubApp::new(settings).map(Exchange::GithubApp),
};

#[derive(Deserialize)]
struct Answer {
    token: String,
    expires_at: String,
}

impl GithubApp {
    fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let api = settings.endpoint(API.name, "https://api.github.com")?;
        let installation = settings.required(&INSTALLATION)?;
        Ok(Self {
            tokens: api.join(["app", "installations", &installation, "access_tokens"]),
            client_id: settings.required(&CLIENT_ID)?,
            private_key: settings.required_parsed(&PRIVATE_KEY)?,
            limits: limits(settings)?,
        })
    }

    /// URL that gets the identity.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.tokens
    }

    /// Scheme for a registry of this kind: a password for git, and a token for npm.pkg.github.com.
    pub(super) fn scheme(kind: Kind) -> Scheme {
        match kind {
            Kind::Npm | Kind::Cargo => Scheme::Bearer,
            _ => Scheme::Basic {
                username: "x-access-token".to_owned(),
            },
        }
    }

    /// Gets a token of the installation.
    ///
    /// # Errors
    /// [`FetchError`] with GitHub's reason.
    pub(super) async fn mint(&self, context: &MintContext<'_>) -> Result<FetchedToken, FetchError> {
        let key = context.secret(&self.private_key).await?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        // GitHub's clock may be behind, and it accepts no end beyond ten minutes.
        let claims = json!({ "iat": now - 60, "exp": now + 540, "iss": self.client_id });
        let assertion = jwt::sign(&key, None, &claims)?;
        let request = ServiceRequest::post_json(&self.tokens, &self.limits)
            .bearer(&assertion)
            .header(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"))
            .header(
                HeaderName::from_static("x-github-api-version"),
                HeaderValue::from_static("2022-11-28"),
            );
        let answer = context.client.send(request).await?;
        let Answer { token, expires_at } = answer.json()?;
        Ok(FetchedToken {
            secret: answer.token(&token)?,
            expires: OffsetDateTime::parse(&expires_at, &Rfc3339).ok(),
            ttl: None,
        })
    }
}

/// The request's body: `repositories` and `permissions`, each only if it is set.
fn limits(settings: &Settings) -> Result<Value, InvalidSetting> {
    let mut limits = Map::new();
    if let Some(text) = settings.text(REPOSITORIES.name) {
        let names: Vec<&str> = text.split_whitespace().collect();
        limits.insert("repositories".to_owned(), json!(names));
    }
    if let Some(text) = settings.text(PERMISSIONS.name) {
        let pairs = text.split_whitespace().map(|pair| pair.split_once(':'));
        let pairs = pairs.map(|pair| pair.map(|(name, access)| (name.to_owned(), json!(access))));
        let pairs: Option<Map<String, Value>> = pairs.collect();
        let reason = "expected permissions such as contents:read packages:read";
        let pairs = pairs.ok_or_else(|| InvalidSetting::new(PERMISSIONS.name, reason))?;
        limits.insert("permissions".to_owned(), Value::Object(pairs));
    }
    Ok(Value::Object(limits))
}

const CLIENT_ID: Key = Key::new("client-id", r#""Iv23liExample""#);
const INSTALLATION: Key = Key::new("installation", r#""12345678""#);
const PRIVATE_KEY: Key = Key::secret("private-key", r#""file:/run/secrets/app.pem""#);
const REPOSITORIES: Key = Key::new("repositories", r#""plans tools""#);
const PERMISSIONS: Key = Key::new("permissions", r#""contents:read packages:read""#);
const API: Key = Key::new("api", r#""https://github.corp.example/api/v3""#);
