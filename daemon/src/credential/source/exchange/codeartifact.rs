//! AWS CodeArtifact: an identity becomes temporary credentials of a role, and these become a token.
//!
//! AWS, "AssumeRoleWithWebIdentity" and "GetAuthorizationToken".

use http::Method;
use http::header::{self, HeaderValue};
use regauth_shared::Secret;
use serde::Deserialize;
use time::OffsetDateTime;

use super::settings::{InvalidSetting, Key, Settings};
use super::sigv4::{self, AwsCredentials};
use super::{Exchange, ExchangeKind, MintContext};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::service_answer::{ServiceAnswer, xml_element};
use crate::credential::source::token_client::ServiceRequest;
use crate::credential::source::{FetchError, FetchedToken};
use crate::credential::token_claims;
use crate::registry::{Kind, Scheme};

/// Exchange of AWS CodeArtifact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Codeartifact {
    sts: Endpoint,
    /// GetAuthorizationToken with its query.
    authorization: Endpoint,
    region: String,
    role: String,
    session_name: String,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "codeartifact",
    keys: &[DOMAIN, OWNER, REGION, ROLE, SESSION_NAME, DURATION, STS_URL, URL],
    build: |settings| Codeartifact::new(settings).map(Exchange::Codeartifact),
};

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "authorizationToken")]
    token: String,
    /// Seconds since 1970.
    expiration: f64,
}

impl Codeartifact {
    fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let region = settings.required(&REGION)?;
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(InvalidSetting::new(
                REGION.name,
                "expected a region such as eu-central-1",
            ));
        }
        let suffix = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        let service = settings.endpoint(URL.name, &format!("https://codeartifact.{region}.{suffix}"))?;
        let duration = settings.text_or(DURATION.name, ROLE_SESSION);
        let is_valid = |seconds: &u32| *seconds == 0 || DURATIONS.contains(seconds);
        if duration.parse().ok().filter(is_valid).is_none() {
            let reason = "expected seconds from 900 to 43200, or 0 for the end of the role's session";
            return Err(InvalidSetting::new(DURATION.name, reason));
        }
        let (domain, owner) = (settings.required(&DOMAIN)?, settings.required(&OWNER)?);
        let query = [
            ("domain", &*domain),
            ("domain-owner", &*owner),
            ("duration", &*duration),
        ];
        Ok(Self {
            sts: settings.endpoint(STS_URL.name, &format!("https://sts.{region}.{suffix}"))?,
            authorization: service.join(["v1", "authorization-token"]).with_query(query),
            role: settings.required(&ROLE)?,
            session_name: settings.text_or(SESSION_NAME.name, "regauth"),
            region,
        })
    }

    /// Scheme for a registry of this kind. pip and Maven send a password.
    pub(super) fn scheme(kind: Kind) -> Scheme {
        match kind {
            Kind::Cargo | Kind::Npm => Scheme::Bearer,
            _ => Scheme::Basic {
                username: "aws".to_owned(),
            },
        }
    }

    /// Assumes the role with the identity, and gets a token.
    ///
    /// # Errors
    /// [`FetchError`] with the reason of STS or CodeArtifact.
    pub(super) async fn mint(&self, context: &MintContext<'_>) -> Result<FetchedToken, FetchError> {
        let credentials = self.assume_role(context).await?;
        let place = (&*self.region, "codeartifact");
        let target = (&Method::POST, &self.authorization);
        let headers = sigv4::headers(&credentials, place, target, OffsetDateTime::now_utc());
        let request = headers
            .iter()
            .fold(ServiceRequest::post(&self.authorization), |request, (name, value)| {
                request.secret_header(name.clone(), value, &credentials.session_token)
            });
        let answer = context.client.send(request).await?;
        let Answer { token, expiration } = answer.json()?;
        Ok(FetchedToken {
            secret: answer.token(&token)?,
            expires: token_claims::from_seconds(expiration),
            ttl: None,
        })
    }

    async fn assume_role(&self, context: &MintContext<'_>) -> Result<AwsCredentials, FetchError> {
        let identity = context.identity(Some("sts.amazonaws.com")).await?;
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role),
            ("RoleSessionName", &self.session_name),
            ("WebIdentityToken", identity.expose()),
        ];
        let request = ServiceRequest::post_form(&self.sts, &form)
            .header(header::ACCEPT, HeaderValue::from_static("text/xml"))
            .hiding(&identity);
        credentials(&context.client.send(request).await?)
    }
}

fn credentials(answer: &ServiceAnswer) -> Result<AwsCredentials, FetchError> {
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    let element = |name| xml_element(text, name).ok_or_else(|| answer.lacks(name));
    let secret = |name| -> Result<Secret, FetchError> { answer.token(element(name)?) };
    Ok(AwsCredentials {
        access_key_id: element("AccessKeyId")?.to_owned(),
        secret_access_key: secret("SecretAccessKey")?,
        session_token: secret("SessionToken")?,
    })
}

const DOMAIN: Key = Key::new("domain", r#""corp""#);
const OWNER: Key = Key::new("owner", r#""123456789012""#);
const REGION: Key = Key::new("region", r#""eu-central-1""#);
const ROLE: Key = Key::new("role", r#""arn:aws:iam::123456789012:role/ci""#);
const SESSION_NAME: Key = Key::new("session-name", r#""ci""#);
const DURATION: Key = Key::new("duration", r#""3600""#);
const STS_URL: Key = Key::new("sts-url", r#""https://sts.eu-central-1.amazonaws.com""#);
const URL: Key = Key::new("url", r#""https://codeartifact.eu-central-1.amazonaws.com""#);
/// The token ends with the role's session: a new one costs two requests.
const ROLE_SESSION: &str = "0";
/// Lifetimes in seconds that CodeArtifact grants.
const DURATIONS: std::ops::RangeInclusive<u32> = 900..=43_200;
