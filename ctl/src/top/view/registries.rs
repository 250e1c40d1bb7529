//! The table of registries.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Paragraph;
use regauth_shared::response::CredentialState;
use time::OffsetDateTime;

use super::columns::{self, Column};
use super::theme::Theme;
use super::units;
use crate::own_commands::with_flags;
use crate::top::distribution::Percentiles;
use crate::top::model::Model;
use crate::top::rows::RegistryRow;

/// Values that cells need besides their row.
pub(super) struct Context {
    theme: Theme,
    now: OffsetDateTime,
}

/// Draws the table.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, now: OffsetDateTime) {
    let rows = model.registry_rows();
    if rows.is_empty() {
        frame.render_widget(
            Paragraph::new(with_flags(without_rows(model))).style(theme.faint()),
            area,
        );
        return;
    }
    let selected = theme.marks_selection().then(|| model.registry_index(&rows));
    let context = Context { theme: *theme, now };
    columns::draw(frame, area, &COLUMNS, &rows, &context, (theme, selected));
}

fn without_rows(model: &Model) -> &'static str {
    match &model.status {
        None => "",
        Some(status) if status.registries == 0 => {
            "no registries yet; add one: regauthctl add-registry NAME --index URL"
        }
        Some(_) => "no registry passes the filter",
    }
}

/// Titles of all columns.
#[cfg(test)]
pub(super) fn titles() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|column| column.title)
}

type Cell = fn(&RegistryRow, &Context, u16) -> (String, Style);

const COLUMNS: [Column<RegistryRow, Context>; 20] = [
    Column::text("REGISTRY", 12, 24, 0, |row, at, _| {
        (row.name.to_string(), at.theme.name())
    }),
    Column::number("REQ/S", 6, 1, |row, _, _| plain(units::rate(row.requests_per_second))),
    Column::text("LATELY", 10, 60, 8, |row, at, width| {
        (sparkline(&row.history, width), at.theme.good())
    }),
    Column::number("ACTIVE", 6, 4, |row, _, _| plain(units::count(row.in_flight))),
    Column::number("P50", 6, 7, |row, _, _| time(row.registry_time, |times| times.p50)),
    Column::number("P95", 6, 2, |row, _, _| time(row.registry_time, |times| times.p95)),
    Column::number("P99", 6, 9, |row, _, _| time(row.registry_time, |times| times.p99)),
    Column::number("OWN P50", 7, 14, |row, _, _| time(row.own_time, |times| times.p50)),
    Column::number("OWN P95", 7, 3, |row, _, _| time(row.own_time, |times| times.p95)),
    Column::number("OWN P99", 7, 15, |row, _, _| time(row.own_time, |times| times.p99)),
    Column::number("DOWN/S", 7, 10, |row, _, _| {
        plain(units::byte_rate(row.bytes_down_per_second))
    }),
    Column::number("UP/S", 7, 16, |row, _, _| {
        plain(units::byte_rate(row.bytes_up_per_second))
    }),
    Column::number("REFUSED", 7, 5, REFUSED),
    Column::number("CONNS", 5, 17, |row, _, _| plain(units::count(row.connections_opened))),
    Column::number("REUSED", 6, 18, |row, _, _| {
        let all = row.connections_opened + row.connections_reused;
        plain(units::percent(row.connections_reused, all))
    }),
    Column::number("GEN", 4, 12, |row, _, _| plain(row.generation.to_string())),
    Column::number("EXPIRES", 7, 6, EXPIRES),
    Column::number("RENEWS", 6, 13, |row, at, _| {
        plain(
            row.renews
                .as_deref()
                .map_or("-".to_owned(), |renews| units::until(renews, at.now)),
        )
    }),
    Column::number("WRITES", 6, 11, WRITES),
    Column::text("TROUBLE", 20, 80, 19, TROUBLE),
];

const REFUSED: Cell = |row, at, _| match row.refused {
    0 => plain("0".to_owned()),
    refused => (units::count(refused), at.theme.warning()),
};

const EXPIRES: Cell = |row, at, _| match (row.credential, &row.expires) {
    (CredentialState::Ready, Some(expires)) => plain(units::until(expires, at.now)),
    (CredentialState::Ready, None) => plain("-".to_owned()),
    (state, _) => (state_name(state).to_owned(), at.theme.bad()),
};

const WRITES: Cell = |row, at, _| match &row.writes_open_until {
    Some(until) => (units::until(until, at.now), at.theme.warning()),
    None if row.writes == "allow" => plain("open".to_owned()),
    None => plain("closed".to_owned()),
};

const TROUBLE: Cell = |row, at, _| match &row.trouble {
    Some(trouble) => {
        let style = if trouble.is_present {
            at.theme.bad()
        } else {
            at.theme.warning()
        };
        let ago = trouble
            .at
            .as_deref()
            .map(|time| format!(", {} ago", units::since(time, at.now)));
        (format!("{}{}", trouble.message, ago.unwrap_or_default()), style)
    }
    None => plain("-".to_owned()),
};

fn plain(text: String) -> (String, Style) {
    (text, Style::new())
}

fn time(times: Option<Percentiles>, which: fn(Percentiles) -> u64) -> (String, Style) {
    plain(units::optional_micros(times.map(which)))
}

/// Name of a credential's state that fits in seven columns.
pub(super) fn state_name(state: CredentialState) -> &'static str {
    match state {
        CredentialState::Ready => "ready",
        CredentialState::Rejected => "reject",
        CredentialState::Expired => "expired",
        CredentialState::Locked => "locked",
        CredentialState::Unreadable => "damaged",
        CredentialState::Missing => "missing",
        _ => "unknown",
    }
}

/// The last values as bars, the newest at the right. The highest of them has the full height.
pub(super) fn sparkline(history: &[f64], width: u16) -> String {
    let shown = history
        .get(history.len().saturating_sub(usize::from(width))..)
        .unwrap_or_default();
    let highest = shown.iter().copied().fold(0.0, f64::max);
    let bars: String = shown.iter().map(|value| bar(*value, highest)).collect();
    format!("{bars:>0$}", usize::from(width))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the part is between 0 and 1"
)]
fn bar(value: f64, highest: f64) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if value <= 0.0 || highest <= 0.0 {
        return ' ';
    }
    let index = (value / highest * 8.0).ceil() as usize;
    BARS.get(index.clamp(1, 8) - 1).copied().unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_is_at_the_right_and_the_highest_is_full() {
        assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0], 5), "  ▁▄█");
        assert_eq!(sparkline(&[9.0, 0.5, 1.0], 2), "▄█");
        assert_eq!(sparkline(&[], 3), "   ");
        assert_eq!(sparkline(&[0.0, 0.0], 3), "   ");
    }
}
