//! Who may do what: pure decisions about one request.

pub mod path;
