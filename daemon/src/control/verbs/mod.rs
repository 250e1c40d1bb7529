//! The verbs of the control protocol, one file a verb or a pair of verbs.

pub(super) mod add_registry;
pub(super) mod add_scope;
pub(super) mod grants;
pub(super) mod lifecycle;
pub(super) mod migrate;
pub(super) mod remove_registry;
pub(super) mod rotate;
pub(super) mod show;
pub(super) mod verify;
pub(super) mod writes;
