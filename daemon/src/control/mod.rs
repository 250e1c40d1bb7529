//! The control side: it answers `regauthctl` on the Unix socket.
//!
//! In the order of a request: [`server`] accepts and frames lines, [`dispatch`] has one exhaustive match, [`verbs`] has one
//! file for each verb or pair of verbs. A verb works on the [`controller`]: it checks the request, asks registries and
//! sources with [`probe`] and [`new_registry`], has a [`widening`] permitted, then changes and publishes the [`state`].
//! [`error`] turns errors of stores and files into answers.
//!
//! [`presence`] has a person permit what widens where a token goes or what it may do; [`review`] compares a changed configuration
//! for the question. [`watch`] streams events to viewers,
//! [`audit_files`] hands out the audit record, and [`metrics`] serves counters over HTTP.
//!
//! [`maintenance`] has the tasks that run without a request. [`token_check`] asks registries on behalf of the data path.
//! [`problems`] lists what a person should fix, and [`certificate_files`] reads the configured certificate files again for it.

pub(crate) mod dispatch;
pub(crate) mod presence;
pub(crate) mod server;
mod user_places;

mod audit_files;
pub(crate) mod metrics;
pub(crate) mod verbs;
mod watch;

mod archives;
mod certificate_files;
pub(crate) mod maintenance;
mod new_registry;
#[cfg(target_os = "linux")]
pub(crate) mod notifications;
mod probe;
mod problems;
mod review;
pub(crate) mod token_check;
mod token_service;
mod widening;
mod workload_trust;

pub(crate) mod config_watch;
pub(crate) mod controller;
pub(crate) mod state;

mod error;
