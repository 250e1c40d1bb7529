//! The control side: what `regauthctl` can ask for.
//!
//! [`server`] listens on the Unix socket and frames lines; [`dispatch`] has one exhaustive match. The verbs are written on
//! the [`registrar`] (with its [`authorities`] and [`files`]), which alone changes what is served: [`add`], [`remove`],
//! [`scopes`], [`rotate`] (with verify), [`grants`], [`show`], [`life`] and [`moving`]. [`supply`] gets a new registry's first
//! token from its source, [`probe`] asks a registry what it thinks of one.

pub mod registrar;

mod authorities;
mod books;
mod failure;
mod files;
mod services;
mod unfinished;
pub(crate) mod upkeep;

mod add;
mod copies;
mod grants;
mod life;
mod moving;
mod probe;
mod remove;
mod rotate;
mod scopes;
mod show;
mod supply;

pub mod dispatch;
pub mod server;
