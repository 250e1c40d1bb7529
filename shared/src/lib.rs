//! What `regauthd` and `regauthctl` agree on: the protocol's types, names, file paths and exit codes.
//!
//! Nothing here does I/O. In reading order: a [`name`] and a [`secret`] are what requests are made of; a
//! [`request`] travels in a [`frame`]; a [`response`] or an [`error`] comes back; [`paths`] says where the socket and
//! the files lie; [`index`] what a cargo index names; [`exit_code`] what a script can rely on; [`placeholder`] what clients
//! hold instead of a token; [`version`] how old and new talk to each other.
//!
//! The golden files under `tests/golden/` hold one message of each form. A change that breaks one is a new version.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "a table is as long as its cases"))]

pub mod name;
pub mod secret;

pub mod request;
pub mod response;

pub mod error;
pub mod frame;

pub mod exit_code;
pub mod index;
pub mod paths;
pub mod placeholder;
pub mod version;

pub use error::{ErrorBody, ErrorKind};
pub use name::RegistryName;
pub use request::Request;
pub use secret::Secret;
