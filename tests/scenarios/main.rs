//! The scenarios: one test binary, one file a surface. A test's name is a claim about what people get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a scenario fails loudly"
)]

mod bad_input;
mod builds;
mod keychain;
mod kill;
mod leaks;
mod restart;
mod rotation;
mod start;
mod streams;
mod tunnel;
mod vault;
mod without_regauth;
