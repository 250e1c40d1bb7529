//! Measured values, row by row, with the goal of each row.

use serde_json::{Value, json};

use crate::candidate::DIRECT;
use crate::other_proxies;

/// All measured values.
#[derive(Debug, Default)]
pub(crate) struct Results {
    rows: Vec<Measured>,
}

/// Table row with its measured values.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Row definition.
    pub row: Row,
    /// Values of each candidate, in the order of the first round.
    pub cells: Vec<Cell>,
}

/// Values of one candidate in one row.
#[derive(Debug)]
pub(crate) struct Cell {
    /// Name of the candidate.
    pub name: String,
    /// Values, one a round.
    pub values: Vec<f64>,
}

/// Definition of a table row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Row header, unique in the table.
    pub title: &'static str,
    /// Unit of the values.
    pub unit: Unit,
    /// Goals of regauthd. Reaching any one of them is enough.
    pub goals: &'static [Goal],
}

/// Unit of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Requests per second.
    Rate,
    /// Bytes per second.
    Throughput,
    /// Seconds.
    Seconds,
    /// Bytes of memory, shown in powers of two.
    Bytes,
    /// Bytes of a file, shown in powers of ten.
    FileBytes,
    /// Plain number.
    Count,
    /// Quotient of two values.
    Ratio,
}

/// Goal of regauthd in a row: a minimum if more is better, else a maximum.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// Fixed value.
    Value(f64),
    /// Factor of the value without a proxy.
    Direct(f64),
    /// Factor of the best value of the other proxies.
    BestOther(f64),
}

impl Row {
    /// Creates a row definition.
    pub(crate) const fn new(title: &'static str, unit: Unit, goals: &'static [Goal]) -> Self {
        Self { title, unit, goals }
    }
}

impl Unit {
    /// Returns whether higher values are better.
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::Throughput)
    }
}

impl Results {
    /// Adds a value to a row. `None` only adds the row.
    pub(crate) fn record(&mut self, row: Row, name: &str, value: impl Into<Option<f64>>) {
        let measured = match self.rows.iter().position(|measured| measured.row.title == row.title) {
            Some(at) => &mut self.rows[at],
            None => {
                let cells = Vec::new();
                self.rows.push(Measured { row, cells });
                self.rows.last_mut().unwrap()
            }
        };
        let Some(value) = value.into() else { return };
        match measured.cells.iter_mut().find(|cell| cell.name == name) {
            Some(cell) => cell.values.push(value),
            None => measured.cells.push(Cell {
                name: name.to_owned(),
                values: vec![value],
            }),
        }
    }

    /// Median of a candidate in a row.
    pub(crate) fn median(&self, row: Row, name: &str) -> Option<f64> {
        let mut rows = self.rows.iter();
        rows.find(|measured| measured.row.title == row.title)?.median(name)
    }

    /// Rows in the order of their first value.
    pub(crate) fn rows(&self) -> &[Measured] {
        &self.rows
    }

    /// Column names: direct, the other proxies, then every regauthd.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for cell in self.rows.iter().flat_map(|measured| &measured.cells) {
            if !names.contains(&cell.name.as_str()) {
                names.push(&cell.name);
            }
        }
        names.sort_by_key(|name| {
            if *name == DIRECT {
                0
            } else {
                1 + usize::from(!other_proxies::NAMES.contains(name))
            }
        });
        names
    }

    /// JSON with all values, in seconds, bytes and their quotients. The key `contender` holds the name of the candidate:
    /// scripts may read it.
    pub(crate) fn as_json(&self, machine: &str) -> Value {
        let rows = self.rows.iter().map(|measured| {
            let cells = measured
                .cells
                .iter()
                .map(|cell| json!({ "contender": cell.name, "median": cell.median(), "values": cell.values }));
            json!({
                "row": measured.row.title,
                "unit": measured.row.unit.symbol(),
                "cells": cells.collect::<Vec<_>>(),
            })
        });
        json!({ "machine": machine, "rows": rows.collect::<Vec<_>>() })
    }
}

impl Measured {
    /// Median of a candidate.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.name == name).map(Cell::median)
    }

    /// Best median of the other proxies.
    pub(crate) fn best_other(&self) -> Option<f64> {
        let values = other_proxies::NAMES.iter().filter_map(|name| self.median(name));
        if self.row.unit.more_is_better() {
            values.reduce(f64::max)
        } else {
            values.reduce(f64::min)
        }
    }

    /// Returns whether a value reaches a goal, or `None` without a value to compare with.
    pub(crate) fn reaches(&self, goal: Goal, value: f64) -> Option<bool> {
        let limit = match goal {
            Goal::Value(limit) => limit,
            Goal::Direct(factor) => factor * self.median(DIRECT)?,
            Goal::BestOther(factor) => factor * self.best_other()?,
        };
        Some(if self.row.unit.more_is_better() {
            value >= limit
        } else {
            value <= limit
        })
    }
}

impl Cell {
    /// Median of the values.
    pub(crate) fn median(&self) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        }
    }
}
