//! `remove-registry`: forget the registry, delete its secret.

use std::sync::Arc;

use regauth_shared::request::ByName;
use regauth_shared::response::RegistryRemoved;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::control::controller::Controller;
use crate::control::error::not_found;
use crate::control::state::{RegistryRoutes, State};
use crate::control::verbs::grants;
use crate::proxy::routes::RegistryRoute as Service;
use crate::registry::Source;

/// Removes a registry. From the configuration's write on it does not exist; a secret that the store would not delete is
/// deleted at the next start.
pub(crate) async fn remove_registry(controller: &Controller, request: ByName) -> Result<RegistryRemoved, ErrorBody> {
    let mut books = controller.books().await?;
    let name = request.name;
    let service = removable(controller, &books, &name)?;
    books.ledger.pending.insert(name.clone());
    let forgotten = controller.write_ledger(&books.ledger).and_then(|()| {
        controller.edit_config(|config| {
            config.remove_registry(&name);
        })
    });
    if let Err(error) = forgotten {
        books.ledger.pending.remove(&name);
        // What stays noted on a full disk, the next start finds to be nothing.
        let _ = controller.write_ledger(&books.ledger);
        return Err(error);
    }
    books.services.remove(&name);
    controller.publish(&books);
    let mut notes = Vec::new();
    if let Err(error) = controller.delete_credential(&mut books, &name).await {
        notes.push(format!(
            "{}; its token is deleted as soon as the store opens",
            ErrorBody::from(error).message
        ));
    }
    if service.is_some_and(|service| !matches!(service.registry.source, Source::Store | Source::Of(_))) {
        notes.push("its token was not in regauth's store; delete it where it came from".to_owned());
    }
    notes.extend(grants::end_with(controller, &name));
    controller.forget_unused_authorities(&mut books).await;
    // It is gone already; what cannot be tidied up now is at the next start.
    let tidied = controller
        .write_ledger(&books.ledger)
        .and_then(|()| controller.write_bundle(&books));
    if let Err(error) = tidied {
        notes.push(format!("{}; the next start tidies up", error.message));
    }
    controller.publish(&books);
    tracing::info!(registry = %name, "removed");
    Ok(RegistryRemoved { name, notes })
}

/// The registry, unless something speaks against its removal. There is none where somebody has taken it out of the file by
/// hand; its token is here still.
fn removable(controller: &Controller, books: &State, name: &RegistryName) -> Result<Option<Arc<Service>>, ErrorBody> {
    let service = books.services.get(name).map(Arc::clone);
    if service.is_none() && !books.ledger.registries.contains_key(name) {
        return Err(not_found(&books.services, name));
    }
    refuse_while_shared(&books.services, name)?;
    if controller.persistent {
        // A file that could not be written to in the end is told before anything is begun.
        controller.read_config()?;
    }
    Ok(service)
}

fn refuse_while_shared(services: &RegistryRoutes, name: &RegistryName) -> Result<(), ErrorBody> {
    let uses_it = |service: &&Arc<Service>| matches!(&service.registry.source, Source::Of(owner) if owner == name);
    let users = services.values().filter(uses_it);
    let users: Vec<&str> = users.map(|user| user.name.as_str()).collect();
    if users.is_empty() {
        return Ok(());
    }
    Err(ErrorBody::new(
        ErrorKind::Refused,
        format!("the credential of `{name}` is also that of {}", users.join(", ")),
    )
    .hint("remove what uses it first, or change `credential-of` there"))
}
