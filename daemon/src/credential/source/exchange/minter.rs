//! The fetch of one token: an identity, and its exchange at the service.

use std::sync::Arc;

use regauth_shared::Secret;

use super::refresh_token::ReplacedRefreshToken;
use super::{Exchange, Mint, vault};
use crate::credential::source::environment::Environment;
use crate::credential::source::identity::Wanted;
use crate::credential::source::secret_reference::SecretReference;
use crate::credential::source::token_client::TokenClient;
use crate::credential::source::{FetchError, FetchedToken};
use crate::credential::store::stored_secret::StoredSecret;

/// Fetches the tokens of a [`Mint`].
#[derive(Debug)]
pub(crate) struct Minter {
    mint: Mint,
    environment: Environment,
    client: Arc<TokenClient>,
    login: StoredSecret,
    session: Session,
}

/// State that an exchange keeps from one token to the next.
#[derive(Debug, Default)]
struct Session {
    /// Vault's login and lease.
    vault: Option<vault::Login>,
    /// Refresh token that replaced the configured one, or the one in the store.
    refresh_token: ReplacedRefreshToken,
}

impl Minter {
    /// Minter that gets identities from this environment and sends over this client.
    /// The refresh token of a person's login is in `login`.
    pub(crate) fn new(mint: Mint, environment: Environment, client: TokenClient, login: StoredSecret) -> Self {
        Self {
            mint,
            environment,
            client: Arc::new(client),
            login,
            session: Session::default(),
        }
    }

    /// Gets an identity and exchanges it.
    ///
    /// # Errors
    /// [`FetchError`] with the part that failed and the service's own reason.
    pub(crate) async fn fetch(&mut self) -> Result<FetchedToken, FetchError> {
        let Self {
            mint,
            environment,
            client,
            login,
            session,
        } = self;
        let context = MintContext {
            mint,
            environment,
            client,
            login,
        };
        let fetched = match &mint.exchange {
            _ if let Some(flow) = mint.device_flow() => flow.refresh(&context, &mut session.refresh_token).await,
            Exchange::Oauth(oauth) => oauth.mint(&context, &mut session.refresh_token).await,
            Exchange::Jfrog(jfrog) => jfrog.mint(&context).await,
            Exchange::Cloudsmith(cloudsmith) => cloudsmith.mint(&context).await,
            Exchange::Vault(vault) => vault.mint(&context, &mut session.vault).await,
            Exchange::Codeartifact(codeartifact) => codeartifact.mint(&context).await,
            Exchange::Google(google) => google.mint(&context).await,
            Exchange::Azure(azure) => azure.mint(&context).await,
            Exchange::GithubApp(app) => app.mint(&context).await,
        };
        let fetched = fetched?;
        Ok(FetchedToken {
            ttl: fetched.ttl.into_iter().chain(mint.ttl).min(),
            ..fetched
        })
    }
}

/// Everything that an exchange needs to mint one token.
pub(super) struct MintContext<'a> {
    pub(super) mint: &'a Mint,
    pub(super) environment: &'a Environment,
    pub(super) client: &'a Arc<TokenClient>,
    pub(super) login: &'a StoredSecret,
}

impl MintContext<'_> {
    /// The identity for the configured audience, or else for the exchange's usual one.
    pub(super) async fn identity(&self, usual_audience: Option<&str>) -> Result<Secret, FetchError> {
        let wanted = Wanted {
            audience: self.mint.audience.as_deref().or(usual_audience),
            host: self.mint.identity_host.as_deref(),
        };
        self.mint.identity.fetch(wanted, self.environment, self.client).await
    }

    /// A secret that the settings refer to.
    pub(super) async fn secret(&self, reference: &SecretReference) -> Result<Secret, FetchError> {
        reference.read(self.environment).await
    }
}
