//! One authority for each configured host, and the bundle files that make clients trust them.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regauth_shared::{ErrorBody, ErrorKind};
use zeroize::Zeroizing;

use crate::atomic;
use crate::authority::{Authority, AuthorityError, bundle, file, java};
use crate::configured_file::{self, MAX_KEY};
use crate::control::controller::Controller;
use crate::control::state::{HostIdentity, State, StateGuard};
use crate::credential::store::{Item, StoreError};
use crate::host::Host;
use crate::proxy::exchange::action_seal::ActionSeal;

impl Controller {
    /// Gives each of `hosts` an authority: the one that journal and store have, or a new one. A host stays without one while
    /// the store cannot be read. No removal deletes an authority of these hosts before the change ends.
    ///
    /// # Errors
    /// Those of creating an authority and of writing it down.
    pub(in crate::control) async fn ensure_authorities(
        &self,
        state: &mut StateGuard<'_>,
        hosts: BTreeSet<Host>,
    ) -> Result<(), ErrorBody> {
        state.reserved_hosts.clone_from(&hosts);
        for host in hosts {
            if !state.identities.contains_key(&host) {
                self.ensure_authority(state, &host).await?;
            }
        }
        Ok(())
    }

    async fn ensure_authority(&self, state: &mut StateGuard<'_>, host: &Host) -> Result<(), ErrorBody> {
        if let Some(folder) = &self.at_start.authorities {
            let authority = shared_authority(folder, host).await?;
            let identity = shared_identity(authority).map_err(|error| authority_error(host, &error))?;
            state.identities.insert(host.clone(), identity);
            return Ok(());
        }
        let item = Item::AuthorityKey(host.clone());
        let key = match state.unlocked(self.store().thread.read(&item)).await {
            Ok(key) => key,
            Err(error @ StoreError::Unusable(_)) => {
                tracing::warn!(%host, %error, "replaced an authority; restart the clients that run now");
                None
            }
            Err(error) => {
                state.store_error = Some(error);
                return Ok(());
            }
        };
        let recorded = state.journal.authorities.get(&host.to_string()).cloned().zip(key);
        let authority = match recorded.map(|(certificates, key)| Authority::restore(host, certificates, &key)) {
            Some(Ok(authority)) => authority,
            // The clock is wrong. Running clients would not trust a new authority once the clock is right again.
            Some(Err(error @ AuthorityError::NotYetValid { .. })) => return Err(authority_error(host, &error)),
            Some(Err(error)) => {
                tracing::warn!(%host, %error, "replaced an authority; restart the clients that run now");
                self.create_authority(state, host, &item).await?
            }
            None => self.create_authority(state, host, &item).await?,
        };
        let identity = identity(authority).map_err(|error| authority_error(host, &error))?;
        state.identities.insert(host.clone(), identity);
        Ok(())
    }

    /// Writes the journal before the store. A kill in between leaves a certificate without a key, which the next start
    /// replaces; the other order could leave a key that nothing names and nothing deletes.
    async fn create_authority(
        &self,
        state: &mut StateGuard<'_>,
        host: &Host,
        item: &Item,
    ) -> Result<Authority, ErrorBody> {
        let (authority, key) = Authority::create(host).map_err(|error| authority_error(host, &error))?;
        state
            .journal
            .authorities
            .insert(host.to_string(), authority.certificates().clone());
        self.write_journal(&state.journal).await?;
        state.unlocked(self.store().thread.write(item, &key)).await?;
        Ok(authority)
    }

    /// Deletes the authorities of hosts without a registry, keys included. The caller writes the journal.
    pub(in crate::control) async fn forget_unused_authorities(&self, state: &mut StateGuard<'_>) {
        self.forget_authorities_since(state, &BTreeSet::new()).await;
    }

    /// Deletes the authorities of hosts without a registry, except those of the hosts in `before`.
    pub(in crate::control) async fn forget_authorities_since(
        &self,
        state: &mut StateGuard<'_>,
        before: &BTreeSet<String>,
    ) {
        let recorded = state.journal.authorities.keys();
        let recorded: Vec<String> = recorded.filter(|text| !before.contains(*text)).cloned().collect();
        for text in recorded {
            let Ok(host) = text.parse() else { continue };
            if is_used(state, &host) {
                continue;
            }
            state.identities.remove(&host);
            let recorded = state.journal.authorities.get(&text).cloned();
            let item = Item::AuthorityKey(host.clone());
            let deleted = self.delete_item(state, &item).await;
            // Meanwhile a change may have created another authority for the host.
            if deleted.is_ok() && !is_used(state, &host) && state.journal.authorities.get(&text) == recorded.as_ref() {
                state.journal.authorities.remove(&text);
            }
        }
    }

