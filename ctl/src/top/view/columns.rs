//! Tables that fit: the most important columns are shown, and those that can grow share what is left.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table, TableState};

use super::theme::Theme;

/// Column of a table whose rows are `R`. `C` is what all cells may look at.
pub(super) struct Column<R, C> {
    /// Heading.
    pub(super) title: &'static str,
    /// Least width.
    pub(super) width: u16,
    /// Widest that it grows.
    pub(super) max_width: u16,
    /// Rank: the columns with the lowest numbers are shown.
    pub(super) rank: u8,
    /// Side that its text is on.
    pub(super) alignment: Alignment,
    /// Text of a cell of a given width.
    pub(super) cell: fn(&R, &C, u16) -> (String, Style),
}

impl<R, C> Column<R, C> {
    /// Column of numbers.
    pub(super) const fn number(
        title: &'static str,
        width: u16,
        rank: u8,
        cell: fn(&R, &C, u16) -> (String, Style),
    ) -> Self {
        Self {
            title,
            width,
            max_width: width,
            rank,
            alignment: Alignment::Right,
            cell,
        }
    }

    /// Column of text.
    pub(super) const fn text(
        title: &'static str,
        width: u16,
        max_width: u16,
        rank: u8,
        cell: fn(&R, &C, u16) -> (String, Style),
    ) -> Self {
        Self {
            title,
            width,
            max_width,
            rank,
            alignment: Alignment::Left,
            cell,
        }
    }
}

/// Draws rows, with the selected one in view.
pub(super) fn draw<R, C>(
    frame: &mut Frame<'_>,
    area: Rect,
    columns: &[Column<R, C>],
    rows: &[R],
    context: &C,
    (theme, selected): (&Theme, Option<usize>),
) {
    let chosen = choose(columns, area.width);
    let line = |text: String, style: Style, column: &Column<R, C>| {
        Cell::from(Line::from(Span::styled(text, style)).alignment(column.alignment))
    };
    let heading = chosen
        .iter()
        .map(|(column, _)| line(column.title.to_owned(), theme.heading(), column));
    let body = rows.iter().map(|row| {
        let cells = chosen.iter().map(|(column, width)| {
            let (text, style) = (column.cell)(row, context, *width);
            line(text, style, column)
        });
        Row::new(cells)
    });
    let table = Table::new(body, chosen.iter().map(|(_, width)| Constraint::Length(*width)))
        .header(Row::new(heading))
        .column_spacing(SPACING)
        .row_highlight_style(theme.selected());
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

/// Columns that fit, in their own order, with their widths.
fn choose<R, C>(columns: &[Column<R, C>], width: u16) -> Vec<(&Column<R, C>, u16)> {
    let mut ranked: Vec<_> = columns.iter().collect();
    ranked.sort_by_key(|column| column.rank);
    let mut left = width + SPACING;
    let mut last = None;
    for column in ranked {
        let Some(after) = left.checked_sub(column.width + SPACING) else {
            break;
        };
        left = after;
        last = Some(column.rank);
    }
    let is_shown = |column: &&Column<R, C>| last.is_some_and(|last| column.rank <= last);
    let mut chosen: Vec<_> = columns
        .iter()
        .filter(is_shown)
        .map(|column| (column, column.width))
        .collect();
    while left > 0 {
        let before = left;
        for (column, width) in &mut chosen {
            if left > 0 && *width < column.max_width {
                *width += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    chosen
}

const SPACING: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column<(), ()>; 3] = [
        Column::text("A", 10, 20, 0, |(), (), _| (String::new(), Style::new())),
        Column::number("B", 5, 2, |(), (), _| (String::new(), Style::new())),
        Column::number("C", 5, 1, |(), (), _| (String::new(), Style::new())),
    ];

    #[test]
    fn shows_the_most_important_columns_and_lets_text_grow() {
        let chosen = |width| -> Vec<_> {
            let chosen = choose(&COLUMNS, width);
            chosen
                .into_iter()
                .map(|(column, width)| (column.title, width))
                .collect()
        };
        assert_eq!(chosen(5), []);
        assert_eq!(chosen(12), [("A", 12)]);
        assert_eq!(chosen(18), [("A", 12), ("C", 5)]);
        assert_eq!(chosen(22), [("A", 10), ("B", 5), ("C", 5)]);
        assert_eq!(chosen(80), [("A", 20), ("B", 5), ("C", 5)]);
    }
}
