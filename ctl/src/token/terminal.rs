//! Terminal without echo while a secret is typed, also for what is pasted after it.

use std::fs::File;
use std::io::{self, Read, Write};

use rpassword::ConfigBuilder;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use secrecy::zeroize::Zeroizing;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Terminal without echo, which gives each key at once, until this is dropped.
///
/// rpassword would change the modes too, and its change could follow the one of the thread that ends the process at a signal.
/// So it only reads here.
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
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        restore_on_signal(terminal.try_clone()?, before.clone())?;
        let echo = Self { terminal, before };
        echo.set(1, 0)?;
        Ok(echo)
    }

    /// Shows the prompt, and reads a line with its corrections by Backspace and the like. Ctrl-C ends the process.
    ///
    /// # Errors
    /// The terminal was closed.
    pub(super) fn read_line(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        (&self.terminal).write_all(prompt.as_bytes())?;
        let input = ConfigBuilder::new().input_reader(self.terminal.try_clone()?);
        let line = rpassword::read_password_with_config(input.output_discard().build()).map(Zeroizing::new);
        (&self.terminal).write_all(b"\n")?;
        line
    }

    /// Turns echo off. A read waits for `minimum` bytes, and for at most `tenths` of a second if that is not zero. Lines of any
    /// length can be read so: those of canonical mode end at 4095 bytes.
    fn set(&self, minimum: u8, tenths: u8) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        modes.special_codes[SpecialCodeIndex::VMIN] = minimum;
        modes.special_codes[SpecialCodeIndex::VTIME] = tenths;
        // A process that is stopped, or dumps core, would leave the terminal as it is now.
        modes.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
        modes.special_codes[SpecialCodeIndex::VQUIT] = DISABLED;
        tcsetattr(&self.terminal, OptionalActions::Now, &modes)?;
        Ok(())
    }

    /// Reads and drops input that follows the line of the secret, and returns true if it has more than white space.
    ///
    /// A pasted text with several lines arrives at once. Its later lines would be commands of the shell, shown and kept in
    /// its history.
    ///
    /// # Errors
    /// The terminal was closed.
    pub(super) fn drop_pending_input(&self) -> io::Result<bool> {
        self.set(0, PASTE_GAP)?;
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

/// Value of a special code without a key (POSIX, `_POSIX_VDISABLE`).
const DISABLED: u8 = if cfg!(target_os = "linux") { 0 } else { 0xff };
/// Longest time between two parts of a pasted text, in tenths of a second.
const PASTE_GAP: u8 = 1;
