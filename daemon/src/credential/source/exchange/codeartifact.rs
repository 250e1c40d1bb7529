//! AWS CodeArtifact: an identity becomes temporary credentials of a role, and these become a token. Instead of an identity,
//! AWS's command line may give credentials: those of a file, of single sign-on, or of a role that it assumes.
//!
//! AWS, "AssumeRoleWithWebIdentity", "GetAuthorizationToken" and "aws configure export-credentials".

use http::Method;
use http::header::{self, HeaderValue};
use regauth_shared::Secret;
use serde::Deserialize;
use time::OffsetDateTime;

use super::settings::{InvalidSetting, Key, Settings};
use super::sigv4::{self, AwsCredentials};
use super::{Exchange, ExchangeKind, MintContext};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::identity::Identity;
use crate::credential::source::preset::{AWS_VARIABLES, COMMAND_TIMEOUT};
use crate::credential::source::service_answer::{ServiceAnswer, xml_element};
use crate::credential::source::token_client::ServiceRequest;
use crate::credential::source::{FetchError, FetchedToken, command};
use crate::credential::token_claims;
use crate::registry::{Command, Kind, Output, Scheme};

/// Exchange of AWS CodeArtifact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Codeartifact {
    sts: Endpoint,
    /// GetAuthorizationToken with its query, but for the duration.
    authorization: Endpoint,
    /// Life of a token in seconds, if configured.
    duration: Option<String>,
    region: String,
    /// Empty if AWS's command line gives the credentials.
    role: String,
    session_name: String,
    /// Profile of AWS's command line.
    profile: Option<String>,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "codeartifact",
    keys: &[
        DOMAIN,
        OWNER,
        REGION,
        ROLE,
        SESSION_NAME,
        PROFILE,
        DURATION,
        STS_URL,
        URL,
    ],
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
        let duration = settings.owned(DURATION.name);
        let is_valid = |seconds: u32| seconds == 0 || DURATIONS.contains(&seconds);
        if duration.as_ref().is_some_and(|text| !text.parse().is_ok_and(is_valid)) {
            let reason = "expected seconds from 900 to 43200, or 0 for the end of the role's session";
            return Err(InvalidSetting::new(DURATION.name, reason));
        }
        let (domain, owner) = (settings.required(&DOMAIN)?, settings.required(&OWNER)?);
        let query = [("domain", &*domain), ("domain-owner", &*owner)];
        Ok(Self {
            sts: settings.endpoint(STS_URL.name, &format!("https://sts.{region}.{suffix}"))?,
            authorization: service.join(["v1", "authorization-token"]).with_query(query),
            duration,
            role: settings.text_or(ROLE.name, ""),
            session_name: settings.text_or(SESSION_NAME.name, "regauth"),
            profile: settings.owned(PROFILE.name),
            region,
        })
    }

    /// URLs that get the identity.
    pub(super) fn endpoints(&self) -> Vec<&Endpoint> {
        vec![&self.sts, &self.authorization]
    }

    /// Checks that a role is named for an identity, and none for AWS's command line, whose profile names it.
    pub(super) fn check_identity(&self, settings: &Settings, identity: &Identity) -> Result<(), InvalidSetting> {
        match (*identity == Identity::Aws, self.role.is_empty()) {
            (false, true) => Err(settings.missing(&ROLE)),
            (true, false) => {
                let reason = "with identity=aws, name a profile that assumes the role: profile=NAME";
                Err(InvalidSetting::new(ROLE.name, reason))
            }
            (false, false) if self.profile.is_some() => {
                Err(InvalidSetting::new(PROFILE.name, "it is for identity=aws only"))
            }
            (true, true) | (false, false) => Ok(()),
        }
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

    /// Assumes the role with the identity, or has AWS's command line do so, and gets a token.
    ///
    /// # Errors
    /// [`FetchError`] with the reason of STS or CodeArtifact.
    pub(super) async fn mint(&self, context: &MintContext<'_>) -> Result<FetchedToken, FetchError> {
        let credentials = match context.mint.identity {
            Identity::Aws => self.export_credentials().await?,
            _ => self.assume_role(context).await?,
        };
        // Temporary credentials give the token their own end; others have none.
        let usual = match credentials.session_token {
            Some(_) => ROLE_SESSION,
            None => LONGEST,
        };
        let duration = self.duration.as_deref().unwrap_or(usual);
        let endpoint = self.authorization.with_query([("duration", duration)]);
        let place = (&*self.region, "codeartifact");
        let headers = sigv4::headers(
            &credentials,
            place,
            (&Method::POST, &endpoint),
            OffsetDateTime::now_utc(),
        );
        let request = headers
            .iter()
            .fold(ServiceRequest::post(&endpoint), |request, (name, value)| {
                request.secret_header(name.clone(), value, &credentials.secret_access_key)
            });
        let request = credentials.session_token.iter().fold(request, ServiceRequest::hiding);
        let answer = context.client.send(request).await?;
        let Answer { token, expiration } = answer.json()?;
        Ok(FetchedToken {
            secret: answer.token(&token)?,
            expires: token_claims::from_seconds(expiration),
            ttl: None,
        })
    }

    /// Credentials that AWS's command line has or gets.
    async fn export_credentials(&self) -> Result<AwsCredentials, FetchError> {
        let words = ["aws", "configure", "export-credentials", "--format", "process"];
        let profile = self.profile.iter().flat_map(|profile| ["--profile", profile]);
        let command = Command {
            command: words.into_iter().chain(profile).map(str::to_owned).collect(),
            output: Output::Raw,
            ttl: None,
            timeout: COMMAND_TIMEOUT,
            environment: AWS_VARIABLES.iter().map(|name| (*name).to_owned()).collect(),
            preset: None,
        };
        let exported: Exported = command::read_json(&command).await?;
        let secret = |text: &str| {
            let secret = Secret::parse(text);
            secret.map_err(|error| FetchError::new(format!("`aws` printed a key that is none: {error}")))
        };
        Ok(AwsCredentials {
            secret_access_key: secret(&exported.secret_access_key)?,
            session_token: exported.session_token.as_deref().map(secret).transpose()?,
            access_key_id: exported.access_key_id,
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

/// Output of `aws configure export-credentials --format process`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exported {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: Option<String>,
}

fn credentials(answer: &ServiceAnswer) -> Result<AwsCredentials, FetchError> {
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    let element = |name| xml_element(text, name).ok_or_else(|| answer.lacks(name));
    let secret = |name| -> Result<Secret, FetchError> { answer.token(element(name)?) };
    Ok(AwsCredentials {
        access_key_id: element("AccessKeyId")?.to_owned(),
        secret_access_key: secret("SecretAccessKey")?,
        session_token: Some(secret("SessionToken")?),
    })
}

const DOMAIN: Key = Key::new("domain", r#""corp""#);
const OWNER: Key = Key::new("owner", r#""123456789012""#);
const REGION: Key = Key::new("region", r#""eu-central-1""#);
const ROLE: Key = Key::new("role", r#""arn:aws:iam::123456789012:role/ci""#);
const SESSION_NAME: Key = Key::new("session-name", r#""ci""#);
const PROFILE: Key = Key::new("profile", r#""ci""#);
const DURATION: Key = Key::new("duration", r#""3600""#);
const STS_URL: Key = Key::new("sts-url", r#""https://sts.eu-central-1.amazonaws.com""#);
const URL: Key = Key::new("url", r#""https://codeartifact.eu-central-1.amazonaws.com""#);
/// The token ends with the role's session: a new one costs two requests.
const ROLE_SESSION: &str = "0";
/// Life of a token for keys without an end, in seconds.
const LONGEST: &str = "43200";
/// Lifetimes in seconds that CodeArtifact grants.
const DURATIONS: std::ops::RangeInclusive<u32> = 900..=43_200;
