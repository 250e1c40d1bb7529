//! Colours: a few of the terminal's own 16, which suit its background, light or dark. None with `NO_COLOR`.

use ratatui::style::{Color, Modifier, Style};

/// Styles of the view.
#[derive(Clone, Copy, Debug)]
pub(in crate::top) struct Theme {
    is_coloured: bool,
    is_static: bool,
}

impl Theme {
    /// Colours, unless the environment variable `NO_COLOR` is set and not empty (no-color.org).
    pub(in crate::top) fn from_environment() -> Self {
        Self {
            is_coloured: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            is_static: false,
        }
    }

    /// Colours, whatever the environment says.
    #[cfg(test)]
    pub(super) fn coloured() -> Self {
        Self {
            is_coloured: true,
            is_static: false,
        }
    }

    /// No colours.
    #[cfg(test)]
    pub(super) fn colourless() -> Self {
        Self {
            is_coloured: false,
            is_static: false,
        }
    }

    /// No colours and no selection, for a frame that is printed.
    pub(super) fn printed() -> Self {
        Self {
            is_coloured: false,
            is_static: true,
        }
    }

    /// True if the selected row is marked.
    pub(super) fn marks_selection(self) -> bool {
        !self.is_static
    }

    /// Style of headings.
    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Style of names that matter most.
    pub(super) fn name(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// Style of what is as it should be.
    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// Style of what a person should look at.
    pub(super) fn warning(self) -> Style {
        self.colour(Color::Yellow)
    }

    /// Style of what does not work.
    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Style of labels.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Style of the selected row, over its cells' own.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn colour(self, colour: Color) -> Style {
        if self.is_coloured {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}
