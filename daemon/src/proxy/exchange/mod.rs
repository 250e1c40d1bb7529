//! One request and its response, between client and registry.
//!
//! - [`request`] handles a decrypted request, from its checks to its response.
//! - [`rewrite`] changes headers.
//! - [`inspect`] classifies a request by its body, where the head does not tell a read from a write.
//! - [`lfs`] removes the credential from answers of Git LFS.
//! - [`body`] streams bodies and enforces a minimum rate.
//! - [`error`] has every response that regauthd writes itself.

pub(crate) mod request;
pub mod rewrite;

mod inspect;
mod lfs;

pub(crate) mod body;
pub mod error;
