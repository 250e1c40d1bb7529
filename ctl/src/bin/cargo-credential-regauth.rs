//! The program `cargo-credential-regauth`.

use std::process::ExitCode;

fn main() -> ExitCode {
    regauthctl::cargo_credential_regauth()
}
