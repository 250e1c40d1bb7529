//! One request and its response, between client and registry.
//!
//! - [`request`] handles a decrypted request, from its checks to its response.
//! - [`rewrite`] changes headers.
//! - [`inspect`] classifies a request by its body, where the head does not tell a read from a write.
//! - [`answer`] keeps the credential out of answers of Git LFS and of token services.
//! - [`body`] streams bodies and enforces a minimum rate.
//! - [`error`] has every response that regauthd writes itself.

pub(crate) mod request;
pub mod rewrite;

mod answer;
mod inspect;

pub(crate) mod body;
pub mod error;
