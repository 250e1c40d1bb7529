//! The verbs of the control protocol, one file for each verb or pair of verbs.
//!
//! A verb that changes something goes through four steps: it checks the request, asks registries, sources and stores,
//! applies the change to the locked [`State`](crate::control::state::State), and publishes it.

pub(super) mod add_registry;
pub(super) mod add_scope;
pub(super) mod change_configuration;
pub(super) mod check_registry;
pub(super) mod confirm;
pub(crate) mod device_login;
pub(super) mod logout;
pub(super) mod remove_registry;
pub(super) mod rotate;
pub(super) mod verify;
pub(super) mod writes;

pub(super) mod grants;
pub(crate) mod set_upstream;
pub(super) mod show;
pub(super) mod traffic;

pub(super) mod migrate;
pub(super) mod store;

pub(crate) mod lifecycle;

/// Note about the requests that still hold a token that was rotated or removed.
fn holders_note(holders: usize) -> Vec<String> {
    let text = match holders {
        0 => return Vec::new(),
        1 => "1 request that was sent before still waits for the registry's response".to_owned(),
        many => format!("{many} requests that were sent before still wait for the registry's response"),
    };
    vec![text + "; the old token is not sent again"]
}
