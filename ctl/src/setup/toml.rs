//! TOML with comments and order kept: cargo's config.toml, uv.toml.

use regauth_shared::ErrorBody;
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value as Toml};

use super::format::{Done, Set, Setting, Unset, Value};
use crate::error;

/// Puts settings in; a key is the way through tables.
pub(super) fn set(text: &str, settings: &[Setting]) -> Result<Set, ErrorBody> {
    let mut document = parse(text)?;
    let mut done = Vec::new();
    for setting in settings {
        let Some((key, tables)) = setting.key.split_last() else {
            continue;
        };
        let root: &mut dyn TableLike = document.as_table_mut();
        let present = find(root, tables)
            .and_then(|table| table.get(key))
            .and_then(Item::as_value);
        let Some((value, element)) = wanted(&setting.value, present) else {
            continue;
        };
        let before = present.map(bare);
        let ours = bare(&value);
        let table = enter(document.as_table_mut(), tables)
            .ok_or_else(|| error::failed(format!("{} is not a table in the file", tables.join("."))))?;
        put(table, key, value);
        done.push(Done {
            key: setting.key.clone(),
            ours,
            before,
            element,
        });
    }
    // An untouched text stays as it is, to the byte.
    let text = if done.is_empty() {
        text.to_owned()
    } else {
        document.to_string()
    };
    Ok(Set { text, done })
}

/// Takes out what was put in.
pub(super) fn unset(text: &str, done: &[Done]) -> Result<Unset, ErrorBody> {
    let mut document = parse(text)?;
    let mut kept = Vec::new();
    for done in done.iter().rev() {
        let Some((key, tables)) = done.key.split_last() else {
            continue;
        };
        let Some(table) = find_mut(document.as_table_mut(), tables) else {
            continue;
        };
        let Some(value) = table.get_mut(key).and_then(Item::as_value_mut) else {
            continue;
        };
        let is_ours = bare(value) == done.ours;
        if let (false, Some(element), Some(array)) = (is_ours, &done.element, value.as_array_mut()) {
            array.retain(|present| present.as_str() != Some(element));
        } else if !is_ours {
            kept.push(done.key.join("."));
        } else if let Some(before) = done.before.as_ref().and_then(|before| before.parse().ok()) {
            put(table, key, before);
        } else {
            table.remove(key);
            prune(document.as_table_mut(), tables);
        }
    }
    Ok(Unset {
        text: document.to_string(),
        kept,
    })
}

/// The value to put, and what it adds to a list; nothing when all is as it should be.
fn wanted(value: &Value, present: Option<&Toml>) -> Option<(Toml, Option<String>)> {
    match value {
        Value::Text(text) => (present.and_then(Toml::as_str) != Some(text)).then(|| (text.into(), None)),
        Value::Instead(text) => {
            let other = present.is_some_and(|present| present.as_str() != Some(text));
            other.then(|| (text.into(), None))
        }
        Value::Yes => (present.and_then(Toml::as_bool) != Some(true)).then(|| (true.into(), None)),
        Value::Texts(texts) => {
            let list = Toml::Array(texts.iter().collect());
            (present.map(bare) != Some(bare(&list))).then_some((list, None))
        }
        Value::Last(text, usual) => last(text, usual, present),
    }
}

fn last(text: &str, usual: &[String], present: Option<&Toml>) -> Option<(Toml, Option<String>)> {
    let mut list = match present.and_then(Toml::as_array) {
        Some(list) => list.clone(),
        None => usual.iter().collect::<Array>(),
    };
    if present.is_some() && list.iter().last().and_then(Toml::as_str) == Some(text) {
        return None;
    }
    list.retain(|element| element.as_str() != Some(text));
    list.push(text);
    Some((Toml::Array(list), Some(text.to_owned())))
}

fn parse(text: &str) -> Result<DocumentMut, ErrorBody> {
    let message = |error: toml_edit::TomlError| {
        let line = error
            .span()
            .map(|span| 1 + text.get(..span.start).unwrap_or_default().matches('\n').count());
        let place = line.map_or_else(String::new, |line| format!(", line {line}"));
        error::failed(format!("the file is not TOML{place}: {}", error.message()))
            .hint("mend it, or move it away, and repeat")
    };
    text.parse().map_err(message)
}

