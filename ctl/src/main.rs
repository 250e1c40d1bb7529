//! Entry point of `regauthctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    regauthctl::regauthctl()
}
