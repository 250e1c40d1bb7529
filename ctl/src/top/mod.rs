//! `regauthctl top`: a live view of registries and clients.
//!
//! In reading order:
//!
//! - `sample` asks the daemon; `poller` does so once an interval, on a thread of its own.
//! - `window` keeps the samples of the last minute, `distribution` computes percentiles, `rows` turns both into rows.
//! - `model` holds all that is on the screen: samples, selection, filter, order. `keys` changes it. Both are pure.
//! - `view` draws a model. It is pure as well: a test draws into a buffer.
//! - `screen` takes the terminal and gives it back. `live` is the loop. `once` prints one frame.

mod distribution;
mod keys;
mod live;
mod model;
mod once;
mod poller;
mod rows;
mod sample;
#[cfg(test)]
mod samples;
mod screen;
mod view;
mod window;

pub(crate) use live::run;
pub(crate) use once::once;
