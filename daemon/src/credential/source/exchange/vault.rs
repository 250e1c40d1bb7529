//! HashiCorp Vault and OpenBao: logs in with an identity and reads a secret, from kv v2 or from an engine with leases.
//!
//! Vault's HTTP API: "JWT/OIDC auth method", "Kubernetes auth method", "AppRole auth method", "KV secrets engine v2",
//! "/sys/leases". A leased secret ends with its login, so a renewal renews both. What cannot be renewed is replaced.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use regauth_shared::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::settings::{InvalidSetting, Key, Settings};
use super::{Exchange, ExchangeKind, MintContext};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::service_answer::ServiceAnswer;
use crate::credential::source::token_client::{ServiceRequest, TokenClient};
use crate::credential::source::{FetchError, FetchedToken};

/// Exchange of Vault or OpenBao.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Vault {
    address: Endpoint,
    namespace: Option<HeaderValue>,
    method: Method,
    /// Path of the auth method's mount.
    mount: String,
    /// Role of the identity, or the role id of an AppRole.
    role: String,
    /// Path of the secret, with its engine's mount as the first segments.
    path: String,
    engine: Engine,
    /// Field of the secret that is the token.
    field: String,
}

/// Auth method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// `jwt` and `kubernetes`, whose requests are alike.
    Jwt,
    /// `approle`; the identity is the secret id.
    AppRole,
}

/// Secrets engine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Engine {
    /// kv v2, mounted here.
    Kv(String),
    /// Any other, which may give a lease.
    Leased,
}

/// A login and the lease of the secret that it has read.
#[derive(Debug)]
pub(super) struct Login {
    token: Secret,
    renewable: bool,
    /// Earliest end of the login.
    ends: Option<Instant>,
    lease: Option<Lease>,
}

#[derive(Debug)]
struct Lease {
    id: String,
    secret: Secret,
    /// Lifetime that the engine gives a new lease.
    duration: Duration,
}

pub(super) const KIND: ExchangeKind = ExchangeKind {
    name: "vault",
    keys: &[ADDRESS, ROLE, PATH, FIELD, AUTH, MOUNT, ENGINE, ENGINE_MOUNT, NAMESPACE],
    build: |settings| Vault::new(settings).map(Exchange::Vault),
};

#[derive(Deserialize)]
struct LoginAnswer {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct SecretAnswer {
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    data: Value,
}

impl Vault {
    fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let methods = [
            ("jwt", ("jwt", Method::Jwt)),
            ("kubernetes", ("kubernetes", Method::Jwt)),
            ("approle", ("approle", Method::AppRole)),
        ];
        let (usual_mount, method) = settings.choice(AUTH.name, &methods)?;
        let path = settings.required(&PATH)?;
        let namespace = settings.text(NAMESPACE.name).map(HeaderValue::from_str).transpose();
        Ok(Self {
            address: settings.required_parsed(&ADDRESS)?,
            namespace: namespace.map_err(|_| InvalidSetting::new(NAMESPACE.name, "it does not fit into a header"))?,
            method,
            mount: settings.text_or(MOUNT.name, usual_mount),
            role: settings.required(&ROLE)?,
            engine: Engine::new(settings, &path)?,
            path,
            field: settings.text_or(FIELD.name, "token"),
        })
    }

    /// URL that gets the identity.
    pub(super) fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Renews the lease, or reads the secret with a login that is renewed or new.
    ///
    /// # Errors
    /// [`FetchError`] with Vault's reason.
    pub(super) async fn mint(
        &self,
        context: &MintContext<'_>,
        login: &mut Option<Login>,
    ) -> Result<FetchedToken, FetchError> {
        let client = context.client;
        let kept = match login.take() {
            Some(kept) => self.renewed(client, kept).await,
            None => None,
        };
        let mut present = match kept {
            Some(kept) => kept,
            None => self.log_in(context).await?,
        };
        let fetched = match self.renewed_lease(client, &present).await {
            Some(fetched) => fetched,
            None => self.read(client, &mut present).await?,
        };
        *login = Some(present);
        Ok(fetched)
    }

    async fn log_in(&self, context: &MintContext<'_>) -> Result<Login, FetchError> {
        let identity = context.identity(None).await?;
        let document = match self.method {
            Method::Jwt => json!({ "role": self.role, "jwt": identity.expose() }),
            Method::AppRole => json!({ "role_id": self.role, "secret_id": identity.expose() }),
        };
        let endpoint = self.endpoint(["auth"].into_iter().chain(self.mount.split('/')).chain(["login"]));
        let request = self
            .in_namespace(ServiceRequest::post_json(&endpoint, &document))
            .hiding(&identity);
        Login::read(&context.client.send(request).await?)
    }

    /// The login, renewed; `None` if Vault does not renew it, or it is as good as over.
    async fn renewed(&self, client: &TokenClient, login: Login) -> Option<Login> {
        if login.ends.is_none() {
            return Some(login);
        }
        if !login.renewable {
            let is_long = login.ends.is_some_and(|ends| ends > Instant::now() + MIN_LOGIN);
            return (is_long && login.lease.is_none()).then_some(login);
        }
        let endpoint = self.endpoint(["auth", "token", "renew-self"]);
        let answer = client
            .send(self.with(&login.token, ServiceRequest::post_json(&endpoint, &json!({}))))
            .await;
        let renewed = Login::read(&answer.ok()?).ok()?;
        let is_long = renewed.ends.is_none_or(|ends| ends > Instant::now() + MIN_LOGIN);
        is_long.then_some(Login {
            lease: login.lease,
            ..renewed
        })
    }

