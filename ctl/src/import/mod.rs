//! Plain-text tokens in the configuration of cargo, git, curl, pip and npm: finds them, and removes imported ones.
//!
//! [`discover()`] runs one scanner per client (`cargo`, `git`, `netrc`, `pip`, `npm`). A scanner reads the client's files
//! and yields the target, the `auth_scheme` and the position of each token. [`compare_with_daemon`] tells which tokens
//! the daemon already has. [`backup`] removes tokens from files, keeps a copy of each file, and restores it.
//!
//! This module shows no token and sends tokens only to the daemon.

mod discover;
mod found;
mod scan;

mod cargo;
mod git;
mod netrc;
mod npm;
mod pip;

mod auth_scheme;
mod git_config;
mod npm_ini;
mod python_ini;
mod url_credentials;

#[cfg(test)]
pub(crate) mod generated;

mod status;

pub(crate) mod backup;

pub(crate) use discover::discover;
pub(crate) use found::{FoundToken, TokenTarget};
pub(crate) use status::{ImportStatus, compare_with_daemon};
