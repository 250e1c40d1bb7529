//! The latest requests of the selected row, in the detail pane.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Paragraph;
use regauth_shared::event::{Event, Exchange};

use super::columns::{self, Column};
use super::theme::Theme;
use super::{clients, units};
use crate::change_text::NO_ANSWER;
use crate::output;
use crate::relative_time::time_of_day;
use crate::top::model::Model;

/// Draws the requests.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme) {
    let offset = model.detail.unwrap_or_default();
    let exchanges = model.latest.iter().filter_map(Request::of);
    let rows: Vec<_> = exchanges.skip(offset).collect();
    if rows.is_empty() {
        frame.render_widget(
            Paragraph::new("no requests since the daemon's start").style(theme.faint()),
            area,
        );
        return;
    }
    columns::draw(frame, area, &columns(), &rows, theme, (theme, None));
}

struct Request<'a> {
    time: u64,
    exchange: &'a Exchange,
}

impl<'a> Request<'a> {
    fn of(event: &'a Event) -> Option<Self> {
        Some(Self {
            time: event.time,
            exchange: event.kind.exchange()?,
        })
    }
}

/// The columns; a function, since the rows borrow from the model.
fn columns<'a>() -> [Column<Request<'a>, Theme>; 12] {
    [
        Column::text("UTC", 8, 8, 2, |row, _, _| plain(time_of_day(row.time))),
        Column::text("METHOD", 6, 8, 3, |row, _, _| {
            plain(row.exchange.method.clone().unwrap_or_else(|| "-".to_owned()))
        }),
        Column::text("STATUS", 9, 9, 0, status),
        Column::text("REFUSAL", 16, 22, 8, |row, theme, _| {
            (row.exchange.code.clone().unwrap_or_default(), theme.warning())
        }),
        Column::text("PATH", 18, 120, 1, |row, _, width| {
            let path = row.exchange.path.as_deref().unwrap_or_default();
            plain(output::cut_start(path, usize::from(width)))
        }),
        Column::number("TOTAL", 6, 4, |row, _, _| plain(units::micros(row.exchange.total_us))),
        Column::number("OWN", 6, 6, |row, _, _| {
            plain(units::optional_micros(row.exchange.own_us))
        }),
        Column::number("DOWN", 7, 7, |row, _, _| plain(units::bytes(row.exchange.bytes_down))),
        Column::number("UP", 7, 10, |row, _, _| plain(units::bytes(row.exchange.bytes_up))),
        Column::text("PROGRAM", 10, 20, 5, |row, theme, _| {
            (row.exchange.client.name(), theme.name())
        }),
        Column::number("PID", 7, 9, |row, _, _| plain(clients::pid(&row.exchange.client))),
        Column::text("CONNECTION", 10, 10, 11, |row, _, _| {
            let text = match row.exchange.reused {
                Some(true) => "reused",
                Some(false) => "opened",
                None => "-",
            };
            plain(text.to_owned())
        }),
    ]
}

fn status(row: &Request<'_>, theme: &Theme, _: u16) -> (String, Style) {
    let exchange = row.exchange;
    let status = exchange
        .status
        .map_or_else(|| NO_ANSWER.to_owned(), |status| status.to_string());
    let style = match (&exchange.code, exchange.status) {
        (Some(_), _) => theme.warning(),
        (None, Some(200..400)) => theme.good(),
        (None, _) => theme.bad(),
    };
    (status, style)
}

fn plain(text: String) -> (String, Style) {
    (text, Style::new())
}
