//! `regauthd`: a local proxy that attaches registry credentials to requests for the configured registries, and to no
//! others.
//!
//! # Two halves
//!
//! The **data path** ([`proxy`]) serves clients on worker threads. It reads the current routes and credentials, which
//! are replaced atomically, and never waits for a store. Only a request without a usable token waits for its file or
//! command source. The **control side** (`control`) serves `regauthctl` on the main thread. Its verbs change the
//! configuration, the store, the journal and the authorities, then publish new routes and credentials. A lock on the
//! state makes each change consistent, and is released while a store is called.
//!
//! # Reading order
//!
//! 1. Values without I/O: [`host`], [`registry`], [`policy`], [`grant`], and [`config`], which reads and edits
//!    `config.toml`.
//! 2. Secrets and trust: [`credential`] (generations, sources, stores) and [`authority`] (certificates for intercepted
//!    hosts).
//! 3. Reports: `events`, one stream of what happens. The data path: [`proxy`]; its module page has the picture.
//! 4. The control side: `control`.
//! 5. The record of events on disk: [`audit`].
//! 6. Files: [`home`] (folders, lock), [`journal`], [`schema`], [`atomic`].
//! 7. The process: [`daemon`] starts and stops everything; [`inherited_sockets`], [`service`], [`logs`] and [`process`]
//!    are its connections to the system.
//!
//! ARCHITECTURE.md has the map, the life of a request, of a rotation and of `add-registry`, and the glossary.
//!
//! # Public items
//!
//! The crate is not published, and its interface is not stable. Items are public for these users in the workspace:
//!
//! - The binary `regauthd` uses [`Daemon`], [`Options`], [`process`], [`logs`] and [`inherited_sockets`].
//! - Tests in `daemon/tests/` use [`authority`] and [`credential`]. The harness in `tests/` runs the binary.
//! - Benchmarks in `tests/bench/` use [`Daemon`], [`host`], [`policy`], [`proxy`] and [`registry`].
//! - Fuzz targets in `fuzz/` use the parsers: [`config`], [`grant`], [`journal`], [`policy`], [`proxy`] and
//!   [`credential`].

#![cfg_attr(
    test,
    allow(
        clippy::too_many_lines,
        clippy::unwrap_used,
        reason = "a table is as long as its cases; clippy recognises only functions marked #[test] as tests"
    )
)]

pub mod host;
pub mod registry;

mod bearer;
pub mod deadline;
pub mod grant;
pub mod policy;
pub mod signed_grant;
pub mod workload;

pub mod config;

pub mod credential;

mod configured_file;
mod crypto;
mod file_stamp;
mod file_watch;

pub mod authority;

mod events;

pub mod proxy;

mod control;

pub mod audit;

pub mod atomic;
pub mod guarded;
pub mod hand_over;
pub mod home;
pub mod inherited_sockets;
pub mod journal;
pub mod schema;

pub mod daemon;
pub mod logs;
pub mod process;
pub mod service;

pub use daemon::{Daemon, Options};
