//! Three lines at the top: the daemon and its totals; then what is wrong, or what the times are.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use time::OffsetDateTime;

use super::theme::Theme;
use super::units;
use crate::own_commands::with_flags;
use crate::top::model::{Connection, Model};
use crate::top::rows;

/// Lines of the header.
pub(super) const HEIGHT: u16 = 3;

/// Draws the header.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, now: OffsetDateTime) {
    let lines = vec![totals(model, theme, now), notice(model, theme)];
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), area);
}

fn totals<'a>(model: &Model, theme: &Theme, now: OffsetDateTime) -> Line<'a> {
    let Some(status) = &model.status else {
        return Line::styled("regauth", theme.heading());
    };
    let rows = model.all_registry_rows();
    let rate = rows.iter().map(|row| row.requests_per_second).sum::<Option<f64>>();
    let in_flight: u64 = rows.iter().map(|row| row.in_flight).sum();
    let refused: u64 = rows.iter().map(|row| row.refused).sum::<u64>() + model.refused_elsewhere();
    let store = match status.store.state.as_str() {
        "open" => String::new(),
        state => format!("  {} {state}", status.store.kind),
    };
    Line::from(vec![
        Span::styled(format!("regauthd {}", status.version), theme.heading()),
        Span::styled(store, theme.bad()),
        Span::raw(format!(
            "  up {}  {} req/s  {in_flight} active  {} connections  {} refused",
            units::since(&status.started, now),
            units::rate(rate),
            status.connections,
            units::count(refused),
        )),
    ])
}

fn notice<'a>(model: &Model, theme: &Theme) -> Line<'a> {
    let problem = |text: String| Line::styled(with_flags(&text), theme.bad());
    match &model.connection {
        Connection::Opening => return Line::styled("waiting for the first answer", theme.faint()),
        Connection::Waiting => return problem("daemon not running, waiting".to_owned()),
        Connection::Failing(error) => {
            let hint = error
                .hint
                .as_deref()
                .map_or_else(String::new, |hint| format!("; {hint}"));
            return problem(format!("{}{hint}", error.message));
        }
        Connection::Up => {}
    }
    if model.is_paused {
        return Line::styled("paused: p goes on", theme.warning());
    }
    match model.status.as_ref().map(|status| status.problems.as_slice()) {
        Some([first, rest @ ..]) => {
            let more = match rest.len() {
                0 => String::new(),
                more => format!(" (and {more} more: regauthctl status)"),
            };
            problem(format!("{}; {}{more}", first.message, first.hint))
        }
        _ => Line::styled(times(model), theme.faint()),
    }
}

fn times(model: &Model) -> String {
    let span = match model.span {
        rows::Span::LastMinute => "of the last minute",
        rows::Span::SinceStart => "since the daemon's start",
    };
    let lost = match model.lost() {
        0 => String::new(),
        lost => format!("  {} events lost", units::count(lost)),
    };
    format!("P50 P95 P99: the registry's time; OWN: regauthd's; {span}{lost}")
}
