//! Draws a [`Model`]. Pure: the time is an argument, and nothing here reads or writes.
//!
//! From top to bottom: `header` (the daemon, and what is wrong with it), a table (`registries`, `clients`), `panel` (all
//! facts about the selected row), `requests` (the latest ones, in the detail pane), `footer` (the keys). `columns` chooses
//! the columns that fit; `units` formats numbers; `theme` has the colours.

mod clients;
mod columns;
mod footer;
mod header;
mod help;
mod panel;
mod registries;
mod requests;
mod theme;
mod units;

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::widgets::{Paragraph, Wrap};
use time::OffsetDateTime;

use super::model::{Model, Tab};
pub(super) use theme::Theme;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, theme: &Theme, now: OffsetDateTime) {
    let area = frame.area();
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        draw_too_small(frame, area);
        return;
    }
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(header::HEIGHT),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    header::draw(frame, top, model, theme, now);
    footer::draw(frame, bottom, model, theme);
    if model.shows_help {
        help::draw(frame, middle, theme);
    } else if model.detail.is_some() {
        draw_detail(frame, middle, model, theme, now);
    } else {
        draw_table(frame, middle, model, theme, now);
    }
}

/// One frame as text, as wide as `width` and as long as it needs to be: both tables.
pub(super) fn page(model: &Model, width: u16, now: OffsetDateTime) -> String {
    let theme = Theme::printed();
    let rows = |count: usize| u16::try_from(count.max(1)).unwrap_or(u16::MAX).min(MAX_PAGE_ROWS) + 1;
    let heights = [
        header::HEIGHT,
        rows(model.registry_rows().len()),
        1,
        rows(model.client_rows().len()),
    ];
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, heights.iter().sum()));
    let Ok(drawn) = terminal.draw(|frame| {
        let [top, registries, _, clients] = Layout::vertical(heights.map(Constraint::Length)).areas(frame.area());
        header::draw(frame, top, model, &theme, now);
        registries::draw(frame, registries, model, &theme, now);
        clients::draw(frame, clients, model, &theme, now);
    });
    to_text(drawn.buffer)
}

/// Text of a buffer, without blanks at the ends of lines.
pub(super) fn to_text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let lines = buffer.content().chunks(width).map(|cells| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, now: OffsetDateTime) {
    let panel = if area.height >= panel::HEIGHT + MIN_TABLE {
        panel::HEIGHT
    } else {
        0
    };
    let [table, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(panel)]).areas(area);
    match model.tab {
        Tab::Registries => registries::draw(frame, table, model, theme, now),
        Tab::Clients => clients::draw(frame, table, model, theme, now),
    }
    if panel > 0 {
        panel::draw(frame, below, model, theme, now);
    }
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, now: OffsetDateTime) {
    let panel = if area.height >= panel::HEIGHT + 2 {
        panel::HEIGHT
    } else {
        0
    };
    let [above, list] = Layout::vertical([Constraint::Length(panel), Constraint::Fill(1)]).areas(area);
    if panel > 0 {
        panel::draw(frame, above, model, theme, now);
    }
    requests::draw(frame, list, model, theme);
}

fn draw_too_small(frame: &mut Frame<'_>, area: Rect) {
    let text = format!(
        "This terminal has {} columns and {} lines. top needs {MIN_WIDTH} and {MIN_HEIGHT}. q quits.",
        area.width, area.height
    );
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

const MIN_WIDTH: u16 = 40;
const MIN_HEIGHT: u16 = 8;
/// Lines of a table that the panel leaves: the heading and three rows.
const MIN_TABLE: u16 = 4;
const MAX_PAGE_ROWS: u16 = 200;

#[cfg(test)]
mod tests;
