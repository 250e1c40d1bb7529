//! Policy: pure functions about one request.
//!
//! [`operation`] classifies a request as read or write by the registry's kind. [`path`] finds paths that servers
//! interpret differently. [`address`] classifies IP addresses as public or not. [`header_name`]
//! compares names of headers.

pub mod address;
pub(crate) mod header_name;
pub mod operation;
pub mod path;

pub use operation::Operation;
