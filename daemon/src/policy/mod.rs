//! Policy: pure functions about one request, and about what a token may be used for.
//!
//! [`operation`] classifies a request as read or write by the registry's kind; [`lfs`] and `token_scope` are two flows
//! in which the method does not tell, `package_requests` single requests of that kind. [`denial`] classifies a registry's
//! answer, and [`Rejections`] are the statuses with which it rejects a token. [`path`] finds paths that servers interpret
//! differently. `repository` and `challenge` are the token flow of container registries. [`address`] classifies IP
//! addresses as public or not, and [`network`] compares them with configured ranges. `binding` compares a
//! configuration with what a token was given for. `header_name` compares names of headers.

pub mod address;
pub(crate) mod binding;
pub(crate) mod challenge;
pub mod denial;
pub(crate) mod header_name;
pub mod lfs;
pub mod network;
pub mod operation;
mod package_requests;
pub mod path;
mod rejections;
pub(crate) mod repository;
pub(crate) mod token_scope;

pub use denial::{Answer, Denial};
pub use operation::{Classification, Operation, RequestHead};
pub use rejections::{InvalidRejections, Rejections};
