//! The scenarios: one test binary, one file a surface. A test's name is a claim about what people get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a scenario fails loudly"
)]

mod builds;
mod doctor;
mod leaks;
mod provider;
mod restart;
mod rotation;
mod run;
mod setup;
mod streams;
mod tunnel;
mod without_regauth;