    /// Folder for containers. An ephemeral daemon leaves no file behind, so it has one only if its bundle is published.
    pub(in crate::control) fn shared_bundle_folder(&self) -> Option<PathBuf> {
        (self.persistent || self.folders.published.is_some()).then(|| self.folders.bundle_folder())
    }

    /// Writes the bundle and the trust store for Java, if they changed, and their copies for containers.
    ///
    /// # Errors
    /// `failed` when a file cannot be written.
    pub(in crate::control) async fn write_bundle(&self, state: &State) -> Result<(), ErrorBody> {
        let authorities = state.identities.values().map(|identity| &identity.authority);
        let roots = authorities.map(|authority| (authority.host(), authority.certificates().root.as_str()));
        let trusted = self.company_roots.load().with(&self.system_roots.load().certificates);
        let text = bundle::compose(&trusted, roots);
        let for_java = java::trust_store(&bundle::certificates(&text));
        for (file, contents) in [
            (self.folders.bundle(), text.into_bytes()),
            (self.folders.java_trust_store(), for_java),
        ] {
            if let Some(copy) = self.copy_for_containers(&file) {
                let path = copy.clone();
                self.write(&copy, move || create_readable_folder(path.parent())).await?;
                self.replace_file(&copy, contents.clone()).await?;
            }
            self.replace_file(&file, contents).await?;
        }
        Ok(())
    }

    /// Path of a copy. A published bundle needs none.
    fn copy_for_containers(&self, file: &Path) -> Option<PathBuf> {
        let folder = self
            .shared_bundle_folder()
            .filter(|_| self.folders.published.is_none())?;
        Some(folder.join(file.file_name()?))
    }

    /// Leaves a file with equal contents alone: clients may be reading it.
    async fn replace_file(&self, file: &Path, contents: Vec<u8>) -> Result<(), ErrorBody> {
        let write = if self.persistent {
            atomic::write
        } else {
            atomic::write_without_sync
        };
        let path = file.to_path_buf();
        let replace = move || {
            if std::fs::read(&path).is_ok_and(|present| present == contents) {
                return Ok(());
            }
            write(&path, &contents, 0o644)
        };
        let hint = "free disk space or fix the folder's permissions, or name another file in REGAUTH_BUNDLE and start regauthd again";
        let written = self.write(file, replace).await;
        written.map_err(|error| ErrorBody::new(error.kind, error.message).hint(hint))
    }
}

/// Reads the authority that daemons share. None is created: clients trust the shared one only.
async fn shared_authority(folder: &Path, host: &Host) -> Result<Authority, ErrorBody> {
    let path = file::path(folder, host);
    let file = path.clone();
    let read = tokio::task::spawn_blocking(move || configured_file::read_text(&file, MAX_KEY));
    let text = read.await.map_err(io::Error::from).flatten().map(Zeroizing::new);
    let problem = match text.map(|text| file::restore(host, &text)) {
        Ok(Ok(authority)) => return Ok(authority),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    let message = format!("the authority for {host} in {}: {problem}", path.display());
    let hint = format!(
        "make one with `regauthd --create-authority {host} > {}`, and give the same file to every replica",
        path.display()
    );
    Err(ErrorBody::new(ErrorKind::Invalid, message).hint(hint))
}

/// Creates the last folder of a path if it is missing. Containers read it, perhaps as other users.
fn create_readable_folder(folder: Option<&Path>) -> io::Result<()> {
    match folder {
        Some(folder) if !folder.exists() => {
            // A guarded daemon has left a link to its folder, which was removed with it.
            if folder.is_symlink() {
                std::fs::remove_file(folder)?;
            }
            std::fs::create_dir(folder)?;
            std::fs::set_permissions(folder, Permissions::from_mode(0o755))
        }
        _ => Ok(()),
    }
}

/// True if a registry is on the host, or one is being added to it.
fn is_used(state: &State, host: &Host) -> bool {
    let mut registries = state.registries.values().map(|route| &route.registry);
    state.reserved_hosts.contains(host) || registries.any(|registry| registry.hosts().any(|other| other == host))
}

fn identity(authority: Authority) -> Result<HostIdentity, AuthorityError> {
    let authority = Arc::new(authority);
    let tls = authority.server_config()?;
    let mut tls_for_git = (*tls).clone();
    tls_for_git.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(HostIdentity {
        authority,
        tls,
        tls_for_git: Arc::new(tls_for_git),
        action_seal: None,
    })
}

/// Identity by an authority that daemons share.
fn shared_identity(authority: Authority) -> Result<HostIdentity, AuthorityError> {
    let action_seal = Some(Arc::new(ActionSeal::shared(&authority)?));
    Ok(HostIdentity {
        action_seal,
        ..identity(authority)?
    })
}

fn authority_error(host: &Host, error: &AuthorityError) -> ErrorBody {
    ErrorBody::new(ErrorKind::Failed, format!("the authority for {host}: {error}"))
}
