//! `regauthctl`, which adds and removes registries and rotates tokens in a running `regauthd`, and its small sister
//! `cargo-credential-regauth`.
//!
//! In reading order: `cli` turns arguments into one of the `commands`; a command may ask for a `token`, at the
//! `terminal` or elsewhere; it asks the daemon through the `client`; `output` says what came of it. What goes wrong is
//! one form from end to end, the protocol's `ErrorBody`; `error` makes those that arise here. `provider` is what cargo
//! asks for a token, and gets a placeholder from. `setup` edits the configuration of clients, and `environment` is what
//! they can be told instead, in the words of a `shell`; both are made of `facts`. `import` finds tokens in clients' files;
//! `service` hands the daemon to systemd or launchd; where a `program` lies is asked in one place;
//! `presets` knows the registries that people have, and the `interview` asks for the rest; what an `index` says of itself
//! is read where the daemon cannot; `run` needs a `private` daemon and the `reexec` that takes its tokens.

mod cli;
mod commands;
mod completion;

mod diff;
mod doctor;
mod environment;
mod facts;
mod import;
mod index;
mod interview;
mod presets;
mod private;
mod program;
mod provider;
mod reexec;
mod service;
mod setup;
mod shell;
mod text_file;
mod user_folders;

mod terminal;
mod token;

mod client;

mod error;
mod moment;
mod output;

use std::process::ExitCode;

/// The program `regauthctl`, from its arguments to its exit code.
pub fn regauthctl() -> ExitCode {
    keep_out_of_core_dumps();
    ExitCode::from(cli::run(std::env::args_os().collect()))
}

/// The program `cargo-credential-regauth`, which cargo starts and ends.
pub fn cargo_credential_regauth() -> ExitCode {
    keep_out_of_core_dumps();
    provider::run()
}

/// A token passes through this process: no core file, and on Linux no debugger of the same user, may hold it. Where
/// the system does not let us, there is nothing to be done about it.
fn keep_out_of_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
