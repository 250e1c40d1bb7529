//! TOML with comments and order kept: the files of cargo, uv, bun and podman.

use regauth_shared::ErrorBody;
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value};

use super::setting::{Applied, AppliedSetting, Reverted, Setting, SettingValue};
use crate::error;

/// Applies settings. A key is the path through tables.
///
/// # Errors
/// The text is not TOML, or a table of the path is another value.
pub(super) fn apply(text: &str, settings: &[Setting]) -> Result<Applied, ErrorBody> {
    let mut document = parse(text)?;
    let mut applied = Vec::new();
    for setting in settings {
        applied.extend(apply_one(&mut document, setting)?);
    }
    // Without a change, the text stays byte for byte.
    let text = if applied.is_empty() {
        text.to_owned()
    } else {
        document.to_string()
    };
    Ok(Applied {
        text,
        settings: applied,
    })
}

/// Reverts settings.
///
/// # Errors
/// The text is not TOML.
pub(super) fn revert(text: &str, applied: &[AppliedSetting]) -> Result<Reverted, ErrorBody> {
    let mut document = parse(text)?;
    let mut kept = Vec::new();
    for setting in applied.iter().rev() {
        if !revert_one(&mut document, setting) {
            kept.push(setting.key.join("."));
        }
    }
    Ok(Reverted {
        text: document.to_string(),
        kept,
    })
}

fn apply_one(document: &mut DocumentMut, setting: &Setting) -> Result<Option<AppliedSetting>, ErrorBody> {
    let Some((key, tables)) = setting.key.split_last() else {
        return Ok(None);
    };
    let present = find_table(document.as_table(), tables)
        .and_then(|table| table.get(key))
        .and_then(Item::as_value);
    let Some((value, element)) = new_value(&setting.value, present) else {
        return Ok(None);
    };
    let before = present.map(without_decor);
    let written = without_decor(&value);
    let table = find_or_insert_table(document.as_table_mut(), tables).ok_or_else(|| {
        let message = format!("{} is not a table in the file", tables.join("."));
        error::failed(message).hint("make it a table, or move the file away, and try again")
    })?;
    set_value(table, key, value);
    Ok(Some(AppliedSetting {
        key: setting.key.clone(),
        written,
        before,
        element,
    }))
}

/// Returns false if somebody changed the value since, and it stays.
fn revert_one(document: &mut DocumentMut, setting: &AppliedSetting) -> bool {
    let Some((key, tables)) = setting.key.split_last() else {
        return true;
    };
    let Some(table) = find_table_mut(document.as_table_mut(), tables) else {
        return true;
    };
    let Some(value) = table.get_mut(key).and_then(Item::as_value_mut) else {
        return true;
    };
    let is_unchanged = without_decor(value) == setting.written;
    if let (false, Some(element), Some(array)) = (is_unchanged, &setting.element, value.as_array_mut()) {
        array.retain(|present| present.as_str() != Some(element));
    } else if !is_unchanged {
        return false;
    } else if let Some(before) = setting.before.as_ref().and_then(|before| before.parse().ok()) {
        set_value(table, key, before);
    } else {
        table.remove(key);
        remove_empty_tables(document.as_table_mut(), tables);
    }
    true
}

/// Computes the value to write, and the element that it adds to a list; `None` if the present value is right.
fn new_value(wanted: &SettingValue, present: Option<&Value>) -> Option<(Value, Option<String>)> {
    match wanted {
        SettingValue::Text(text) | SettingValue::Placeholder(text) => {
            let differs = present.and_then(Value::as_str) != Some(text);
            differs.then(|| (text.into(), None))
        }
        SettingValue::ReplaceOnly(text) => {
            let differs = present.is_some_and(|present| present.as_str() != Some(text));
            differs.then(|| (text.into(), None))
        }
        SettingValue::True => (present.and_then(Value::as_bool) != Some(true)).then(|| (true.into(), None)),
        SettingValue::False => (present.and_then(Value::as_bool) != Some(false)).then(|| (false.into(), None)),
        SettingValue::ListEntry(text) => list_with(text, present),
        SettingValue::List(texts) => {
            let list = Value::Array(texts.iter().collect());
            (present.map(without_decor) != Some(without_decor(&list))).then_some((list, None))
        }
        SettingValue::ListEnd(text, default) => list_ending_in(text, default, present),
    }
}

