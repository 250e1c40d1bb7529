//! Whole lines of a configuration text: those that make up a registry, and where a key of the top goes.
//!
//! The text is TOML already, as toml_edit wrote it.

use regauth_shared::RegistryName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::credential::store::StoreKind;

/// The text without a registry, the comments directly above it and those inside it. `None` when there is none of that
/// name, or it shares lines with others.
pub(super) fn without_registry(text: &str, name: &RegistryName) -> Option<String> {
    statements(text, name).map(|statements| without(text, &statements))
}

/// A key below a header belongs to that table, so this one goes above the first header, even a commented one: whoever
/// takes the comment marks away must not move it. The text has no other keys up there.
pub(super) fn with_store(text: &str, kind: StoreKind) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let opens_table = |line: &&str| line.trim_start_matches(['#', ' ', '\t']).starts_with('[');
    let split = lines.iter().position(opens_table).map_or(lines.len(), |header| {
        let attached = (lines.iter().take(header).rev()).take_while(|line| is_comment(line));
        header - attached.count()
    });
    let (above, below) = lines.split_at(split);
    let (above, below) = (above.concat(), below.concat());
    let above = above.trim_end();
    let break_above = if above.is_empty() { "" } else { "\n" };
    let break_below = if below.is_empty() { "" } else { "\n" };
    format!(
        "{above}{break_above}store = \"{}\"\n{break_below}{below}",
        kind.as_str()
    )
}

/// A header or a `key = value`, by the lines it takes, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Statement {
    first: usize,
    last: usize,
    header: bool,
}

/// What makes up a registry, in the order of the text.
fn statements(text: &str, name: &RegistryName) -> Option<Vec<Statement>> {
    let document = DeTable::parse(text).ok()?;
    let registries = document.get_ref().get("registries")?;
    if begins_with(text, registries, '{') {
        return None;
    }
    let (key, value) = registries.get_ref().as_table()?.get_key_value(name.as_str())?;
    let mut found = Vec::new();
    collect(text, key.span().start, value, &mut found);
    found.sort_unstable();
    Some(found)
}

fn collect(text: &str, key: usize, value: &Spanned<DeValue<'_>>, found: &mut Vec<Statement>) {
    let line = |at: usize| text.get(..at).map_or(0, |before| before.matches('\n').count());
    let (start, end) = (value.span().start, value.span().end);
    let statement = |from, to, header| Statement {
        first: line(from),
        last: line(to),
        header,
    };
    match value.get_ref() {
        DeValue::Table(table) if !begins_with(text, value, '{') => {
            if begins_with(text, value, '[') {
                found.push(statement(start, start, true));
            }
            for (key, value) in table {
                collect(text, key.span().start, value, found);
            }
        }
        _ => found.push(statement(key, end, false)),
    }
}

/// A table with a header begins with `[`, an inline one with `{`, one that dotted keys imply with a key.
fn begins_with(text: &str, value: &Spanned<DeValue<'_>>, mark: char) -> bool {
    text.get(value.span()).is_some_and(|source| source.starts_with(mark))
}

/// Cuts statements out, with the comments directly above them and, below a header, those between them.
fn without(text: &str, statements: &[Statement]) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let remark = |index: usize| lines.get(index).is_some_and(|line| is_blank(line) || is_comment(line));
    let mut cut = vec![false; lines.len()];
    let mut body = None;
    for statement in statements {
        let attached = (0..statement.first)
            .rev()
            .take_while(|index| lines.get(*index).is_some_and(|line| is_comment(line)));
        let mut first = statement.first - attached.count();
        if let Some(end) = body.filter(|end| !statement.header && (*end..statement.first).all(remark)) {
            first = end;
        }
        (cut.iter_mut().take(statement.last + 1).skip(first)).for_each(|cut| *cut = true);
        body = (statement.header || body.is_some()).then_some(statement.last + 1);
    }
    join_uncut(&lines, &cut)
}

/// Where a cut leaves two gaps side by side, one goes.
fn join_uncut(lines: &[&str], cut: &[bool]) -> String {
    let mut text = String::new();
    let mut after_cut = false;
    for (line, cut) in lines.iter().zip(cut) {
        after_cut = *cut || (after_cut && is_blank(line));
        let gap_above = text.is_empty() || text.ends_with("\n\n");
        let doubles_gap = after_cut && gap_above;
        if !(*cut || doubles_gap) {
            text.push_str(line);
        }
    }
    if after_cut {
        text.truncate(text.trim_end().len());
        text.push_str(if text.is_empty() { "" } else { "\n" });
    }
    text
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}
