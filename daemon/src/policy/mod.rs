//! Policy: pure functions about one request.
//!
//! [`operation`] classifies a request as read or write by the registry's kind. [`path`] finds paths that servers
//! interpret differently. [`address`] classifies IP addresses as public or not. [`denial`] classifies a registry's answer.

pub mod address;
pub mod denial;
pub mod operation;
pub mod path;

pub use denial::{Answer, Denial};
pub use operation::Operation;
