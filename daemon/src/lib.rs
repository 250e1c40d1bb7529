//! `regauthd`.

pub mod atomic;
pub mod host;
pub mod policy;
pub mod registry;

pub mod authority;
pub mod config;
pub mod credential;
