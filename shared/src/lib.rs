//! Contract between `regauthd` and `regauthctl`: the control protocol's types, names, file paths and exit codes.
//!
//! Nothing here does I/O. In reading order:
//!
//! - [`name`], [`secret`] and [`passphrase`]: the checked strings that requests carry.
//! - [`request`], [`response`], [`error`]: what travels over the control socket, one message per line ([`frame`]).
//! - [`presence`]: the requests that need a person.
//! - [`event`]: what the daemon reports as it happens, in the stream of `watch` and in the audit log.
//! - [`hand_over`]: registries and tokens on their way from a user's store to a guarded daemon, through a pipe.
//! - [`version`]: the greeting, and how releases of different age work together.
//! - [`audit`]: the lines of the audit record, and their verification.
//! - [`paths`]: locations of the socket and the files.
//! - [`exit_code`]: exit codes of `regauthctl`, for scripts.
//! - [`program`]: names of programs in filters and registries.
//! - [`index`]: locations that a cargo index names in its `config.json`.
//! - [`kind`]: the kinds of registries.
//! - [`rejection`]: statuses with which registries reject a token.
//! - [`placeholder`]: the public token for clients that insist on having one.
//! - [`secret_variables`]: environment variables that hold secrets of a CI job.
//!
//! # Public for whom
//!
//! The crate is not published. Its Rust items are public for `regauthd`, `regauthctl`, `cargo-credential-regauth` and the
//! tests, and may change with any commit. Three things are public for others and stay: the JSON on the control socket, the
//! exit codes and the file paths. `tests/golden/` holds one message of each form: a change that breaks a golden file is a
//! new [`version::PROTOCOL`].

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "a table is as long as its cases"))]

pub mod name;
pub mod passphrase;
pub mod secret;

pub mod presence;
pub mod request;
pub mod response;

pub mod error;
pub mod event;
pub mod frame;
pub mod hand_over;
pub mod version;

pub mod audit;

pub mod exit_code;
pub mod index;
pub mod kind;
pub mod paths;
pub mod placeholder;
pub mod program;
pub mod rejection;
pub mod secret_variables;

pub use error::{ErrorBody, ErrorKind};
pub use name::RegistryName;
pub use request::Request;
pub use secret::Secret;
