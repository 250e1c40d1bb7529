//! Entry point of `cargo-credential-regauth`, which cargo starts.

use std::process::ExitCode;

fn main() -> ExitCode {
    regauthctl::cargo_credential_regauth()
}
