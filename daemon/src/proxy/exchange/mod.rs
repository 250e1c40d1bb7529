//! One request and its answer: [`request`] is the story, [`rewrite`] changes headers, [`body`] carries bodies with a minimum
//! rate, and [`error`] has every answer that regauthd itself gives.

pub(crate) mod body;
pub mod error;
pub(crate) mod request;
pub mod rewrite;
