//! Results as a Markdown table: median, minimum and maximum of each candidate, ratios, goals.

use crate::candidate::DIRECT;
use crate::other_proxies;
use crate::results::{Cell, Goal, Measured, Results, Unit};

/// Formats the results as a Markdown table with aligned columns.
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
    let regauthds: Vec<&str> = names.iter().copied().filter(|name| is_regauthd(name)).collect();
    let mut header = vec![String::new()];
    header.extend(names.iter().map(|name| (*name).to_owned()));
    for name in &regauthds {
        header.extend([
            format!("{name} ÷ direct"),
            format!("{name} ÷ best other"),
            "goal".to_owned(),
        ]);
    }
    let body = results.rows().iter().map(|measured| {
        let mut line = vec![measured.row.title.to_owned()];
        line.extend(names.iter().map(|name| cell_text(measured, name)));
        line.extend(regauthds.iter().flat_map(|name| comparison(measured, name)));
        line
    });
    std::iter::once(header).chain(body).collect()
}

fn is_regauthd(name: &str) -> bool {
    name != DIRECT && !other_proxies::NAMES.contains(&name)
}

fn cell_text(measured: &Measured, name: &str) -> String {
    let cell = measured.cells.iter().find(|cell| cell.name == name);
    cell.map_or_else(|| "–".to_owned(), |cell| cell.format(measured.row.unit))
}

/// Ratio to direct, ratio to the best other proxy, and the goals.
fn comparison(measured: &Measured, name: &str) -> [String; 3] {
    let Some(value) = measured.median(name) else {
        return std::array::from_fn(|_| String::new());
    };
    let ratio = |other: Option<f64>| {
        let other = other.filter(|other| *other > 0.0);
        other.map_or_else(String::new, |other| format!("{:.2}", value / other))
    };
    [
        ratio(measured.median(DIRECT)),
        ratio(measured.best_other()),
        goals_text(measured, value),
    ]
}

/// Goals of a row, with a mark that says whether the value reaches one of them.
fn goals_text(measured: &Measured, value: f64) -> String {
    let goals = measured.row.goals;
    let reached: Vec<bool> = goals.iter().filter_map(|goal| measured.reaches(*goal, value)).collect();
    let texts: Vec<String> = goals.iter().map(|goal| goal.format(measured.row.unit)).collect();
    let mark = match reached.as_slice() {
        [] => "",
        some if some.contains(&true) => " ✓",
        _ => " ✗",
    };
    format!("{}{mark}", texts.join(" or "))
}

impl Goal {
    fn format(self, unit: Unit) -> String {
        let sign = if unit.more_is_better() { "≥" } else { "≤" };
        match self {
            Self::Value(limit) => format!("{sign} {}", unit.format(limit)),
            Self::Direct(factor) => format!("{sign} {factor} × direct"),
            Self::BestOther(factor) => format!("{sign} {factor} × other"),
        }
    }
}

impl Cell {
    /// Median, then minimum and maximum in parentheses if they differ.
    fn format(&self, unit: Unit) -> String {
        let median = unit.format(self.median());
        let minimum = self
            .values
            .iter()
            .copied()
            .reduce(f64::min)
            .map(|value| unit.format(value));
        let maximum = self
            .values
            .iter()
            .copied()
            .reduce(f64::max)
            .map(|value| unit.format(value));
        match (minimum, maximum) {
            (Some(minimum), Some(maximum)) if minimum != maximum => format!("{median} ({minimum} – {maximum})"),
            _ => median,
        }
    }
}

impl Unit {
    /// Formats a value with its unit and three digits.
    pub(crate) fn format(self, value: f64) -> String {
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

    /// Symbol of the unit in JSON.
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

/// Formats a value in the largest unit in which it is at least 1.
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
