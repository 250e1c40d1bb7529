//! `regauthctl`, the command line of `regauthd`, and `cargo-credential-regauth`, cargo's credential provider.
//!
//! The library exists for those two binaries alone and is not an API for others.
//!
//! In reading order:
//!
//! - `cli` parses the arguments and starts one of the `commands`; each verb is one file.
//! - `token` reads tokens, `paste` finds values in what was pasted, `prompt` asks a person for other values, `presets` knows common registries.
//! - `connect` chooses the daemon, `client` sends it a request after `socket_owner` has checked whose it is, `output` prints
//!   the answer, `own_commands` adds `--home` and `--system` to the commands in it, `progress` shows that something takes long, `text_agent` lets polkit ask in a terminal, `duration` and `relative_time` read and write times. All errors are the protocol's `ErrorBody`; `error` makes those that start in this crate.
//! - `team_file` reads and writes a team's file of definitions.
//! - `setup` edits clients' configuration and `environment` sets their variables in the syntax of a `shell`; both use
//!   `daemon_info`. `doctor` checks the result.
//! - `top` shows live what the daemon does.
//! - `audit` reads the record that the daemon keeps. `event_flags` are the filters of `audit` and `watch`,
//!   and `change_text` has their texts.
//! - `import` moves tokens out of clients' files. `service` installs the daemon in systemd or launchd.
//! - `run` starts an `ephemeral_daemon`, and `reexec` keeps its tokens out of the environment.
//! - `forward` adds a grant to the requests of clients that cannot show one.
//! - `credential_provider` answers cargo. `index` reads a cargo index, `program` finds executables, `user_folders`
//!   finds clients' files, and `text_file` and `diff` change them.

mod cli;
mod commands;
mod company;
mod completion;

mod paste;
mod presets;
mod prompt;
mod proof;
mod token;

mod change_text;
mod client;
mod connect;
mod duration;
mod error;
mod event_flags;
mod output;
mod own_commands;
mod progress;
mod relative_time;
mod socket_owner;
mod text_agent;

mod audit;
mod client_files;
mod daemon_info;
mod doctor;
mod environment;
mod import;
mod recipe;
mod service;
mod setup;
mod shell;
mod team_file;
mod top;

mod ephemeral_daemon;
mod forward;
mod reexec;

mod child_output;
mod credential_provider;
mod diff;
mod index;
mod program;
mod text_file;
mod user_folders;

use std::process::ExitCode;

/// Runs `regauthctl` and returns its exit code.
pub fn regauthctl() -> ExitCode {
    disable_core_dumps();
    ExitCode::from(cli::run(std::env::args_os().collect()))
}

/// Runs `cargo-credential-regauth` until cargo closes its stdin.
pub fn cargo_credential_regauth() -> ExitCode {
    disable_core_dumps();
    credential_provider::run()
}

/// Keeps tokens in this process out of core files and, on Linux, away from debuggers of the same user.
///
/// Errors are ignored: the program is as useful on a system that refuses.
fn disable_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
