//! Parser of journald entries (`journalctl --output=json`) that finds the daemon's last error.

use serde::Deserialize;
use serde_json::Value;

/// Returns the last error of the last failed process: the text after `error: `, with its continuation lines.
pub(super) fn last_error(journal: &str) -> Option<String> {
    let entries: Vec<Entry> = journal
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let start = entries.iter().rposition(|entry| entry.text().starts_with(ERROR))?;
    let (_, from_error) = entries.split_at_checked(start)?;
    let process = &from_error.first()?.process;
    let lines = from_error
        .iter()
        .filter(|entry| entry.process == *process)
        .map(Entry::text);
    let text = lines.collect::<Vec<_>>().join("\n");
    text.strip_prefix(ERROR).map(str::to_owned)
}

#[derive(Deserialize)]
struct Entry {
    /// A string, or an array of bytes if the message is not UTF-8.
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
    fn quotes_the_whole_error_of_the_last_failed_process() {
        let journal = r#"{"_PID":"1","MESSAGE":"error: config.toml has errors:"}
{"_PID":"1","MESSAGE":"2:1: old"}
{"_PID":"2","MESSAGE":"starting"}
{"_PID":"2","MESSAGE":"error: config.toml has errors:"}
{"_PID":"3","MESSAGE":[255,254]}
{"_PID":"2","MESSAGE":"39:13: new"}
"#;
        assert_eq!(
            last_error(journal).as_deref(),
            Some("config.toml has errors:\n39:13: new")
        );
        assert_eq!(last_error(r#"{"_PID":"1","MESSAGE":"ready"}"#), None);
        assert_eq!(last_error(""), None);
    }
}
