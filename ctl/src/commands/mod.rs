//! Verbs, one file each: the clap arguments and the function that runs them. In the order of the help.
//!
//! `event_text` formats an event as one line, `registry_text` formats a registry the same way in every verb, and `run_flags` parses the repeated flags of `run`. `setup_list` is
//! `setup` without a client.

pub(crate) mod add_registry;
pub(crate) mod add_scope;
pub(crate) mod confirm;
pub(crate) mod edit;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod remove_registry;
pub(crate) mod set;
pub(crate) mod show;

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod rotate;
pub(crate) mod verify;

pub(crate) mod allow;
pub(crate) mod deny;

pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod explain;
pub(crate) mod run;
pub(crate) mod setup;

pub(crate) mod forward;
pub(crate) mod grant;
pub(crate) mod grants;
pub(crate) mod revoke;

pub(crate) mod audit;
pub(crate) mod watch;

pub(crate) mod log;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod overview;
pub(crate) mod reload;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod top;
pub(crate) mod uninstall;
pub(crate) mod unlock;
pub(crate) mod upstream;

pub(crate) mod completions;
pub(crate) mod man;

mod add_from;
mod agreement;
mod event_text;
mod git_index;
mod import_report;
mod offered_locations;
mod registry_text;
mod run_flags;
mod setup_gateway;
mod setup_list;
