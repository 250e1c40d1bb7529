//! `regauthd`: a local daemon that attaches registry credentials to requests for the registries you configured, and to
//! nothing else.
//!
//! In reading order: what things are ([`host`], [`registry`]), who may do what ([`policy`], [`grant`]), how a person says so
//! ([`config`]); where secrets live ([`credential`]) and what vouches for us to clients ([`authority`]); the data path
//! ([`proxy`], whose first page is the life of a request); the control side (`control`). [`home`], [`ledger`],
//! [`state`] and [`atomic`] keep the files. [`daemon`] starts it all and ends it all: on [`sockets`] of its own or passed
//! ones, with a [`service`] manager that wants to know, and [`logs`]; [`process`] is what a process with secrets does first.

#![cfg_attr(
    test,
    allow(
        clippy::too_many_lines,
        clippy::unwrap_used,
        reason = "a table is as long as its cases; clippy takes only functions marked #[test] for tests"
    )
)]

pub mod host;
pub mod registry;

pub mod grant;
pub mod policy;

pub mod config;

pub mod credential;

pub mod authority;

pub mod proxy;

mod control;

pub mod atomic;
pub mod home;
pub mod inherited_sockets;
pub mod journal;
pub mod schema;

pub mod daemon;
pub mod logs;
pub mod process;
pub mod service;

pub use daemon::{Daemon, Options};
