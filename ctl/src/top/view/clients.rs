//! The table of clients.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Paragraph;
use regauth_shared::event::Client;
use time::OffsetDateTime;

use super::columns::{self, Column};
use super::theme::Theme;
use super::units;
use crate::top::model::Model;
use crate::top::rows::ClientRow;

/// Values that cells need besides their row.
pub(super) struct Context {
    theme: Theme,
    now: OffsetDateTime,
}

/// Draws the table.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, now: OffsetDateTime) {
    let rows = model.client_rows();
    if rows.is_empty() {
        let text = match (&model.status, model.filter.text.is_empty()) {
            (None, _) => "",
            (_, true) => "no client has sent a request yet",
            (_, false) => "no client passes the filter",
        };
        frame.render_widget(Paragraph::new(text).style(theme.faint()), area);
        return;
    }
    let selected = theme.marks_selection().then(|| model.client_index(&rows));
    let context = Context { theme: *theme, now };
    columns::draw(frame, area, &COLUMNS, &rows, &context, (theme, selected));
}

const COLUMNS: [Column<ClientRow, Context>; 10] = [
    Column::text("PROGRAM", 14, 24, 0, |row, at, _| (row.client.name(), at.theme.name())),
    Column::number("PID", 7, 1, |row, _, _| plain(pid(&row.client))),
    Column::text("GRANT", 10, 10, 4, |row, _, _| {
        let workload = row.client.workload.as_ref().map(|workload| workload.name().to_owned());
        plain(row.client.grant.clone().or(workload).unwrap_or_else(|| "-".to_owned()))
    }),
    Column::number("REQ/S", 6, 2, |row, _, _| plain(units::rate(row.requests_per_second))),
    Column::number("REQUESTS", 8, 3, |row, _, _| plain(units::count(row.requests))),
    Column::number("REFUSED", 7, 5, |row, at, _| match row.refused {
        0 => plain("0".to_owned()),
        refused => (units::count(refused), at.theme.warning()),
    }),
    Column::number("DOWN", 7, 6, |row, _, _| plain(units::bytes(row.bytes_down))),
    Column::number("UP", 7, 8, |row, _, _| plain(units::bytes(row.bytes_up))),
    Column::number("SEEN", 6, 7, |row, at, _| plain(units::since(&row.last_seen, at.now))),
    Column::text("PATH OR ADDRESS", 20, 120, 9, |row, _, _| {
        let client = &row.client;
        plain(
            client
                .program
                .clone()
                .or_else(|| client.address.clone())
                .unwrap_or_default(),
        )
    }),
];

fn plain(text: String) -> (String, Style) {
    (text, Style::new())
}

/// Process id of a client.
pub(super) fn pid(client: &Client) -> String {
    client.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())
}
