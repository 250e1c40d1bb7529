//! One request and its response, between client and registry.
//!
//! - [`request`] handles a decrypted request, from its checks to its response.
//! - [`denial`] decides what a client gets after the registry denied a request with the credential.
//! - [`rewrite`] changes headers.
//! - [`body`] streams bodies and enforces a minimum rate.
//! - [`error`] has every response that regauthd writes itself.

pub(crate) mod request;
pub mod rewrite;

pub(crate) mod body;
pub(crate) mod denial;
pub mod error;