fn list_with(text: &str, present: Option<&Value>) -> Option<(Value, Option<String>)> {
    let mut list = present.and_then(Value::as_array).cloned().unwrap_or_default();
    if list.iter().any(|element| element.as_str() == Some(text)) {
        return None;
    }
    list.push(text);
    Some((Value::Array(list), Some(text.to_owned())))
}

fn list_ending_in(text: &str, default: &[String], present: Option<&Value>) -> Option<(Value, Option<String>)> {
    let mut list = match present.and_then(Value::as_array) {
        Some(list) => list.clone(),
        None => default.iter().collect::<Array>(),
    };
    // An older path of the same program may not exist any more.
    let is_same_program = |element: &Value| element.as_str().is_some_and(|other| program(other) == program(text));
    let is_last = list.iter().last().and_then(Value::as_str) == Some(text);
    if present.is_some() && is_last && list.iter().filter(|element| is_same_program(element)).count() == 1 {
        return None;
    }
    list.retain(|element| !is_same_program(element));
    list.push(text);
    Some((Value::Array(list), Some(text.to_owned())))
}

/// File name of a command line's program.
fn program(command: &str) -> &str {
    let path = command.split(' ').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or(path)
}

fn parse(text: &str) -> Result<DocumentMut, ErrorBody> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        let line = error
            .span()
            .map(|span| 1 + text.get(..span.start).unwrap_or_default().matches('\n').count());
        let at = line.map_or_else(String::new, |line| format!(", line {line}"));
        error::failed(format!("the file is not TOML{at}: {}", error.message()))
            .hint("fix the file, or move it away, and try again")
    })
}

fn find_table<'a>(root: &'a dyn TableLike, tables: &[String]) -> Option<&'a dyn TableLike> {
    let mut table = root;
    for name in tables {
        table = table.get(name)?.as_table_like()?;
    }
    Some(table)
}

fn find_table_mut<'a>(root: &'a mut dyn TableLike, tables: &[String]) -> Option<&'a mut dyn TableLike> {
    let mut table = root;
    for name in tables {
        table = table.get_mut(name)?.as_table_like_mut()?;
    }
    Some(table)
}

/// Finds the table, and inserts the missing ones. A table that holds only tables gets no header of its own.
fn find_or_insert_table<'a>(root: &'a mut dyn TableLike, tables: &[String]) -> Option<&'a mut dyn TableLike> {
    let mut table = root;
    for (depth, name) in tables.iter().enumerate() {
        let is_innermost = depth + 1 == tables.len();
        let new_table = || {
            let mut table = Table::new();
            table.set_implicit(!is_innermost);
            Item::Table(table)
        };
        table = table.entry(name).or_insert_with(new_table).as_table_like_mut()?;
    }
    Some(table)
}

