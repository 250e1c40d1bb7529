//! `reload`, `unlock` and `stop`.

use regauth_shared::request::Unlock;
use regauth_shared::response::{Reloaded, Stopping, Unlocked};
use regauth_shared::{ErrorBody, version};

use super::registrar::{Registrar, store_error};
use super::show;
use crate::credential::slot::Holding;

/// Reads the configuration again. A file with errors changes nothing.
pub(crate) async fn reload(registrar: &Registrar) -> Result<Reloaded, ErrorBody> {
    let mut books = registrar.books().await;
    if !registrar.persistent {
        return Ok(Reloaded {
            registries: books.services.len(),
            notes: vec!["an ephemeral daemon has no file".to_owned()],
        });
    }
    let config = registrar.read_config()?;
    registrar.take_in(&mut books, &config).await?;
    let mut notes = Vec::new();
    if config.listen.port() != 0 && config.listen != registrar.plane.listen {
        notes.push(format!(
            "`listen` is {} in the file and takes effect at the next start",
            config.listen
        ));
    }
    if config.store.is_some_and(|store| store != registrar.store_kind) {
        notes.push("`store` differs in the file and takes effect at the next start".to_owned());
    }
    tracing::info!(registries = books.services.len(), "reloaded");
    Ok(Reloaded {
        registries: books.services.len(),
        notes,
    })
}

/// Opens a locked store and brings what it keeps into service.
pub(crate) async fn unlock(registrar: &Registrar, request: Unlock) -> Result<Unlocked, ErrorBody> {
    registrar
        .store
        .unlock(request.passphrase.as_ref())
        .await
        .map_err(|error| store_error(&error))?;
    registrar.retry_store().await;
    let books = registrar.books().await;
    let ready = books
        .services
        .values()
        .filter(|service| matches!(*service.credential.load(), Holding::Ready(_)))
        .count();
    Ok(Unlocked {
        store: show::store_view(registrar, &books).await,
        ready,
    })
}

/// Ends the daemon after this answer: it drains.
pub(crate) fn stop(registrar: &Registrar) -> Stopping {
    tracing::info!(version = version::PROGRAM, "asked to stop");
    registrar.stop.cancel();
    Stopping {
        connections: registrar.plane.counters.connections(),
        pid: std::process::id(),
    }
}
