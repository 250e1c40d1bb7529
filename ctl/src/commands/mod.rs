//! One verb a file: its arguments and its function. [`registry`] is how verbs speak of a registry.

pub(crate) mod add_registry;
pub(crate) mod add_scope;
pub(crate) mod import;
pub(crate) mod remove_registry;

pub(crate) mod list;
pub(crate) mod show;

pub(crate) mod rotate;
pub(crate) mod verify;

pub(crate) mod allow;
pub(crate) mod deny;

pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod run;
pub(crate) mod setup;

pub(crate) mod completions;
pub(crate) mod man;

pub(crate) mod grant;
pub(crate) mod grants;
pub(crate) mod revoke;

pub(crate) mod log;
pub(crate) mod reload;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod unlock;

mod client_configuration;
mod git_index;
mod import_words;
mod registry;
mod run_registries;
mod source;
