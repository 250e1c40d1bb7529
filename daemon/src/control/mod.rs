//! The control side: what `regauthctl` can ask for.
//!
//! [`server`] listens on the Unix socket and frames lines; [`dispatch`] has one exhaustive match. The verbs are written on
//! the [`controller`], which alone changes what is served: the [`books`] with the [`services`] and their [`authorities`], the
//! [`files`] and the [`stores`]. What nobody has to ask for is [`unfinished`] business and [`upkeep`].
//!
//! The verbs: [`add`], [`remove`], [`scopes`], [`rotate`], [`verify`], [`writes`], [`grants`], [`show`], [`life`] and
//! [`moving`], which leaves [`copies`] behind. [`description`] reads what a request says of a new registry, [`supply`] gets its
//! first token from its source, and [`probe`] asks a registry what it thinks of one. What goes wrong is told as a
//! [`failure`], with what to do next.

pub(crate) mod dispatch;
pub(crate) mod server;

pub(crate) mod verbs;

pub(crate) mod controller;
pub(crate) mod state;
pub(crate) mod stores;

mod description;
mod error;
mod initial_token;
pub(crate) mod maintenance;
mod probe;
