//! Comments and blank lines between the statements of a TOML document.
//!
//! A statement is a header or a `key = value`. toml_edit keeps the text above a statement as the statement's prefix,
//! and the text after the last one as the document's trailing. A comment belongs to the statement that it touches: a
//! blank line ends what belongs together.

use toml_edit::{DocumentMut, Item, RawString, Table, TableLike};

/// Position of a table that comes after all others.
pub(super) fn next_table_position(document: &DocumentMut) -> isize {
    let positions = printed_tables(document).into_iter().map(|table| table.position);
    positions.max().unwrap_or(0) + 1
}

/// Puts the document's trailing comments and a blank line above the last table.
pub(super) fn append_after_blank_line(document: &mut DocumentMut, path: &[&str]) {
    let above = text_of(Some(document.trailing()));
    let above = above.trim_end();
    let is_only_table = statements(document)
        .first()
        .is_some_and(|first| first.starts_with(path));
    let prefix = match above {
        "" if is_only_table => String::new(),
        "" => "\n".to_owned(),
        comments => format!("{comments}\n\n"),
    };
    document.set_trailing("");
    if let Some(table) = item_at(document, path).and_then(Item::as_table_mut) {
        table.decor_mut().set_prefix(prefix);
    }
}

/// Moves the comments that do not belong to the table at `path` to the statement after it, so that they survive its
/// removal. Of two blank lines that would meet, one goes.
pub(super) fn keep_unrelated(document: &mut DocumentMut, path: &[&str]) {
    let mut is_at_start = true;
    let mut unrelated: Option<String> = None;
    for statement in statements(document) {
        let prefix = statement.prefix(document);
        if statement.starts_with(path) {
            let kept = unrelated.get_or_insert_default();
            if !statement.is_inside_table(path) {
                kept.push_str(split_attached(&prefix).0);
            }
            continue;
        }
        if let Some(unrelated) = unrelated.take() {
            statement.set_prefix(document, join(unrelated, &prefix, is_at_start));
        }
        is_at_start = false;
    }
    if let Some(unrelated) = unrelated {
        let trailing = join(unrelated, &text_of(Some(document.trailing())), is_at_start);
        let trailing = trailing.trim_end();
        document.set_trailing(if trailing.is_empty() {
            String::new()
        } else {
            format!("{trailing}\n")
        });
    }
}

/// Moves the only key of the top above the first header, even a commented one: a key below a header that a person
/// uncomments later would change its table.
pub(super) fn place_above_tables(document: &mut DocumentMut, key: &str) {
    let header = statements(document).into_iter().find(|statement| statement.is_header);
    let text = match &header {
        Some(header) => header.prefix(document),
        None => text_of(Some(document.trailing())),
    };
    let (above, below) = split_above_header(&text, header.is_some());
    let above = above.trim_end();
    if let Some(mut key) = document.as_table_mut().key_mut(key) {
        let line_end = if above.is_empty() { "" } else { "\n" };
        key.leaf_decor_mut().set_prefix(format!("{above}{line_end}"));
    }
    let needs_gap = header.is_some() || !below.is_empty();
    let below = if needs_gap { format!("\n{below}") } else { String::new() };
    match header {
        Some(header) => header.set_prefix(document, below),
        None => document.set_trailing(below),
    }
}

/// Header or `key = value`, by its key path.
struct Statement {
    path: Vec<String>,
    is_header: bool,
    /// Length of the path of the header above it.
    header_depth: usize,
}

impl Statement {
    fn starts_with(&self, path: &[&str]) -> bool {
        self.path.len() >= path.len() && self.path.iter().zip(path).all(|(key, other)| key == other)
    }

    /// Tells a key below a header of the table at `path` from a header and from a dotted key above all headers.
    fn is_inside_table(&self, path: &[&str]) -> bool {
        !self.is_header && self.header_depth >= path.len() && self.starts_with(path)
    }

    fn prefix(&self, document: &DocumentMut) -> String {
        let mut table: &dyn TableLike = document.as_table();
        let Some((last, parents)) = self.path.split_last() else {
            return String::new();
        };
        for key in parents {
            match table.get(key).and_then(Item::as_table_like) {
                Some(inner) => table = inner,
                None => return String::new(),
            }
        }
        if self.is_header {
            text_of(
                table
                    .get(last)
                    .and_then(Item::as_table)
                    .and_then(|table| table.decor().prefix()),
            )
        } else {
            text_of(table.key(last).and_then(|key| key.leaf_decor().prefix()))
        }
    }

