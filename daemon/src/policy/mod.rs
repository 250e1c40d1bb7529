//! Who may do what: pure decisions about one request.
//!
//! [`operation`] tells reads from writes by the registry's kind; [`path`] finds paths that have two meanings.

pub mod operation;
pub mod path;

pub use operation::Operation;
