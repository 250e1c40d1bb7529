//! Google's credentials files, by their `type`: a person's login, a service account's key, workload identity federation.

use std::path::Path;

use regauth_shared::Secret;
use serde::Deserialize;

use super::google::{self, Federation};
use super::settings::SecretReference;
use super::token_answer::TokenAnswer;
use super::{MintContext, jwt};
use crate::credential::source::file;
use crate::credential::source::token_client::{Endpoint, ServiceRequest};
use crate::credential::source::{FetchError, FetchedToken};

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Credentials {
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
        #[serde(default)]
        token_uri: Option<String>,
    },
    ServiceAccount {
        client_email: String,
        private_key: String,
        private_key_id: Option<String>,
        token_uri: String,
    },
    ExternalAccount {
        audience: String,
        subject_token_type: String,
        token_url: String,
        service_account_impersonation_url: Option<String>,
        credential_source: CredentialSource,
    },
}

/// Place of the identity. Files and URLs are possible; here it is a file, or what the configuration says.
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
    let client = context.client;
    match credentials {
        Credentials::AuthorizedUser {
            client_id,
            client_secret,
            refresh_token,
            token_uri,
        } => {
            let token_url = endpoint(path, token_uri.as_deref().unwrap_or(TOKEN_URL))?;
            let [secret, refresh] = [&client_secret, &refresh_token].map(|text| Secret::parse(text));
            let (Ok(secret), Ok(refresh)) = (secret, refresh) else {
                return Err(FetchError::new(format!("{} has no usable login", path.display())));
            };
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", &client_id),
                ("client_secret", secret.expose()),
                ("refresh_token", refresh.expose()),
            ];
            let request = ServiceRequest::post_form(&token_url, &form)
                .hiding(&secret)
                .hiding(&refresh);
            TokenAnswer::read(&client.send(request).await?)
        }
        Credentials::ServiceAccount {
            client_email,
            private_key,
            private_key_id,
            token_uri,
        } => {
            let key = jwt::key(&private_key)?;
            let account = (&*client_email, private_key_id.as_deref(), &key);
            google::exchange_assertion(client, &endpoint(path, &token_uri)?, account).await
        }
        Credentials::ExternalAccount {
            audience,
            subject_token_type,
            token_url,
            service_account_impersonation_url: impersonation,
            credential_source,
        } => {
            let Some(source) = credential_source.file else {
                let message = format!("{} names no file with the identity", path.display());
                return Err(FetchError::new(message).hint("configure provider= and identity= instead of the file"));
            };
            let identity = file::read_secret(Path::new(&source)).await?;
            let federation = Federation {
                sts: endpoint(path, &token_url)?,
                audience,
                subject_token_type,
                impersonation: impersonation.map(|url| endpoint(path, &url)).transpose()?,
            };
            federation.exchange(client, &identity).await
        }
    }
}

fn endpoint(path: &Path, url: &str) -> Result<Endpoint, FetchError> {
    url.parse()
        .map_err(|error| FetchError::new(format!("{}: {error}", path.display())))
}

const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