    fn set_prefix(&self, document: &mut DocumentMut, prefix: String) {
        if self.is_header {
            if let Some(table) = item_at(document, &self.path).and_then(Item::as_table_mut) {
                table.decor_mut().set_prefix(prefix);
            }
        } else if let Some((last, parents)) = self.path.split_last()
            && let Some(table) = item_at(document, parents).and_then(Item::as_table_like_mut)
            && let Some(mut key) = table.key_mut(last)
        {
            key.leaf_decor_mut().set_prefix(prefix);
        }
    }
}

/// Statements in the order in which the document prints them.
fn statements(document: &DocumentMut) -> Vec<Statement> {
    let mut statements = Vec::new();
    for PrintedTable { path, table, .. } in printed_tables(document) {
        let values = table.get_values();
        let header_depth = path.len();
        let is_printed = !table.is_implicit() || !values.is_empty();
        if !path.is_empty() && is_printed {
            statements.push(Statement {
                path: path.clone(),
                is_header: true,
                header_depth,
            });
        }
        statements.extend(values.into_iter().map(|(keys, _)| {
            Statement {
                path: path
                    .iter()
                    .cloned()
                    .chain(keys.iter().map(|key| key.get().to_owned()))
                    .collect(),
                is_header: false,
                header_depth,
            }
        }));
    }
    statements
}

struct PrintedTable<'a> {
    path: Vec<String>,
    position: isize,
    table: &'a Table,
}

/// Tables with a header, the top of the file first. A table without a position is printed after the one before it.
fn printed_tables(document: &DocumentMut) -> Vec<PrintedTable<'_>> {
    let mut tables = Vec::new();
    collect_tables(document.as_table(), &[], &mut 0, &mut tables);
    tables.sort_by_key(|table| (!table.path.is_empty(), table.position));
    tables
}

fn collect_tables<'a>(table: &'a Table, path: &[String], position: &mut isize, tables: &mut Vec<PrintedTable<'a>>) {
    if !table.is_dotted() {
        *position = table.position().unwrap_or(*position);
        tables.push(PrintedTable {
            path: path.to_vec(),
            position: *position,
            table,
        });
    }
    for (key, item) in table {
        if let Item::Table(inner) = item {
            let path = [path, &[key.to_owned()]].concat();
            collect_tables(inner, &path, position, tables);
        }
    }
}

fn item_at<'a>(document: &'a mut DocumentMut, path: &[impl AsRef<str>]) -> Option<&'a mut Item> {
    let root = document.as_item_mut();
    path.iter()
        .try_fold(root, |item, key| item.as_table_like_mut()?.get_mut(key.as_ref()))
}

fn text_of(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().replace('\r', "")
}

/// Splits a prefix before the comments that touch its statement.
fn split_attached(prefix: &str) -> (&str, &str) {
    let lines = prefix
        .rfind('\n')
        .map_or(prefix, |end| prefix.get(..=end).unwrap_or(prefix));
    let attached = lines.split_inclusive('\n').rev().take_while(|line| is_comment(line));
    let attached: usize = attached.map(str::len).sum();
    prefix.split_at(lines.len() - attached)
}

/// Splits a text before the first commented header and the comments that touch it. Without one, the end is the header
/// if `has_header`.
fn split_above_header(text: &str, has_header: bool) -> (&str, &str) {
    let is_header = |line: &str| line.trim_start_matches(['#', ' ', '\t']).starts_with('[');
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if is_header(line) {
            let (above, _) = text.split_at(offset);
            return text.split_at(split_attached(above).0.len());
        }
        offset += line.len();
    }
    if has_header { split_attached(text) } else { (text, "") }
}

/// Joins the texts above a removed and above the next statement.
fn join(above: String, below: &str, is_at_start: bool) -> String {
    let ends_with_gap = match above.as_str() {
        "" => is_at_start,
        text => text == "\n" || text.ends_with("\n\n"),
    };
    let below = if ends_with_gap { skip_blank_lines(below) } else { below };
    above + below
}

fn skip_blank_lines(mut text: &str) -> &str {
    while let Some((line, rest)) = text.split_once('\n')
        && line.trim().is_empty()
    {
        text = rest;
    }
    text
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}
