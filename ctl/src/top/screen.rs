//! The terminal: raw mode and the alternate screen, given back when the [`Screen`] is dropped and on a panic.

use std::io;

use ratatui::DefaultTerminal;
use ratatui::Frame;

/// Terminal that `top` draws on.
#[derive(Debug)]
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The terminal's mode cannot be changed; it is as before then.
    pub(super) fn open() -> io::Result<Self> {
        // Installs a panic hook as well: a message on the alternate screen would be lost.
        ratatui::try_init().map(Self).inspect_err(|_| {
            let _ = ratatui::try_restore();
        })
    }

    /// Draws one frame.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(view).map(drop)
    }

    /// Forgets what is on the terminal, so that the next frame is drawn in full.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.0.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Errors are ignored: without a terminal there is nothing to give back.
        let _ = ratatui::try_restore();
        let _ = self.0.show_cursor();
    }
}
