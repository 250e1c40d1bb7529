//! Terminal without echo while a secret is typed, also for what is pasted after it.

use std::fs::File;
use std::io::{self, Read};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use secrecy::zeroize::Zeroizing;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Terminal whose echo is off until this is dropped.
///
/// rpassword restores the state that it finds. So echo is still off between its read and
/// [`drop_pending_input`](Self::drop_pending_input).
pub(super) struct EchoOff {
    terminal: File,
    before: Termios,
}

impl EchoOff {
    /// Turns echo off, and restores it before SIGINT, SIGTERM or SIGHUP ends the process.
    ///
    /// # Errors
    /// There is no terminal.
    pub(super) fn new() -> io::Result<Self> {
        let terminal = File::open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        restore_on_signal(terminal.try_clone()?, before.clone())?;
        let mut without_echo = before.clone();
        without_echo.local_modes.remove(LocalModes::ECHO);
        let echo = Self { terminal, before };
        tcsetattr(&echo.terminal, OptionalActions::Now, &without_echo)?;
        Ok(echo)
    }

    /// Reads and drops input that follows the line of the secret, and returns true if it has more than white space.
    ///
    /// A pasted text with several lines arrives at once. Its later lines would be commands of the shell, shown and kept in
    /// its history.
    ///
    /// # Errors
    /// The terminal was closed.
    pub(super) fn drop_pending_input(&self) -> io::Result<bool> {
        let mut by_byte = self.before.clone();
        // In canonical mode, a last line without its end could not be read.
        by_byte.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        by_byte.special_codes[SpecialCodeIndex::VMIN] = 0;
        by_byte.special_codes[SpecialCodeIndex::VTIME] = PASTE_GAP;
        tcsetattr(&self.terminal, OptionalActions::Now, &by_byte)?;
        let mut buffer = Zeroizing::new([0; 4096]);
        let mut has_text = false;
        loop {
            let length = (&self.terminal).read(buffer.as_mut_slice())?;
            let read = buffer.get(..length).unwrap_or_default();
            has_text |= !read.trim_ascii().is_empty();
            if length == 0 {
                return Ok(has_text);
            }
        }
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// A process that dies of a signal would leave a terminal that does not show what is typed.
fn restore_on_signal(terminal: File, before: Termios) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
            let _ = emulate_default_handler(signal);
        }
    });
    Ok(())
}

/// Longest time between two parts of a pasted text, in tenths of a second.
const PASTE_GAP: u8 = 1;
