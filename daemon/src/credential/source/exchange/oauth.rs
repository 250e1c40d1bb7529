//! Any OAuth 2.0 server: token exchange (RFC 8693), client credentials (RFC 6749, section 4.4) and refresh (section 6).

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regauth_shared::Secret;

use super::device::DeviceFlow;
use super::refresh_token::ReplacedRefreshToken;
use super::settings::{InvalidSetting, Key, Settings};
use super::token_answer::TokenAnswer;
use super::{Exchange, ExchangeKind, MintContext};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::secret_reference::SecretReference;
use crate::credential::source::token_client::ServiceRequest;
use crate::credential::source::{FetchError, FetchedToken};

/// Exchange of an OAuth 2.0 server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Oauth {
    token_url: Endpoint,
    device_url: Option<Endpoint>,
    grant: Grant,
    client: Option<Client>,
    /// Optional fields of the request, by their names there.
    options: Vec<(&'static str, String)>,
    subject_token_type: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// The identity is the subject token.
    TokenExchange,
    /// The identity is the client's assertion, unless the client has a secret.
    ClientCredentials,
    /// The identity is the refresh token.
    RefreshToken,
}

/// Client that the server knows.
#[derive(Clone, Debug, PartialEq)]
struct Client {
    id: String,
    secret: Option<SecretReference>,
    proof: Proof,
}

/// Form of the client's secret in a request (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Basic,
    Post,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "oauth",
    keys: &[
        TOKEN_URL,
        DEVICE_URL,
        GRANT,
        CLIENT_ID,
        CLIENT_SECRET,
        CLIENT_AUTHENTICATION,
        SUBJECT_TOKEN_TYPE,
        OPTIONS[0].0,
        OPTIONS[1].0,
        OPTIONS[2].0,
        OPTIONS[3].0,
    ],
    build: |settings| Oauth::new(settings).map(Exchange::Oauth),
};

impl Oauth {
    fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let grants = [
            ("token-exchange", Grant::TokenExchange),
            ("client-credentials", Grant::ClientCredentials),
            ("refresh-token", Grant::RefreshToken),
        ];
        let grant = settings.choice(GRANT.name, &grants)?;
        let client = Client::new(settings)?;
        if grant == Grant::ClientCredentials && client.is_none() {
            return Err(settings.missing(&CLIENT_ID));
        }
        let option = |(key, field): &(Key, &'static str)| Some((*field, settings.owned(key.name)?));
        Ok(Self {
            token_url: settings.required_parsed(&TOKEN_URL)?,
            device_url: settings.parsed(DEVICE_URL.name)?,
            grant,
            client,
            options: OPTIONS.iter().filter_map(option).collect(),
            subject_token_type: settings.text_or(SUBJECT_TOKEN_TYPE.name, JWT_TYPE),
        })
    }

    /// URLs that get the identity.
    pub(super) fn endpoints(&self) -> Vec<&Endpoint> {
        std::iter::once(&self.token_url).chain(&self.device_url).collect()
    }

    /// Login of a person with a code: public clients, which have no secret, can do it.
    pub(super) fn device_flow(&self) -> Option<DeviceFlow> {
        let client = self.client.as_ref().filter(|client| client.secret.is_none())?;
        let scope = self.options.iter().find(|(field, _)| *field == "scope");
        Some(DeviceFlow {
            authorization_url: self.device_url.clone()?,
            token_url: self.token_url.clone(),
            client_id: client.id.clone(),
            scope: scope.map(|(_, scope)| scope.clone()),
        })
    }

    pub(super) fn takes_identity(&self) -> bool {
        let has_secret = self.client.as_ref().is_some_and(|client| client.secret.is_some());
        self.grant != Grant::ClientCredentials || !has_secret
    }

    /// Gets a token.
    ///
    /// # Errors
    /// [`FetchError`] with the server's reason.
    pub(super) async fn mint(
        &self,
        context: &MintContext<'_>,
        replaced: &mut ReplacedRefreshToken,
    ) -> Result<FetchedToken, FetchError> {
        if self.grant == Grant::RefreshToken {
            return self.refresh(context, replaced).await;
        }
        let identity = match self.takes_identity() {
            true => Some(context.identity(None).await?),
            false => None,
        };
        TokenAnswer::read(
            &context
                .client
                .send(self.request(context, identity.as_ref()).await?)
                .await?,
        )
    }

