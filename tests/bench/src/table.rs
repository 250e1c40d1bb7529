//! The results as a table: middle values, with the smallest and the largest where there are several, and the ratios.

use crate::contender::DIRECT;
use crate::peers;
use crate::results::{Cell, Goal, Measured, Results, Unit};

/// A table in Markdown, aligned for the terminal as well.
pub(crate) fn markdown(results: &Results) -> String {
    let lines = lines(results);
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text += &format!("|-{}-|\n", rules.join("-|-"));
        }
    }
    text
}

fn lines(results: &Results) -> Vec<Vec<String>> {
    let names = results.names();
    let ours: Vec<&str> = names.iter().copied().filter(|name| is_ours(name)).collect();
    let mut head = vec![String::new()];
    head.extend(names.iter().map(|name| (*name).to_owned()));
    for name in &ours {
        head.extend([
            format!("{name} ÷ direct"),
            format!("{name} ÷ best peer"),
            "to reach".to_owned(),
        ]);
    }
    let body = results.rows().iter().map(|measured| {
        let mut line = vec![measured.row.title.to_owned()];
        line.extend(names.iter().map(|name| shown(measured, name)));
        line.extend(ours.iter().flat_map(|name| compared(measured, name)));
        line
    });
    std::iter::once(head).chain(body).collect()
}

fn is_ours(name: &str) -> bool {
    name != DIRECT && !peers::NAMES.contains(&name)
}

fn shown(measured: &Measured, name: &str) -> String {
    let cell = measured.cells.iter().find(|cell| cell.name == name);
    cell.map_or_else(|| "–".to_owned(), |cell| cell.shown(measured.row.unit))
}

/// The ratio to no proxy, the ratio to the best peer, and what should be reached.
fn compared(measured: &Measured, name: &str) -> [String; 3] {
    let Some(value) = measured.median(name) else {
        return std::array::from_fn(|_| String::new());
    };
    let ratio = |other: Option<f64>| {
        let other = other.filter(|other| *other > 0.0);
        other.map_or_else(String::new, |other| format!("{:.2}", value / other))
    };
    [
        ratio(measured.median(DIRECT)),
        ratio(measured.best_peer()),
        verdict(measured, value),
    ]
}

fn verdict(measured: &Measured, value: f64) -> String {
    let goals = measured.row.goals;
    let reached: Vec<bool> = goals.iter().filter_map(|goal| measured.reaches(*goal, value)).collect();
    let words: Vec<String> = goals.iter().map(|goal| goal.words(measured.row.unit)).collect();
    let mark = match reached.as_slice() {
        [] => "",
        some if some.contains(&true) => " ✓",
        _ => " ✗",
    };
    format!("{}{mark}", words.join(" or "))
}

impl Goal {
    fn words(self, unit: Unit) -> String {
        let sign = if unit.more_is_better() { "≥" } else { "≤" };
        match self {
            Self::Value(limit) => format!("{sign} {}", unit.shown(limit)),
            Self::Direct(factor) => format!("{sign} {factor} × direct"),
            Self::BestPeer(factor) => format!("{sign} {factor} × peer"),
        }
    }
}

impl Cell {
    fn shown(&self, unit: Unit) -> String {
        let median = unit.shown(self.median());
        let least = self
            .values
            .iter()
            .copied()
            .reduce(f64::min)
            .map(|value| unit.shown(value));
        let most = self
            .values
            .iter()
            .copied()
            .reduce(f64::max)
            .map(|value| unit.shown(value));
        match (least, most) {
            (Some(least), Some(most)) if least != most => format!("{median} ({least} – {most})"),
            _ => median,
        }
    }
}

impl Unit {
    /// A value with its unit, to three digits.
    pub(crate) fn shown(self, value: f64) -> String {
        match self {
            Self::Count => format!("{value:.0}"),
            Self::Ratio => format!("{value:.2}"),
            Self::Rate => scaled(value, &[(1e3, "k/s"), (1.0, "/s")]),
            Self::Throughput => scaled(value, &[(1e9, "GB/s"), (1e6, "MB/s")]),
            Self::Seconds => scaled(value, &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")]),
            Self::Bytes => scaled(value, &[(1048576.0, "MiB"), (1024.0, "KiB")]),
            Self::FileBytes => scaled(value, &[(1e6, "MB")]),
        }
    }

    /// What values are counted in.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Count | Self::Ratio => "1",
            Self::Rate => "1/s",
            Self::Throughput => "B/s",
            Self::Seconds => "s",
            Self::Bytes | Self::FileBytes => "B",
        }
    }
}

/// In the largest unit that leaves something before the point.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fitting = units.iter().find(|(size, _)| value >= *size);
    let (size, symbol) = fitting.or(units.last()).copied().unwrap_or((1.0, ""));
    let number = value / size;
    let digits = if number >= 100.0 {
        0
    } else {
        1 + usize::from(number < 10.0)
    };
    format!("{number:.digits$} {symbol}")
}
