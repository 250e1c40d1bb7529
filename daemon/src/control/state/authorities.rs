//! The controller's authorities: one for each configured host, and the bundle that names them to clients.

use std::path::Path;
use std::sync::Arc;

use regauth_shared::{ErrorBody, ErrorKind};

use crate::atomic;
use crate::authority::{Authority, AuthorityError, bundle, java};
use crate::control::controller::Controller;
use crate::control::error::write_error;
use crate::control::state::State;
use crate::credential::store::Item;
use crate::host::Host;

/// An authority, and TLS as its host. The configuration is made once: it holds the sessions that clients resume.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Who signs.
    pub(crate) authority: Arc<Authority>,
    /// How connections are taken.
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// The same where only git comes: large pushes over HTTP/2 can hang in git and libcurl themselves
    /// (<https://github.com/git/git/issues/1608>).
    pub(crate) tls_for_git: Arc<rustls::ServerConfig>,
}

impl Controller {
    /// Sees to it that every configured host has an authority: from the ledger and the store, or a new one.
    pub(crate) async fn ensure_authorities(&self, state: &mut State) -> Result<(), ErrorBody> {
        let wanted = state.hosts();
        for host in wanted {
            if !state.identities.contains_key(&host) {
                self.ensure_authority(state, &host).await?;
            }
        }
        Ok(())
    }

    /// The authority of one host. A store that cannot be asked leaves the host without one for now.
    async fn ensure_authority(&self, state: &mut State, host: &Host) -> Result<(), ErrorBody> {
        let item = Item::AuthorityKey(host.clone());
        let key = match self.store().thread.read(&item).await {
            Ok(key) => key,
            Err(error) => {
                state.store_trouble = Some(error);
                return Ok(());
            }
        };
        let kept = state.journal.authorities.get(&host.to_string()).cloned().zip(key);
        let authority = match kept.map(|(certificates, key)| Authority::restore(host, certificates, &key)) {
            Some(Ok(authority)) => authority,
            // The clock is wrong; another authority would be lost on running clients when it is right again.
            Some(Err(error @ AuthorityError::NotYetValid { .. })) => return Err(authority_error(host, &error)),
            Some(Err(error)) => {
                tracing::warn!(%host, %error, "making another authority; clients that run now must be started again");
                self.create_authority(state, host, &item).await?
            }
            None => self.create_authority(state, host, &item).await?,
        };
        let authority = Arc::new(authority);
        let tls = authority
            .server_config()
            .map_err(|error| authority_error(host, &error))?;
        let mut tls_for_git = (*tls).clone();
        tls_for_git.alpn_protocols = vec![b"http/1.1".to_vec()];
        let identity = Identity {
            authority,
            tls,
            tls_for_git: Arc::new(tls_for_git),
        };
        state.identities.insert(host.clone(), identity);
        Ok(())
    }

    /// The ledger comes first: a kill in between leaves a certificate without a key, which is no use to anybody and is
    /// replaced, and not a key that nobody remembers to delete.
    async fn create_authority(&self, state: &mut State, host: &Host, item: &Item) -> Result<Authority, ErrorBody> {
        let (authority, key) = Authority::create(host).map_err(|error| authority_error(host, &error))?;
        state
            .journal
            .authorities
            .insert(host.to_string(), authority.certificates().clone());
        self.write_journal(&state.journal)?;
        self.store().thread.write(item, &key).await?;
        Ok(authority)
    }

    /// Forgets the authorities of hosts that no registry is on, keys and all.
    pub(crate) async fn forget_unused_authorities(&self, state: &mut State) {
        let wanted = state.hosts();
        let unwanted: Vec<String> = state
            .journal
            .authorities
            .keys()
            .filter(|text| !wanted.iter().any(|host| host.to_string() == **text))
            .cloned()
            .collect();
        for text in unwanted {
            let Ok(host) = text.parse::<Host>() else { continue };
            if self
                .store()
                .thread
                .delete(&Item::AuthorityKey(host.clone()))
                .await
                .is_ok()
            {
                state.identities.remove(&host);
                state.journal.authorities.remove(&text);
            }
        }
    }

    /// Writes the bundle, where it changed.
    pub(crate) fn write_bundle(&self, state: &State) -> Result<(), ErrorBody> {
        let roots = state.identities.values().map(|identity| {
            (
                identity.authority.host(),
                identity.authority.certificates().root.as_str(),
            )
        });
        let text = bundle::compose(&self.system_roots.load(), roots);
        self.replace(&self.folders.bundle(), text.as_bytes())?;
        let for_java = java::trust_store(&bundle::certificates(&text));
        self.replace(&self.folders.java_trust_store(), &for_java)
    }

    /// What is the same is not written again: clients may be reading it.
    fn replace(&self, file: &Path, contents: &[u8]) -> Result<(), ErrorBody> {
        if std::fs::read(file).is_ok_and(|present| present == contents) {
            return Ok(());
        }
        let write = if self.persistent {
            atomic::write
        } else {
            atomic::write_passing
        };
        write(file, contents, 0o644).map_err(|error| write_error(file, &error))
    }
}

fn authority_error(host: &Host, error: &AuthorityError) -> ErrorBody {
    ErrorBody::new(ErrorKind::Failed, format!("the authority for {host}: {error}"))
}
