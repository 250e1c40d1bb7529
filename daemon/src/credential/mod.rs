//! Where secrets live and how they come and go.
//!
//! A [`Store`] keeps secrets: [`keychain`], [`vault`] or [`memory`]. Its calls may block for as long as a person looks
//! at a dialogue, so they run on the [`thread`] of their own, with a deadline, and never in a request's way.
//!
//! Other tokens have an [`origin`]: a [`file`], or a [`command`] whose output is [`printed`], with ready-made ones among
//! the [`preset`]s; or they were taken from the [`environment`]. A [`refresher`] asks for them again before their
//! [`lifetime`] ends.
//!
//! What requests use is in memory: a [`keeper`] has each credential on a [`shelf`], from which its [`generation`]s go into
//! the [`slot`] of every registry that uses it, and a [`guard`] keeps one that the registry rejects from being sent again and again.

pub mod source;
pub mod store;

pub(crate) mod generation;
pub(crate) mod keeper;
pub(crate) mod shelf;
pub(crate) mod slot;

mod circuit_breaker;
pub(crate) mod fingerprint;
mod lifetime;
mod refresher;
