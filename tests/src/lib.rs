//! The harness: real parts, started on free ports below temporary folders and ended with their test.
//!
//! In reading order: [`poll`], [`process`] and [`client`] are what everything stands on; [`certificates`] and [`nginx`]
//! with its [`gate`] make an HTTPS origin; [`crates`], [`shelf`], [`api`], [`git_backend`] and [`registry`] make a
//! private registry, [`git_server`] a private git host, [`pypi_server`] and [`npm_server`] what their names say;
//! [`honeypot`] is a stranger that records what it is sent, both by [`serve`]; [`cargo`], [`git`] and [`curl`] are the
//! clients, [`storm`] is a thousand at once, a [`herd`] asks again and again, and [`hand`] is the person who sets them up,
//! at a [`terminal`] where one is needed; [`network`] is a network with names of its own; [`keyring`] is the desktop's
//! keychain, [`items`] what a store keeps, [`random`] the moment of a kill; [`daemon`] and [`ctl`] are regauth itself, from
//! [`programs`], started by a [`manager`] or by the real [`systemd`] where a test is about that; [`leaks`] looks for
//! secrets where none may be. The harness asserts nothing of its own: the scenarios do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a harness fails loudly"
)]

pub mod api;
pub mod cargo;
pub mod certificates;
pub mod client;
pub mod crates;
pub mod ctl;
pub mod curl;
pub mod daemon;
pub mod gate;
pub mod git;
pub mod git_backend;
pub mod git_server;
pub mod hand;
pub mod herd;
pub mod honeypot;
pub mod items;
pub mod keyring;
pub mod leaks;
pub mod manager;
#[cfg(target_os = "linux")]
pub mod network;
pub mod nginx;
pub mod npm_server;
pub mod poll;
pub mod process;
pub mod programs;
pub mod pypi_server;
pub mod random;
pub mod raw;
pub mod recorder;
pub mod registry;
pub mod serve;
pub mod shelf;
pub mod storm;
pub mod systemd;
pub mod terminal;