    /// The server's new refresh token replaces the identity's until the identity itself changes.
    async fn refresh(
        &self,
        context: &MintContext<'_>,
        replaced: &mut ReplacedRefreshToken,
    ) -> Result<FetchedToken, FetchError> {
        let configured = context.identity(None).await?;
        let answer = context
            .client
            .send(self.request(context, Some(replaced.current(&configured))).await?)
            .await?;
        let tokens: TokenAnswer = answer.json()?;
        if let Some(new) = tokens.refresh_token(&answer)? {
            replaced.replace(configured, new);
        }
        tokens.fetched(&answer)
    }

    async fn request(
        &self,
        context: &MintContext<'_>,
        identity: Option<&Secret>,
    ) -> Result<ServiceRequest, FetchError> {
        let secret = match self.client.as_ref().and_then(|client| client.secret.as_ref()) {
            Some(reference) => Some(context.secret(reference).await?),
            None => None,
        };
        let mut form = self.grant_fields(identity.map_or("", Secret::expose));
        form.extend(self.options.iter().map(|(field, value)| (*field, value.as_str())));
        let mut login = None;
        if let Some(client) = &self.client {
            match (&secret, client.proof) {
                (Some(secret), Proof::Basic) => login = Some((encoded(&client.id), encoded(secret.expose()), secret)),
                (Some(secret), Proof::Post) => {
                    form.extend([("client_id", client.id.as_str()), ("client_secret", secret.expose())]);
                }
                (None, _) => form.push(("client_id", client.id.as_str())),
            }
        }
        let mut request = ServiceRequest::post_form(&self.token_url, &form);
        for hidden in identity.iter().copied().chain(&secret) {
            request = request.hiding(hidden);
        }
        Ok(match login {
            Some((id, password, secret)) => request.basic(&id, &password, secret),
            None => request,
        })
    }

    fn grant_fields<'a>(&'a self, identity: &'a str) -> Vec<(&'static str, &'a str)> {
        match self.grant {
            Grant::TokenExchange => vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", identity),
                ("subject_token_type", &self.subject_token_type),
            ],
            Grant::ClientCredentials if self.takes_identity() => vec![
                ("grant_type", "client_credentials"),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", identity),
            ],
            Grant::ClientCredentials => vec![("grant_type", "client_credentials")],
            Grant::RefreshToken => vec![("grant_type", "refresh_token"), ("refresh_token", identity)],
        }
    }
}

impl Client {
    fn new(settings: &Settings) -> Result<Option<Self>, InvalidSetting> {
        let secret = settings.parsed(CLIENT_SECRET.name)?;
        let proof = settings.choice(
            CLIENT_AUTHENTICATION.name,
            &[("basic", Proof::Basic), ("post", Proof::Post)],
        )?;
        let id = match settings.owned(CLIENT_ID.name) {
            None if secret.is_some() => return Err(settings.missing(&CLIENT_ID)),
            None => return Ok(None),
            Some(id) => id,
        };
        Ok(Some(Self { id, secret, proof }))
    }
}

/// Percent-encodes a user name or password (RFC 6749, section 2.3.1 and appendix B).
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

const TOKEN_URL: Key = Key::new("token-url", r#""https://login.corp.example/token""#);
const DEVICE_URL: Key = Key::new("device-url", r#""https://login.corp.example/device/auth""#);
const GRANT: Key = Key::new("grant", r#""token-exchange""#);
const CLIENT_ID: Key = Key::new("client-id", r#""ci""#);
const CLIENT_SECRET: Key = Key::secret("client-secret", r#""file:/run/secrets/ci""#);
const CLIENT_AUTHENTICATION: Key = Key::new("client-auth", r#""basic""#);
const SUBJECT_TOKEN_TYPE: Key = Key::new("subject-token-type", r#""urn:ietf:params:oauth:token-type:id_token""#);
const OPTIONS: [(Key, &str); 4] = [
    (Key::new("scope", r#""packages:read""#), "scope"),
    (Key::new("resource", r#""https://corp.example/""#), "resource"),
    (Key::new("token-audience", r#""packages""#), "audience"),
    (
        Key::new(
            "requested-token-type",
            r#""urn:ietf:params:oauth:token-type:access_token""#,
        ),
        "requested_token_type",
    ),
];
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
/// RFC 7523, section 2.2.
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