fn find<'a>(root: &'a dyn TableLike, tables: &[String]) -> Option<&'a dyn TableLike> {
    let mut table = root;
    for name in tables {
        table = table.get(name)?.as_table_like()?;
    }
    Some(table)
}

fn find_mut<'a>(root: &'a mut dyn TableLike, tables: &[String]) -> Option<&'a mut dyn TableLike> {
    let mut table = root;
    for name in tables {
        table = table.get_mut(name)?.as_table_like_mut()?;
    }
    Some(table)
}

/// The table, made where it is missing. One that holds only tables needs no header of its own.
fn enter<'a>(root: &'a mut dyn TableLike, tables: &[String]) -> Option<&'a mut dyn TableLike> {
    let mut table = root;
    for (depth, name) in tables.iter().enumerate() {
        let inner = depth + 1 == tables.len();
        let fresh = || {
            let mut fresh = Table::new();
            fresh.set_implicit(!inner);
            Item::Table(fresh)
        };
        table = table.entry(name).or_insert_with(fresh).as_table_like_mut()?;
    }
    Some(table)
}

/// What stands around the old value stays: blanks, and a comment behind it.
fn put(table: &mut dyn TableLike, key: &str, mut value: Toml) {
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

/// Removes tables that hold nothing any more.
fn prune(root: &mut dyn TableLike, tables: &[String]) {
    let Some((name, outer)) = tables.split_last() else {
        return;
    };
    let Some(table) = find_mut(root, outer) else { return };
    let empty = table
        .get(name)
        .and_then(Item::as_table_like)
        .is_some_and(TableLike::is_empty);
    if empty {
        table.remove(name);
        prune(root, outer);
    }
}

fn bare(value: &Toml) -> String {
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
        let text = |text: &str| Value::Text(text.to_owned());
        vec![
            setting(&["http", "proxy"], text("http://p")),
            setting(&["net", "git-fetch-with-cli"], Value::Yes),
            setting(
                &["registry", "global-credential-providers"],
                Value::Last("us".to_owned(), vec!["cargo:token".to_owned()]),
            ),
            setting(&["registries", "corp", "index"], text("sparse+https://c/")),
            setting(
                &["registries", "corp", "credential-provider"],
                Value::Instead("us".to_owned()),
            ),
        ]
    }

    #[test]
    fn comments_and_order_stay_and_a_second_time_changes_nothing() {
        let before = "# mine\n[build]\njobs = 2 # two\n\n[http]\n# old\nproxy = \"http://corp\" # why\ntimeout = 3\n";
        let first = set(before, &settings()).unwrap();
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
        let again = set(&first.text, &settings()).unwrap();
        assert!(again.done.is_empty() && again.text == first.text);
        assert_eq!(unset(&first.text, &first.done).unwrap().text, before);
    }

    #[test]
    fn dotted_keys_and_inline_tables_are_written_as_they_are() {
        let before = "http.timeout = 3\nregistries = { other = { index = \"x\" } }\n";
        let after = set(before, &settings()).unwrap();
        assert!(after.text.contains("http.proxy = \"http://p\""), "{}", after.text);
        after.text.parse::<DocumentMut>().unwrap();
        assert_eq!(unset(&after.text, &after.done).unwrap().text, before);
    }

    #[test]
    fn our_provider_comes_last_and_leaves_alone_what_others_added() {
        let before = "[registry]\nglobal-credential-providers = [\"cargo:token\", \"cargo:libsecret\"]\n";
        let after = set(before, &settings()).unwrap();
        assert!(
            after.text.contains("[\"cargo:token\", \"cargo:libsecret\", \"us\"]"),
            "{}",
            after.text
        );
        let edited = after.text.replace("\"us\"]", "\"us\", \"new\"]");
        let back = unset(&edited, &after.done).unwrap();
        assert!(back.text.contains("\"cargo:libsecret\", \"new\"]"), "{}", back.text);
        assert!(!back.text.contains("us\""), "{}", back.text);
    }

    #[test]
    fn a_value_that_somebody_changed_stays() {
        let after = set("", &settings()).unwrap();
        let edited = after.text.replace("http://p", "http://q") + "[build]\njobs = 1\n";
        let back = unset(&edited, &after.done).unwrap();
        assert_eq!(back.kept, ["http.proxy"]);
        assert!(
            back.text.contains("http://q") && !back.text.contains("registries"),
            "{}",
            back.text
        );
    }
}
