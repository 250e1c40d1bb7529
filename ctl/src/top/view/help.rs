//! The help: keys and columns.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::theme::Theme;

/// Draws the help.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, theme: &Theme) {
    let lines = ENTRIES.iter().map(|(key, meaning)| {
        Line::from(vec![
            Span::styled(format!("{key:<10}"), theme.heading()),
            Span::raw(*meaning),
        ])
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

/// At most 21 lines of 80 columns.
const ENTRIES: [(&str, &str); 20] = [
    ("Tab", "registries or clients"),
    ("Enter Esc", "latest requests of the selected row, and back"),
    ("Up Down", "select a row (also j k PageUp PageDown Home End)"),
    ("/", "show only rows with a text; Esc shows all again"),
    ("s r", "sort by the next column; reverse the order"),
    ("t", "times of the last minute, or since the daemon's start"),
    ("p", "pause, and go on"),
    ("q", "quit (also Ctrl-C)"),
    ("", ""),
    ("REQ/S", "requests that ended, a second"),
    ("ACTIVE", "requests in flight"),
    ("P50 P95", "half, or 95 of 100 answers of the registry began sooner"),
    ("OWN", "the same for the time that regauthd itself took"),
    ("DOWN UP", "bytes of answers and of requests"),
    ("REFUSED", "requests that regauthd answered itself"),
    ("CONNS", "connections to the registry that were opened"),
    ("REUSED", "requests that found one open"),
    ("GEN", "generation of the token; it counts rotations"),
    ("RENEWS", "time until regauthd asks the token's source for the next one"),
    ("WRITES", "time until open writes close; `regauthctl allow` opens them"),
];