/// Sets a value and keeps the blanks and the comment around the old one.
fn set_value(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

fn remove_empty_tables(root: &mut dyn TableLike, tables: &[String]) {
    let Some((name, parents)) = tables.split_last() else {
        return;
    };
    let Some(parent) = find_table_mut(root, parents) else {
        return;
    };
    let table = parent.get(name).and_then(Item::as_table_like);
    if table.is_some_and(TableLike::is_empty) {
        parent.remove(name);
        remove_empty_tables(root, parents);
    }
}

/// A value in TOML syntax, without the blanks and comments around it.
fn without_decor(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Vec<Setting> {
        let setting = |key: &[&str], value| Setting {
            key: key.iter().map(ToString::to_string).collect(),
            value,
        };
        let text = |text: &str| SettingValue::Text(text.to_owned());
        vec![
            setting(&["http", "proxy"], text("http://p")),
            setting(&["net", "git-fetch-with-cli"], SettingValue::True),
            setting(
                &["registry", "global-credential-providers"],
                SettingValue::ListEnd("us".to_owned(), vec!["cargo:token".to_owned()]),
            ),
            setting(&["registries", "corp", "index"], text("sparse+https://c/")),
            setting(
                &["registries", "corp", "credential-provider"],
                SettingValue::ReplaceOnly("us".to_owned()),
            ),
        ]
    }

    #[test]
    fn keeps_comments_and_order_and_a_second_apply_changes_nothing() {
        let before = "# mine\n[build]\njobs = 2 # two\n\n[http]\n# old\nproxy = \"http://corp\" # why\ntimeout = 3\n";
        let first = apply(before, &settings()).unwrap();
        for kept in [
            "# mine\n[build]\njobs = 2 # two\n",
            "# old\nproxy = \"http://p\" # why\ntimeout = 3\n",
        ] {
            assert!(first.text.contains(kept), "{}", first.text);
        }
        assert!(
            first
                .text
                .contains("[registries.corp]\nindex = \"sparse+https://c/\"\n"),
            "{}",
            first.text
        );
        assert!(!first.text.contains("credential-provider = "), "{}", first.text);
        let again = apply(&first.text, &settings()).unwrap();
        assert!(again.settings.is_empty() && again.text == first.text);
        assert_eq!(revert(&first.text, &first.settings).unwrap().text, before);
    }

    #[test]
    fn keeps_dotted_keys_and_inline_tables() {
        let before = "http.timeout = 3\nregistries = { other = { index = \"x\" } }\n";
        let after = apply(before, &settings()).unwrap();
        assert!(after.text.contains("http.proxy = \"http://p\""), "{}", after.text);
        after.text.parse::<DocumentMut>().unwrap();
        assert_eq!(revert(&after.text, &after.settings).unwrap().text, before);
    }

    #[test]
    fn adds_the_provider_last_and_keeps_elements_added_since() {
        let before = "[registry]\nglobal-credential-providers = [\"cargo:token\", \"cargo:libsecret\"]\n";
        let after = apply(before, &settings()).unwrap();
        assert!(
            after.text.contains("[\"cargo:token\", \"cargo:libsecret\", \"us\"]"),
            "{}",
            after.text
        );
        let edited = after.text.replace("\"us\"]", "\"us\", \"new\"]");
        let back = revert(&edited, &after.settings).unwrap();
        assert!(back.text.contains("\"cargo:libsecret\", \"new\"]"), "{}", back.text);
        assert!(!back.text.contains("us\""), "{}", back.text);
    }

    #[test]
    fn entries_of_a_list_are_added_once_and_taken_out_of_an_edited_one() {
        let entry = |text: &str| Setting {
            key: vec!["engine".to_owned(), "env".to_owned()],
            value: SettingValue::ListEntry(text.to_owned()),
        };
        let settings = [entry("A=1"), entry("B=2")];
        let before = "[engine]\nenv = [\"X=0\"] # mine\n";
        let after = apply(before, &settings).unwrap();
        assert_eq!(after.text, "[engine]\nenv = [\"X=0\", \"A=1\", \"B=2\"] # mine\n");
        assert!(apply(&after.text, &settings).unwrap().settings.is_empty());
        assert_eq!(revert(&after.text, &after.settings).unwrap().text, before);
        let edited = after.text.replace("\"B=2\"]", "\"B=2\", \"C=3\"]");
        let back = revert(&edited, &after.settings).unwrap();
        assert!(back.text.contains("[\"X=0\", \"C=3\"]"), "{}", back.text);
    }

    #[test]
    fn keeps_a_value_that_was_changed_since() {
        let after = apply("", &settings()).unwrap();
        let edited = after.text.replace("http://p", "http://q") + "[build]\njobs = 1\n";
        let back = revert(&edited, &after.settings).unwrap();
        assert_eq!(back.kept, ["http.proxy"]);
        assert!(
            back.text.contains("http://q") && !back.text.contains("registries"),
            "{}",
            back.text
        );
    }
}
