//! Asks a person for a secret at the terminal, without echo.

use std::fs::File;
use std::io;

use regauth_shared::ErrorBody;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use secrecy::zeroize::Zeroizing;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::error;

/// What was typed, without the line ending.
///
/// # Errors
/// There is no terminal, or it was closed. Ctrl-C ends the process.
pub(crate) fn ask(prompt: &str) -> Result<Zeroizing<String>, ErrorBody> {
    restore_when_killed().map_err(error::io("cannot use the terminal"))?;
    match rpassword::prompt_password(prompt) {
        Ok(typed) => Ok(Zeroizing::new(typed)),
        Err(error) => {
            if error.kind() == io::ErrorKind::Interrupted {
                let _ = emulate_default_handler(SIGINT);
            }
            Err(error::io("cannot read from the terminal")(error))
        }
    }
}

/// rpassword turns echo off and, at Ctrl-C, raises SIGINT before it turns it on again: whoever dies of that signal, or
/// of another one meanwhile, leaves a terminal where nothing that is typed can be seen.
fn restore_when_killed() -> io::Result<()> {
    let terminal = File::open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
            let _ = emulate_default_handler(signal);
        }
    });
    Ok(())
}
