//! One request and its response, between client and registry.
//!
//! - [`request`] handles a decrypted request, from its checks to its response.
//! - [`rewrite`] changes headers.
//! - [`body`] streams bodies and enforces a minimum rate.
//! - [`error`] has every response that regauthd writes itself; [`failure_log`] logs the reasons.

pub(crate) mod request;
pub mod rewrite;

pub(crate) mod body;
pub mod error;
pub(crate) mod failure_log;
