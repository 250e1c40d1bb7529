//! Password of the corporate proxy: moved from `config.toml` to the store, and loaded once the store is open.
//!
//! The store keeps the proxy's whole URL, so that a password reaches only the proxy and user that it was given for.

use regauth_shared::{ErrorBody, ErrorKind, Secret};

use crate::config::ProxyUrl;
use crate::control::controller::Controller;
use crate::control::state::StateGuard;
use crate::credential::store::{Item, StoreError, StoreKind};

impl Controller {
    /// Moves a password out of the configuration, and gives the proxy in use its password. A store that cannot be used is
    /// recorded in the state, so that both are tried again when it opens.
    pub(in crate::control) async fn load_proxy_password(&self, state: &mut StateGuard<'_>) {
        if self.keeps_proxy_password()
            && let Ok(config) = self.read_config()
            && let Some(url) = config.upstream.proxy.filter(ProxyUrl::has_password)
        {
            let moved = match self.store_proxy_password(state, &url).await {
                Ok(()) => {
                    self.edit_config(|file| file.set_proxy(&url.with_password(None), &[], false))
                        .await
                }
                Err(error) => Err(error),
            };
            match moved {
                Ok(()) => {
                    tracing::info!(proxy = %url, "moved the corporate proxy's password from config.toml to the store")
                }
                Err(error) => tracing::warn!(
                    proxy = %url,
                    error = error.message,
                    "could not move the corporate proxy's password from config.toml to the store"
                ),
            }
        }
        let proxies = self.proxy.dialer.proxies().proxies();
        let Some(proxy) = proxies.into_iter().find(|proxy| proxy.has_stored_password()) else {
            return;
        };
        match state.unlocked(self.store().thread.read(&Item::ProxyUrl)).await {
            Ok(stored) => proxy.set_stored(stored.and_then(|url| ProxyUrl::from_file(url.expose()).ok()).as_ref()),
            Err(error) => {
                tracing::warn!(%proxy, %error, "could not read the corporate proxy's password");
                state.store_error = Some(error);
            }
        }
    }

    /// True if a password in the store outlasts this daemon.
    pub(in crate::control) fn keeps_proxy_password(&self) -> bool {
        self.persistent && self.store().kind != StoreKind::Memory
    }

    /// Writes the URL with its password to the store. The caller then writes the URL without it to the configuration; after
    /// a kill in between, the next start repeats both.
    ///
    /// # Errors
    /// Those of the store.
    pub(in crate::control) async fn store_proxy_password(
        &self,
        state: &mut StateGuard<'_>,
        url: &ProxyUrl,
    ) -> Result<(), ErrorBody> {
        let secret = Secret::parse(&url.to_text());
        let secret = secret.map_err(|error| ErrorBody::new(ErrorKind::Invalid, format!("the proxy's URL: {error}")))?;
        let store = self.store();
        let written = state.unlocked(store.thread.write(&Item::ProxyUrl, &secret)).await;
        written.map_err(|error: StoreError| {
            state.store_error = Some(error.clone());
            error.into()
        })
    }
}
