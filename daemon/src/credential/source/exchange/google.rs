//! Google Artifact Registry: workload identity federation, a credentials file, or the metadata server.
//!
//! Google Cloud, "Workload Identity Federation", section "REST"; Google's AIP-4110 and following for credentials files.

use http::header::{HeaderName, HeaderValue};
use regauth_shared::Secret;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::settings::{InvalidSetting, Key, Settings};
use super::token_answer::TokenAnswer;
use super::{Exchange, ExchangeKind, MintContext, google_file, jwt};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::secret_reference::SecretReference;
use crate::credential::source::token_client::{ServiceRequest, TokenClient};
use crate::credential::source::{FetchError, FetchedToken};
use crate::registry::{Kind, Scheme};

/// Exchange of Google Cloud.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Google {
    /// An identity becomes a federated token.
    Federation(Federation),
    /// A file that `gcloud` or the console has written.
    File(SecretReference),
    /// The service account of the machine.
    Metadata,
}

/// Workload identity federation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Federation {
    /// Google's security token service.
    pub(super) sts: Endpoint,
    /// Resource name of the provider, as `//iam.googleapis.com/projects/…`.
    pub(super) audience: String,
    /// Type of the identity's token.
    pub(super) subject_token_type: String,
    /// URL that gives a token of a service account for the federated one.
    pub(super) impersonation: Option<Endpoint>,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "google",
    keys: &[PROVIDER, SERVICE_ACCOUNT, CREDENTIALS, METADATA, STS_URL, IAM_URL],
    build: |settings| Google::new(settings).map(Exchange::Google),
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
    expire_time: String,
}

impl Google {
    fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let credentials: Option<SecretReference> = settings.parsed(CREDENTIALS.name)?;
        if let Some(SecretReference::Variable(_)) = credentials {
            return Err(InvalidSetting::new(
                CREDENTIALS.name,
                "expected file: with an absolute path",
            ));
        }
        let metadata = settings.choice(METADATA.name, &[("false", false), ("true", true)])?;
        match (settings.text(PROVIDER.name), credentials, metadata) {
            (Some(provider), None, false) => Federation::new(settings, provider).map(Self::Federation),
            (None, Some(file), false) => Ok(Self::File(file)),
            (None, None, true) => Ok(Self::Metadata),
            (None, None, false) => Err(settings.missing(&PROVIDER)),
            _ => Err(Self::several()),
        }
    }

    /// URLs that get the identity. The metadata server gets none.
    pub(super) fn endpoints(&self) -> Vec<&Endpoint> {
        match self {
            Self::Federation(federation) => std::iter::once(&federation.sts)
                .chain(&federation.impersonation)
                .collect(),
            Self::File(_) | Self::Metadata => Vec::new(),
        }
    }

    fn several() -> InvalidSetting {
        InvalidSetting::new(PROVIDER.name, "provider, credentials and metadata exclude each other")
    }

    pub(super) fn takes_identity(&self) -> bool {
        matches!(self, Self::Federation(_))
    }

    pub(super) fn asks_metadata_server(&self) -> bool {
        *self == Self::Metadata
    }

    /// Scheme for a registry of this kind. pip and container clients send a password.
    pub(super) fn scheme(kind: Kind) -> Scheme {
        match kind {
            Kind::Pypi | Kind::Oci => Scheme::Basic {
                username: "oauth2accesstoken".to_owned(),
            },
            _ => Scheme::Bearer,
        }
    }

    /// Gets an access token.
    ///
    /// # Errors
    /// [`FetchError`] with Google's reason.
    pub(super) async fn mint(&self, context: &MintContext<'_>) -> Result<FetchedToken, FetchError> {
        match self {
            Self::Federation(federation) => {
                let provider = federation.audience.trim_start_matches("//");
                let identity = context.identity(Some(&format!("https://{provider}"))).await?;
                federation.exchange(context.client, &identity).await
            }
            Self::File(file) => google_file::mint(context, file).await,
            Self::Metadata => from_metadata(context.client).await,
        }
    }
}

impl Federation {
    fn new(settings: &Settings, provider: &str) -> Result<Self, InvalidSetting> {
        let iam = settings.endpoint(IAM_URL.name, "https://iamcredentials.googleapis.com")?;
        let sts = settings.endpoint(STS_URL.name, "https://sts.googleapis.com")?;
        let impersonation = settings.text(SERVICE_ACCOUNT.name).map(|account| {
            let action = format!("{account}:generateAccessToken");
            iam.join(["v1", "projects", "-", "serviceAccounts", &action])
        });
        Ok(Self {
            sts: sts.join(["v1", "token"]),
            audience: format!("//iam.googleapis.com/{}", provider.trim_start_matches('/')),
            subject_token_type: "urn:ietf:params:oauth:token-type:jwt".to_owned(),
            impersonation,
        })
    }

