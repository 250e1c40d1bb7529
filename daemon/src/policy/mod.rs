//! Who may do what: pure decisions about one request.
//!
//! [`operation`] tells reads from writes by the registry's kind; [`path`] finds paths that have two meanings;
//! [`address`] tells the public internet from what only looks like it.

pub mod address;
pub mod operation;
pub mod path;

pub use operation::Operation;
