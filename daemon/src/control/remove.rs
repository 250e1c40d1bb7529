//! `remove-registry`: forget the registry, delete its secret.

use std::sync::Arc;

use regauth_shared::request::ByName;
use regauth_shared::response::RegistryRemoved;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use super::registrar::{Books, Registrar, hosts, serve_credentials, store_error};
use crate::credential::Item;
use crate::proxy::routes::Service;
use crate::registry::Source;

/// Removes a registry. From the configuration's write on it does not exist; a secret that the store would not delete is
/// deleted at the next start.
pub(crate) async fn remove_registry(registrar: &Registrar, request: ByName) -> Result<RegistryRemoved, ErrorBody> {
    let mut books = registrar.books().await;
    let name = request.name;
    let Some(service) = books.services.get(&name).cloned() else {
        return Err(not_found(&books, &name));
    };
    refuse_while_shared(&books, &name)?;
    books.ledger.pending.insert(name.clone());
    let forgotten = registrar.write_ledger(&books.ledger).and_then(|()| {
        registrar.edit_config(|config| {
            config.remove_registry(&name);
        })
    });
    if let Err(error) = forgotten {
        books.ledger.pending.remove(&name);
        return Err(error);
    }
    books.services.remove(&name);
    serve_credentials(&books);
    registrar.publish(&books);
    let mut notes = Vec::new();
    match registrar.store.delete(&Item::Credential(name.clone())).await {
        Ok(()) => {
            books.ledger.pending.remove(&name);
            books.ledger.registries.remove(&name);
        }
        Err(error) => notes.push(format!(
            "{}; its token is deleted as soon as the store opens",
            store_error(&error).message
        )),
    }
    if !matches!(service.registry.source, Source::Store | Source::Of(_)) {
        notes.push("its token was not in regauth's store; delete it where it came from".to_owned());
    }
    let wanted = books
        .services
        .values()
        .flat_map(|service| hosts(&service.registry))
        .collect();
    registrar.forget_authorities(&mut books, &wanted).await;
    registrar.write_ledger(&books.ledger)?;
    registrar.write_bundle(&books)?;
    tracing::info!(registry = %name, "removed");
    Ok(RegistryRemoved { name, notes })
}

fn refuse_while_shared(books: &Books, name: &RegistryName) -> Result<(), ErrorBody> {
    let uses_it = |service: &&Arc<Service>| matches!(&service.registry.source, Source::Of(owner) if owner == name);
    let users: Vec<&str> = books
        .services
        .values()
        .filter(uses_it)
        .map(|user| user.name.as_str())
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    Err(ErrorBody::new(
        ErrorKind::Refused,
        format!("the credential of `{name}` is also that of {}", users.join(", ")),
    )
    .hint("remove what uses it first, or change `credential-of` there"))
}

/// The answer for a name that nobody has, with those that there are.
pub(crate) fn not_found(books: &Books, name: &RegistryName) -> ErrorBody {
    let names: Vec<&str> = books.services.keys().map(RegistryName::as_str).collect();
    let hint = if names.is_empty() {
        "none is configured; `regauthctl add-registry` adds one".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    };
    ErrorBody::new(ErrorKind::NotFound, format!("there is no registry `{name}`")).hint(hint)
}
