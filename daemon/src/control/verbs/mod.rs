//! The verbs of the control protocol, one file for each verb or pair of verbs.
//!
//! A verb that changes something goes through four steps: it checks the request, asks registries, sources and stores,
//! applies the change to the locked [`State`](crate::control::state::State), and publishes it.

pub(super) mod add_registry;
pub(super) mod add_scope;
pub(super) mod logout;
pub(super) mod remove_registry;
pub(super) mod rotate;
pub(super) mod verify;
pub(super) mod writes;

pub(super) mod grants;
pub(crate) mod set_upstream;
pub(super) mod show;

pub(super) mod migrate;
pub(super) mod store;

pub(crate) mod lifecycle;
