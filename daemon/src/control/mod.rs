//! The control side: what `regauthctl` can ask for.
//!
//! [`server`] listens on the Unix socket and frames lines; [`dispatch`] has one exhaustive match. The verbs are written on
//! the [`registrar`], which alone changes the configuration, the ledger, the store and the routes: [`add`], [`remove`],
//! [`rotate`] (with verify), [`grants`], [`show`] and [`life`]. [`supply`] gets a new registry's first token from its
//! source, [`probe`] asks a registry what it thinks of one.

pub mod registrar;

mod add;
mod grants;
mod life;
mod probe;
mod remove;
mod rotate;
mod show;
mod supply;

pub mod dispatch;
pub mod server;
