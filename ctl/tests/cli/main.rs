//! The real binary against a peer that follows a script. One file a surface; the peer's lines come from the protocol's
//! golden files.

#![allow(clippy::unwrap_used, reason = "clippy takes only functions marked #[test] for tests")]

mod peer;

mod answers;
mod daemon;
mod help;
#[cfg(target_os = "linux")]
mod terminal;
mod tokens;
