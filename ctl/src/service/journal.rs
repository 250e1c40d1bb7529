//! What the daemon said last, out of journald's own form (`journalctl --output=json`).

use serde::Deserialize;
use serde_json::Value;

/// The last process's last error, without the word: what follows on its line, and the lines that it went on with.
pub(super) fn last_error(entries: &str) -> Option<String> {
    let entries: Vec<Entry> = entries
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let begins = entries.iter().rposition(|entry| entry.text().starts_with(ERROR))?;
    let (_, said) = entries.split_at_checked(begins)?;
    let process = &said.first()?.process;
    let lines = said.iter().filter(|entry| entry.process == *process).map(Entry::text);
    let text = lines.collect::<Vec<_>>().join("\n");
    text.strip_prefix(ERROR).map(str::to_owned)
}

#[derive(Deserialize)]
struct Entry {
    /// Bytes, where it is no text.
    #[serde(rename = "MESSAGE")]
    message: Value,
    #[serde(rename = "_PID")]
    process: Option<String>,
}

impl Entry {
    fn text(&self) -> &str {
        self.message.as_str().unwrap_or_default()
    }
}

const ERROR: &str = "error: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_process_that_failed_is_quoted_whole() {
        let entries = r#"{"_PID":"1","MESSAGE":"error: config.toml has errors:"}
{"_PID":"1","MESSAGE":"2:1: old"}
{"_PID":"2","MESSAGE":"starting"}
{"_PID":"2","MESSAGE":"error: config.toml has errors:"}
{"_PID":"3","MESSAGE":[255,254]}
{"_PID":"2","MESSAGE":"39:13: new"}
"#;
        assert_eq!(
            last_error(entries).as_deref(),
            Some("config.toml has errors:\n39:13: new")
        );
        assert_eq!(last_error(r#"{"_PID":"1","MESSAGE":"ready"}"#), None);
        assert_eq!(last_error(""), None);
    }
}
