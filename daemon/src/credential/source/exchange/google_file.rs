//! Google's credentials files, by their `type`: a person's login, a service account's key, workload identity federation.

use std::path::Path;

use regauth_shared::Secret;
use serde::Deserialize;

use super::google::{self, Federation};
use super::token_answer::TokenAnswer;
use super::{MintContext, jwt};
use crate::credential::source::endpoint::Endpoint;
use crate::credential::source::file;
use crate::credential::source::secret_reference::SecretReference;
use crate::credential::source::token_client::{ServiceRequest, TokenClient};
use crate::credential::source::{FetchError, FetchedToken};

/// Credentials of one of the types that exist.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Credentials {
    AuthorizedUser(AuthorizedUser),
    ServiceAccount(ServiceAccount),
    ExternalAccount(ExternalAccount),
}

/// A person's login.
#[derive(Deserialize)]
struct AuthorizedUser {
    client_id: String,
    client_secret: String,
    refresh_token: String,
    token_uri: Option<String>,
}

/// A key of a service account.
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: String,
}

/// Workload identity federation.
#[derive(Deserialize)]
struct ExternalAccount {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    credential_source: CredentialSource,
}

/// Place of the identity. Google knows files and URLs; here it is a file, or what the configuration says.
#[derive(Deserialize)]
struct CredentialSource {
    file: Option<String>,
}

/// Reads the file, which may have been renewed, and gets a token by its type.
///
/// # Errors
/// [`FetchError`] if the file cannot be used, or with Google's reason.
pub(super) async fn mint(context: &MintContext<'_>, reference: &SecretReference) -> Result<FetchedToken, FetchError> {
    let SecretReference::File(path) = reference else {
        return Err(FetchError::new("Google's credentials are in a file"));
    };
    let text = file::read_document(path).await?;
    // serde's messages may repeat a value of the document.
    let credentials = serde_json::from_str(&text).map_err(|_| {
        let types = "authorized_user, service_account or external_account";
        FetchError::new(format!(
            "{} is no credentials file of Google of the type {types}",
            path.display()
        ))
    })?;
    match credentials {
        Credentials::AuthorizedUser(user) => user.mint(context.client, path).await,
        Credentials::ServiceAccount(account) => {
            let key = jwt::key(&account.private_key)?;
            let token_url = endpoint(path, &account.token_uri)?;
            let signer = (&*account.client_email, account.private_key_id.as_deref(), &key);
            google::exchange_assertion(context.client, &token_url, signer).await
        }
        Credentials::ExternalAccount(account) => account.mint(context.client, path).await,
    }
}

impl AuthorizedUser {
    async fn mint(&self, client: &TokenClient, path: &Path) -> Result<FetchedToken, FetchError> {
        let token_url = endpoint(path, self.token_uri.as_deref().unwrap_or(TOKEN_URL))?;
        let [secret, refresh] = [&self.client_secret, &self.refresh_token].map(|text| Secret::parse(text));
        let (Ok(secret), Ok(refresh)) = (secret, refresh) else {
            return Err(FetchError::new(format!("{} has no usable login", path.display())));
        };
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("client_secret", secret.expose()),
            ("refresh_token", refresh.expose()),
        ];
        let request = ServiceRequest::post_form(&token_url, &form)
            .hiding(&secret)
            .hiding(&refresh);
        TokenAnswer::read(&client.send(request).await?)
    }
}

impl ExternalAccount {
    async fn mint(self, client: &TokenClient, path: &Path) -> Result<FetchedToken, FetchError> {
        let Some(source) = self.credential_source.file else {
            let message = format!("{} names no file with the identity", path.display());
            return Err(FetchError::new(message).hint("configure provider= and identity= instead of the file"));
        };
        let identity = file::read_secret(Path::new(&source)).await?;
        let impersonation = self.service_account_impersonation_url;
        let federation = Federation {
            sts: endpoint(path, &self.token_url)?,
            audience: self.audience,
            subject_token_type: self.subject_token_type,
            impersonation: impersonation.map(|url| endpoint(path, &url)).transpose()?,
        };
        federation.exchange(client, &identity).await
    }
}

fn endpoint(path: &Path, url: &str) -> Result<Endpoint, FetchError> {
    url.parse()
        .map_err(|error| FetchError::new(format!("{}: {error}", path.display())))
}

const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
