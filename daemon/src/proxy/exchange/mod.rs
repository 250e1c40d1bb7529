//! One request and its response, between client and registry.
//!
//! - [`request`] checks a decrypted request; [`send`] sends it and prepares the response.
//! - [`denial_review`] decides what a client gets after the registry denied a request with the credential.
//! - [`token_flow`] gets short tokens for requests to a container registry with a token service.
//! - [`rewrite`] changes headers; [`carried`] attaches the credential's, before each attempt.
//! - [`inspect`] classifies a request by its body, where the head does not tell a read from a write.
//! - [`answer`] keeps the credential out of answers of Git LFS and of token services. [`action_seal`] encrypts the tokens of
//!   a Git LFS server that a client keeps for its objects.
//! - [`body`] streams bodies and enforces a minimum rate.
//! - [`expectation`] keeps a body back until the registry asks for it.
//! - [`recording`] records each request for the stream of events.
//! - [`error`] has every response that regauthd writes itself, and [`request_problem`] the texts for malformed requests.
//!   [`failure_log`] logs the reasons.

pub(crate) mod request;
pub(crate) mod send;

pub mod rewrite;

pub(crate) mod action_seal;
pub(crate) mod answer;
mod inspect;

pub(crate) mod body;
pub(crate) mod carried;
pub(crate) mod denial_review;
pub mod error;
pub(crate) mod expectation;
pub(crate) mod failure_log;
pub(crate) mod recording;
pub mod request_problem;
pub(crate) mod token_flow;
