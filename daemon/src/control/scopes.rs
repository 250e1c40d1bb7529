//! `add-scope`: a registry that is in service covers more.

use regauth_shared::ErrorBody;
use regauth_shared::request::AddScope;
use regauth_shared::response::RegistryView;

use super::add::refuse_taken_scopes;
use super::books::{Books, find};
use super::description::{push_uncovered, read};
use super::registrar::Registrar;
use super::show;
use crate::config::Config;
use crate::registry::Scope;

/// Serves the wider registry, then writes it down; what cannot be written is not served.
pub(crate) async fn add_scope(registrar: &Registrar, request: &AddScope) -> Result<RegistryView, ErrorBody> {
    let mut books = registrar.books().await?;
    let name = &request.name;
    let present = in_service(registrar, &books);
    let mut wider = find(&books.services, name)?.registry.clone();
    for text in &request.scopes {
        push_uncovered(&mut wider.scopes, read::<Scope>("the scope", text)?);
    }
    refuse_taken_scopes(&books, name, &wider)?;
    let scopes = wider.scopes.clone();
    let mut config = present.clone();
    config.registries.insert(name.clone(), wider);
    let served = registrar.take_in(&mut books, &config).await;
    let written = served.and_then(|()| registrar.edit_config(|file| file.cover(name, &scopes)));
    if let Err(error) = written {
        registrar.take_in(&mut books, &present).await?;
        return Err(error);
    }
    tracing::info!(registry = %name, "covers more");
    find(&books.services, name).map(|service| show::view(&service))
}

/// What is served now, as a configuration; a person's edits that were not read yet are not in it.
fn in_service(registrar: &Registrar, books: &Books) -> Config {
    let services = books.services.iter();
    Config {
        registries: services
            .map(|(name, service)| (name.clone(), service.registry.clone()))
            .collect(),
        ..registrar.at_start.clone()
    }
}
