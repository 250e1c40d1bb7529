//! The last line: the keys, as many as fit, or the filter while it is typed.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::theme::Theme;
use crate::top::model::{Model, Tab};

/// Draws the footer.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: &Theme) {
    let line = if model.filter.is_edited {
        Line::from(vec![
            Span::styled("filter: ", theme.heading()),
            Span::raw(format!("{}_", model.filter.text)),
            Span::styled("  Enter keeps it, Esc removes it", theme.faint()),
        ])
    } else {
        keys(model, theme, area.width)
    };
    frame.render_widget(Paragraph::new(line), area);
}

/// The most important keys come first; those that do not fit are in the help.
fn keys<'a>(model: &Model, theme: &Theme, width: u16) -> Line<'a> {
    let mut spans = Vec::new();
    let mut left = usize::from(width);
    for (key, label) in labels(model) {
        let length = key.chars().count() + label.chars().count() + 3;
        if length > left + 2 {
            break;
        }
        left = left.saturating_sub(length);
        spans.push(Span::styled(key, theme.heading()));
        spans.push(Span::raw(format!(" {label}  ")));
    }
    Line::from(spans)
}

fn labels(model: &Model) -> Vec<(&'static str, String)> {
    let own = |label: &str| label.to_owned();
    let mut labels = vec![("q", own("quit")), ("?", own("help"))];
    if model.detail.is_some() {
        labels.extend([("Esc", own("back")), ("Up/Down", own("scroll"))]);
    } else {
        let other = match model.tab {
            Tab::Registries => "clients",
            Tab::Clients => "registries",
        };
        let filter = match model.filter.text.as_str() {
            "" => own("filter"),
            text => format!("filter: {text}"),
        };
        labels.extend([
            ("Tab", own(other)),
            ("Enter", own("detail")),
            ("/", filter),
            ("s", format!("sort: {}", model.order_name())),
        ]);
    }
    labels.push(("p", own(if model.is_paused { "go on" } else { "pause" })));
    if model.detail.is_none() {
        labels.push(("r", own("reverse")));
    }
    labels.push(("t", own("times")));
    labels
}
