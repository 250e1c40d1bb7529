//! `add-scope`: a registry that is in service covers more.

use regauth_shared::ErrorBody;
use regauth_shared::request::AddScope;
use regauth_shared::response::RegistryView;

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::description::{push_uncovered, read};
use crate::control::state::{State, find};
use crate::control::verbs::add_registry::refuse_taken_scopes;
use crate::control::verbs::show;
use crate::registry::Scope;

/// Serves the wider registry, then writes it down; what cannot be written is not served.
pub(crate) async fn add_scope(controller: &Controller, request: &AddScope) -> Result<RegistryView, ErrorBody> {
    let mut books = controller.books().await?;
    let name = &request.name;
    let present = in_service(controller, &books);
    let mut wider = find(&books.services, name)?.registry.clone();
    for text in &request.scopes {
        push_uncovered(&mut wider.scopes, read::<Scope>("the scope", text)?);
    }
    refuse_taken_scopes(&books, name, &wider)?;
    let scopes = wider.scopes.clone();
    let mut config = present.clone();
    config.registries.insert(name.clone(), wider);
    let served = controller.apply_config(&mut books, &config).await;
    let written = served.and_then(|()| controller.edit_config(|file| file.add_scopes(name, &scopes)));
    if let Err(error) = written {
        controller.apply_config(&mut books, &present).await?;
        return Err(error);
    }
    tracing::info!(registry = %name, "covers more");
    find(&books.services, name).map(|service| show::view(&service))
}

/// What is served now, as a configuration; a person's edits that were not read yet are not in it.
fn in_service(controller: &Controller, books: &State) -> Config {
    let services = books.services.iter();
    Config {
        registries: services
            .map(|(name, service)| (name.clone(), service.registry.clone()))
            .collect(),
        ..controller.at_start.clone()
    }
}
