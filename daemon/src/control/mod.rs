//! The control side: what `regauthctl` can ask for.
//!
//! [`server`] listens on the Unix socket and frames lines; [`dispatch`] has one exhaustive match. The verbs are written on
//! the [`registrar`], which alone changes what is served: the [`books`] with the [`services`] and their [`authorities`], the
//! [`files`] and the [`stores`]. What nobody has to ask for is [`unfinished`] business and [`upkeep`].
//!
//! The verbs: [`add`], [`remove`], [`scopes`], [`rotate`], [`verify`], [`writes`], [`grants`], [`show`], [`life`] and
//! [`moving`], which leaves [`copies`] behind. [`description`] reads what a request says of a new registry, [`supply`] gets its
//! first token from its source, and [`probe`] asks a registry what it thinks of one. What goes wrong is told as a
//! [`failure`], with what to do next.

pub(crate) mod registrar;

mod authorities;
pub(crate) mod books;
mod files;
mod services;
pub(crate) mod stores;

mod unfinished;
pub(crate) mod upkeep;

mod add;
mod copies;
mod description;
mod grants;
mod life;
mod moving;
mod probe;
mod remove;
mod rotate;
mod scopes;
mod show;
mod supply;
mod verify;
mod writes;

mod failure;

mod dispatch;
pub(crate) mod server;
