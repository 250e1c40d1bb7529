//! The scenarios: one test binary, one file a surface. A test's name is a claim about what people get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::print_stdout,
    reason = "a scenario fails loudly, tells its story in one piece, and prints what it measured"
)]

mod bad_input;
mod builds;
mod ci;
mod clients;
mod completion;
mod credentials;
mod doctor;
mod endurance;
mod first_steps;
mod hostile;
mod identity;
mod import;
mod keychain;
mod kill;
mod leaks;
mod life;
mod network;
mod packages;
mod packaging;
mod provider;
mod restart;
mod rotation;
mod run;
mod scopes;
mod service;
mod setup;
mod start;
mod store_move;
mod streams;
mod tunnel;
mod vault;
mod without_regauth;
mod writes;
