//! Tests of the real `regauthctl` against a scripted daemon, whose answers come from the protocol's golden files.
//!
//! `peer` is the scripted daemon; every other file tests one surface.

#![allow(clippy::unwrap_used, reason = "clippy exempts only functions marked #[test]")]

mod peer;

mod answers;
mod daemon;
mod help;
#[cfg(target_os = "linux")]
mod terminal;
mod tokens;
