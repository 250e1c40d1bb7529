//! Everything that was measured, row by row, and what each row should reach.

use serde_json::{Value, json};

use crate::contender::DIRECT;
use crate::peers;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    rows: Vec<Measured>,
}

/// A row with what was measured for it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The row.
    pub row: Row,
    /// Each contender's values, one a round, in the order of the first round.
    pub cells: Vec<Cell>,
}

/// One contender's values in one row.
#[derive(Debug)]
pub(crate) struct Cell {
    /// Whose.
    pub name: String,
    /// One a round.
    pub values: Vec<f64>,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its head, unique in the table.
    pub title: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// What regauthd should reach: any one of these.
    pub goals: &'static [Goal],
}

/// What a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Requests a second.
    Rate,
    /// Bytes a second.
    Throughput,
    /// Seconds.
    Seconds,
    /// Bytes of memory.
    Bytes,
    /// Bytes of a file.
    FileBytes,
    /// Things.
    Count,
    /// One by another.
    Ratio,
}

/// What regauthd should reach in a row: this much or more where more is better, else this much or less.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// A value.
    Value(f64),
    /// So many times what no proxy has.
    Direct(f64),
    /// So many times what the best peer has.
    BestPeer(f64),
}

impl Row {
    /// A row.
    pub(crate) const fn new(title: &'static str, unit: Unit, goals: &'static [Goal]) -> Self {
        Self { title, unit, goals }
    }
}

impl Unit {
    /// Whether more of it is better.
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::Throughput)
    }
}

impl Results {
    /// Notes a value; without one, only that there is such a row.
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

    /// A contender's middle value in a row.
    pub(crate) fn median(&self, row: Row, name: &str) -> Option<f64> {
        let mut rows = self.rows.iter();
        rows.find(|measured| measured.row.title == row.title)?.median(name)
    }

    /// The rows in the order they were first measured.
    pub(crate) fn rows(&self) -> &[Measured] {
        &self.rows
    }

    /// The columns: no proxy, the peers, then every regauthd.
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
                1 + usize::from(!peers::NAMES.contains(name))
            }
        });
        names
    }

    /// Everything, for programs. Values are in seconds, bytes and their quotients.
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
    /// A contender's middle value.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.name == name).map(Cell::median)
    }

    /// The best peer's middle value.
    pub(crate) fn best_peer(&self) -> Option<f64> {
        let values = peers::NAMES.iter().filter_map(|name| self.median(name));
        if self.row.unit.more_is_better() {
            values.reduce(f64::max)
        } else {
            values.reduce(f64::min)
        }
    }

    /// Whether a goal is reached by a value; `None` when there is nothing to compare with.
    pub(crate) fn reaches(&self, goal: Goal, value: f64) -> Option<bool> {
        let limit = match goal {
            Goal::Value(limit) => limit,
            Goal::Direct(factor) => factor * self.median(DIRECT)?,
            Goal::BestPeer(factor) => factor * self.best_peer()?,
        };
        Some(if self.row.unit.more_is_better() {
            value >= limit
        } else {
            value <= limit
        })
    }
}

impl Cell {
    /// The middle value.
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