    /// Exchanges an identity for a federated token, and that one for a token of the service account, if there is one.
    ///
    /// # Errors
    /// [`FetchError`] with Google's reason.
    pub(super) async fn exchange(&self, client: &TokenClient, identity: &Secret) -> Result<FetchedToken, FetchError> {
        let document = json!({
            "audience": self.audience,
            "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
            "subjectTokenType": self.subject_token_type,
            "subjectToken": identity.expose(),
            "scope": SCOPE,
        });
        let request = ServiceRequest::post_json(&self.sts, &document).hiding(identity);
        let federated = TokenAnswer::read(&client.send(request).await?)?;
        match &self.impersonation {
            Some(url) => impersonate(client, url, &federated.secret).await,
            None => Ok(federated),
        }
    }
}

/// Google, "projects.serviceAccounts.generateAccessToken".
async fn impersonate(client: &TokenClient, url: &Endpoint, federated: &Secret) -> Result<FetchedToken, FetchError> {
    let request = ServiceRequest::post_json(url, &json!({ "scope": [SCOPE] })).bearer(federated);
    let answer = client.send(request).await?;
    let Impersonated {
        access_token,
        expire_time,
    } = answer.json()?;
    Ok(FetchedToken {
        secret: answer.token(&access_token)?,
        expires: OffsetDateTime::parse(&expire_time, &Rfc3339).ok(),
        ttl: None,
    })
}

/// Gets a token of the machine's service account (Google, "About VM metadata"). No variable of the environment moves the
/// server elsewhere.
async fn from_metadata(client: &TokenClient) -> Result<FetchedToken, FetchError> {
    let server = Endpoint::of_metadata_server().map_err(|error| FetchError::new(error.to_string()))?;
    let path = [
        "computeMetadata",
        "v1",
        "instance",
        "service-accounts",
        "default",
        "token",
    ];
    let flavor = HeaderName::from_static("metadata-flavor");
    let request = ServiceRequest::get(&server.join(path)).header(flavor.clone(), GOOGLE);
    let answer = client.send(request).await.map_err(|error| error.hint(METADATA_HINT))?;
    // Other clouds have a server at this address, and so may anybody on the link.
    if answer.headers.get(flavor) != Some(&GOOGLE) {
        let message = format!(
            "{} is not Google's: its answer has no `Metadata-Flavor: Google`",
            answer.host
        );
        return Err(FetchError::new(message).hint(METADATA_HINT));
    }
    TokenAnswer::read(&answer)
}

/// Signs an assertion of a service account and exchanges it (RFC 7523).
///
/// # Errors
/// [`FetchError`] if the key cannot be used, or with Google's reason.
pub(super) async fn exchange_assertion(
    client: &TokenClient,
    token_url: &Endpoint,
    (account, key_id, key): (&str, Option<&str>, &Secret),
) -> Result<FetchedToken, FetchError> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let audience = token_url.to_string();
    let claims = json!({ "iss": account, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + 3600 });
    let assertion = jwt::sign(key, key_id, &claims)?;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", assertion.expose()),
    ];
    let request = ServiceRequest::post_form(token_url, &form).hiding(&assertion);
    TokenAnswer::read(&client.send(request).await?)
}

const PROVIDER: Key = Key::new(
    "provider",
    r#""projects/1/locations/global/workloadIdentityPools/ci/providers/github""#,
);
const SERVICE_ACCOUNT: Key = Key::new("service-account", r#""ci@corp.iam.gserviceaccount.com""#);
const CREDENTIALS: Key = Key::secret(
    "credentials",
    r#""file:/home/me/.config/gcloud/application_default_credentials.json""#,
);
const METADATA: Key = Key::new("metadata", r#""true""#);
const STS_URL: Key = Key::new("sts-url", r#""https://sts.googleapis.com""#);
const IAM_URL: Key = Key::new("iam-url", r#""https://iamcredentials.googleapis.com""#);
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");
const METADATA_HINT: &str =
    "metadata=true is for Google's machines with a service account; elsewhere, use provider= or credentials=";
/// Artifact Registry has no narrower scope.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
