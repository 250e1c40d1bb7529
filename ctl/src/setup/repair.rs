//! Settings of an earlier setup that an edit has made useless: a proxy that does not run, a file that does not exist.
//!
//! The next setup writes them again. To an undo they count as regauth's own, so it brings back what was there before the
//! first setup. Other edited values are their owner's, and come back.

use std::path::Path;

use regauth_shared::ErrorBody;

use super::clients::FileSettings;
use super::format::Format;
use super::record::FileRecord;
use super::setting::{AppliedSetting, Setting};
use crate::company;
use crate::text_file::TextFile;

/// Computes the text of the file without the settings of `record`, useless ones included.
///
/// # Errors
/// The text is no longer of the file's format.
pub(super) fn revert_repaired(
    record: &FileRecord,
    file: &TextFile,
    wanted: &FileSettings,
) -> Result<Option<String>, ErrorBody> {
    match &file.text {
        Some(text) if wanted.format != Format::Whole => {
            let (record, text) = repair(record, text, wanted)?;
            // The notes on reverted settings do not matter: setup applies the settings again at once.
            record.revert(text.as_deref(), &mut Vec::new())
        }
        text => record.revert(text.as_deref(), &mut Vec::new()),
    }
}

/// Writes the wanted value over each useless one, in the text and in a copy of the record.
fn repair(record: &FileRecord, text: &str, wanted: &FileSettings) -> Result<(FileRecord, Option<String>), ErrorBody> {
    let mut record = record.clone();
    let would_change = wanted.format.apply(text, &wanted.settings)?.settings;
    let useless = would_change.iter().filter(|setting| is_useless(setting));
    let keys: Vec<_> = useless
        .map(|setting| &setting.key)
        .filter(|key| record.has_applied(key))
        .collect();
    let is_useless = |setting: &&Setting| keys.contains(&&setting.key);
    let settings: Vec<_> = wanted.settings.iter().filter(is_useless).cloned().collect();
    let repaired = wanted.format.apply(text, &settings)?;
    for setting in repaired.settings {
        record.set_written(setting);
    }
    Ok((record, Some(repaired.text)))
}

fn is_useless(setting: &AppliedSetting) -> bool {
    let is_useless = |value: String| {
        let is_missing = value.starts_with('/') && !Path::new(&value).exists();
        is_missing || company::is_dead_proxy(&value)
    };
    !setting.key.is_empty() && setting.previous_text().is_some_and(is_useless)
}

#[cfg(test)]
mod tests {
    use super::super::setting::SettingValue;
    use super::*;

    #[test]
    fn a_useless_value_is_not_brought_back_and_an_owners_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let wanted = |port: u16| FileSettings {
            role: "config",
            path: path.clone(),
            format: Format::Toml,
            settings: [
                ("proxy", format!("http://127.0.0.1:{port}")),
                ("cainfo", "/".to_owned()),
            ]
            .map(|(key, value)| Setting {
                key: vec!["http".to_owned(), key.to_owned()],
                value: SettingValue::Text(value),
            })
            .to_vec(),
        };
        let before = "[http]\nproxy = \"http://proxy.corp:3128\"\n";
        let first = wanted(9).format.apply(before, &wanted(9).settings).unwrap();
        let record = FileRecord::new(&wanted(9), Some(before), Some(&first.text), first.settings, Vec::new()).unwrap();
        let reverted = |proxy: &str, ca_file: &str, port| {
            let edited = format!("# edited\n[http]\nproxy = \"{proxy}\"\ncainfo = \"{ca_file}\"\n");
            std::fs::write(&path, edited).unwrap();
            let file = TextFile::read(&path).unwrap();
            revert_repaired(&record, &file, &wanted(port)).unwrap().unwrap()
        };
        let original = format!("# edited\n{before}");
        assert_eq!(reverted("http://127.0.0.1:1", "/nope/ca.pem", 9), original);
        assert_eq!(reverted("http://127.0.0.1:1", "/nope/ca.pem", 10), original);
        assert_eq!(
            reverted("http://other.corp:3128", "/nope/ca.pem", 9),
            "# edited\n[http]\nproxy = \"http://other.corp:3128\"\n"
        );
    }
}