    /// The secret of a lease that was renewed; `None` if there is none, or Vault does not prolong it any more.
    async fn renewed_lease(&self, client: &TokenClient, login: &Login) -> Option<FetchedToken> {
        let lease = login.lease.as_ref()?;
        let document = json!({ "lease_id": lease.id, "increment": lease.duration.as_secs() });
        let request = ServiceRequest::post_json(&self.endpoint(["sys", "leases", "renew"]), &document);
        let answer: SecretAnswer = client.send(self.with(&login.token, request)).await.ok()?.json().ok()?;
        let duration = Duration::from_secs(answer.lease_duration);
        // Near the longest lifetime Vault grants ever less: then a new secret is due.
        (duration >= lease.duration / 2).then(|| FetchedToken {
            secret: lease.secret.clone(),
            expires: None,
            ttl: Some(login.limit(duration)),
        })
    }

    async fn read(&self, client: &TokenClient, login: &mut Login) -> Result<FetchedToken, FetchError> {
        let (endpoint, pointer) = match &self.engine {
            Engine::Kv(mount) => {
                let below = self.path.get(mount.len()..).unwrap_or_default();
                let path = mount.split('/').chain(["data"]).chain(below.split('/'));
                (self.endpoint(path.filter(|segment| !segment.is_empty())), "/data")
            }
            Engine::Leased => (self.endpoint(self.path.split('/')), ""),
        };
        let answer = client
            .send(self.with(&login.token, ServiceRequest::get(&endpoint)))
            .await?;
        let secret: SecretAnswer = answer.json()?;
        let fields = secret.data.pointer(pointer).unwrap_or(&Value::Null);
        let text = fields.get(&self.field).and_then(Value::as_str);
        let token = answer.token(text.ok_or_else(|| answer.lacks(&format!("field `{}`", self.field)))?)?;
        let duration = Duration::from_secs(secret.lease_duration);
        let is_leased = !secret.lease_id.is_empty() && !duration.is_zero();
        login.lease = is_leased.then(|| Lease {
            id: secret.lease_id,
            secret: token.clone(),
            duration,
        });
        Ok(FetchedToken {
            secret: token,
            expires: None,
            ttl: is_leased.then(|| login.limit(duration)),
        })
    }

    fn endpoint<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Endpoint {
        self.address.join(["v1"].into_iter().chain(segments))
    }

    fn with(&self, token: &Secret, request: ServiceRequest) -> ServiceRequest {
        let name = HeaderName::from_static("x-vault-token");
        self.in_namespace(request.secret_header(name, token.expose(), token))
    }

    fn in_namespace(&self, request: ServiceRequest) -> ServiceRequest {
        match &self.namespace {
            Some(namespace) => request.header(HeaderName::from_static("x-vault-namespace"), namespace.clone()),
            None => request,
        }
    }
}

impl Engine {
    /// kv's mount is the first segment of the path, unless it is given.
    fn new(settings: &Settings, path: &str) -> Result<Self, InvalidSetting> {
        if settings.choice(ENGINE.name, &[("kv", false), ("leased", true)])? {
            return Ok(Self::Leased);
        }
        let first = path.split('/').next().unwrap_or_default();
        let mount = settings.text_or(ENGINE_MOUNT.name, first);
        match path
            .strip_prefix(&mount)
            .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
        {
            true => Ok(Self::Kv(mount)),
            false => Err(InvalidSetting::new(
                PATH.name,
                "expected the engine's mount and a path, such as secret/cargo",
            )),
        }
    }
}

impl Login {
    fn read(answer: &ServiceAnswer) -> Result<Self, FetchError> {
        let LoginAnswer { auth } = answer.json()?;
        let duration = Duration::from_secs(auth.lease_duration);
        Ok(Self {
            token: answer.token(&auth.client_token)?,
            renewable: auth.renewable,
            // Vault's zero means that the token does not expire.
            ends: (!duration.is_zero()).then(|| Instant::now() + duration),
            lease: None,
        })
    }

    /// A lease ends with its login.
    fn limit(&self, lease: Duration) -> Duration {
        let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        left.map_or(lease, |left| left.min(lease))
    }
}

const ADDRESS: Key = Key::new("address", r#""https://vault.corp.example:8200""#);
const ROLE: Key = Key::new("role", r#""ci""#);
const PATH: Key = Key::new("path", r#""secret/cargo""#);
const FIELD: Key = Key::new("field", r#""token""#);
const AUTH: Key = Key::new("auth", r#""jwt""#);
const MOUNT: Key = Key::new("auth-mount", r#""jwt""#);
const ENGINE: Key = Key::new("engine", r#""kv""#);
const ENGINE_MOUNT: Key = Key::new("engine-mount", r#""secret""#);
const NAMESPACE: Key = Key::new("namespace", r#""corp""#);
/// A login with less life than this is not used for another request.
const MIN_LOGIN: Duration = Duration::from_secs(10);
