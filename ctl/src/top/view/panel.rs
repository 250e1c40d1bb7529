//! All facts about the selected row: what the table has no room for.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};
use time::OffsetDateTime;

use super::theme::Theme;
use super::{clients, registries, units};
use crate::top::distribution::Percentiles;
use crate::top::model::{Model, Tab};
use crate::top::rows::{ClientRow, RegistryRow};

/// Lines of the panel, its upper border included.
pub(super) const HEIGHT: u16 = 10;

/// Draws the panel.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme, now: OffsetDateTime) {
    let (title, facts) = match model.tab {
        Tab::Registries => match model.selected_registry() {
            Some(row) => (row.name.to_string(), registry(&row, now)),
            None => return,
        },
        Tab::Clients => match model.selected_client() {
            Some(row) => (row.client.name(), client(&row, now)),
            None => return,
        },
    };
    let lines: Vec<_> = facts
        .into_iter()
        .map(|(label, text)| {
            Line::from(vec![
                Span::styled(format!("{label:<12}"), theme.faint()),
                Span::raw(text),
            ])
        })
        .collect();
    let block = Block::new()
        .borders(Borders::TOP)
        .title(Span::styled(format!(" {title} "), theme.name()));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn registry(row: &RegistryRow, now: OffsetDateTime) -> Vec<(&'static str, String)> {
    let until = |time: &Option<String>| time.as_deref().map(|time| units::until(time, now));
    let all = row.connections_opened + row.connections_reused;
    vec![
        ("registry", times(row.registry_time)),
        ("regauthd", times(row.own_time)),
        (
            "traffic",
            format!(
                "requests {}   down {} ({}/s)   up {} ({}/s)",
                units::count(row.requests),
                units::bytes(row.bytes_down),
                units::byte_rate(row.bytes_down_per_second),
                units::bytes(row.bytes_up),
                units::byte_rate(row.bytes_up_per_second),
            ),
        ),
        (
            "connections",
            format!(
                "{} opened, {} of the requests found one open",
                row.connections_opened,
                units::percent(row.connections_reused, all),
            ),
        ),
        (
            "token",
            format!(
                "{}, generation {}   expires {}   renews {}",
                registries::state_name(row.credential),
                row.generation,
                until(&row.expires).map_or_else(|| "-".to_owned(), in_time),
                until(&row.renews).map_or_else(|| "-".to_owned(), in_time),
            ),
        ),
        (
            "writes",
            match (until(&row.writes_open_until), row.writes.as_str()) {
                (Some(time), _) => format!("open for {time}"),
                (None, "allow") => "open".to_owned(),
                (None, _) => "closed".to_owned(),
            },
        ),
        ("trouble", trouble(row, now)),
        ("refused", refusals(row)),
    ]
}

/// `in 4:07`, or `over`.
fn in_time(time: String) -> String {
    match time.as_str() {
        units::OVER => time,
        _ => format!("in {time}"),
    }
}

fn client(row: &ClientRow, now: OffsetDateTime) -> Vec<(&'static str, String)> {
    let client = &row.client;
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        ("program", known(&client.program)),
        ("started by", known(&client.parent)),
        ("folder", known(&client.folder)),
        (
            "client",
            format!(
                "pid {}   user {}   grant {}   workload {}   address {}",
                clients::pid(client),
                client.uid.map_or_else(|| "-".to_owned(), |uid| uid.to_string()),
                known(&client.grant),
                known(&client.workload.as_ref().map(|workload| workload.subject.clone())),
                known(&client.address),
            ),
        ),
        (
            "traffic",
            format!(
                "requests {}   refused {}   down {}   up {}   seen {} ago",
                units::count(row.requests),
                units::count(row.refused),
                units::bytes(row.bytes_down),
                units::bytes(row.bytes_up),
                units::since(&row.last_seen, now),
            ),
        ),
    ]
}

fn times(times: Option<Percentiles>) -> String {
    match times {
        Some(Percentiles { p50, p95, p99 }) => {
            let [p50, p95, p99] = [p50, p95, p99].map(units::micros);
            format!("p50 {p50:<7} p95 {p95:<7} p99 {p99}")
        }
        None => "-".to_owned(),
    }
}

fn refusals(row: &RegistryRow) -> String {
    let listed: Vec<_> = row
        .refusals
        .iter()
        .map(|refusal| format!("{} {}", refusal.name, units::count(refusal.count)))
        .collect();
    if listed.is_empty() {
        "none".to_owned()
    } else {
        listed.join("   ")
    }
}

fn trouble(row: &RegistryRow, now: OffsetDateTime) -> String {
    match &row.trouble {
        None => "none".to_owned(),
        Some(trouble) => match &trouble.at {
            Some(at) => format!("{} ({} ago)", trouble.message, units::since(at, now)),
            None => trouble.message.clone(),
        },
    }
}
