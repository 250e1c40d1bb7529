//! File formats of clients' configuration: applies settings to a text, and reverts them.

use regauth_shared::ErrorBody;
use serde::{Deserialize, Serialize};

use super::setting::{Applied, AppliedSetting, Reverted, Setting};
use super::{git, ini, maven_settings, properties, toml, yaml};

/// Format of a configuration file. Stored in the setup record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    /// TOML, of cargo, uv, bun and podman.
    Toml,
    /// Git's configuration, which git itself edits.
    Git,
    /// INI with sections and `key = value`, of pip and Mercurial.
    Ini,
    /// `key=value` without sections, of npm and aria2.
    Npmrc,
    /// Java's properties, of Gradle.
    Properties,
    /// `key = value` of wget.
    Wgetrc,
    /// YAML with block mappings, of Yarn and RubyGems.
    Yaml,
    /// XML of Maven.
    MavenSettings,
    /// Any text, to which setup adds one line.
    Line,
    /// File that setup writes as a whole.
    Whole,
}

impl Format {
    /// Applies settings to a text.
    ///
    /// # Errors
    /// The text is not of this format, or the program that edits it is missing.
    pub(super) fn apply(self, text: &str, settings: &[Setting]) -> Result<Applied, ErrorBody> {
        match self {
            Self::Toml => toml::apply(text, settings).map(|applied| applied.with_line_endings_of(text)),
            Self::Git => git::apply(text, settings).map(|applied| applied.with_line_endings_of(text)),
            Self::Ini => Ok(ini::apply(text, settings, ini::Separator::Either)),
            Self::Npmrc => Ok(ini::apply(text, settings, ini::Separator::Equals)),
            Self::Properties => {
                properties::check_escapes(text)?;
                Ok(ini::apply(text, settings, ini::Separator::Properties))
            }
            Self::Wgetrc => Ok(ini::apply(text, settings, ini::Separator::Wgetrc)),
            Self::Yaml => yaml::apply(text, settings),
            Self::MavenSettings => maven_settings::apply(text, settings),
            Self::Line => Ok(add_lines(text, settings)),
            Self::Whole => Ok(whole_file(settings)),
        }
    }

    /// Reverts applied settings whose value is still the written one.
    ///
    /// # Errors
    /// As [`Format::apply`].
    pub(super) fn revert(self, text: &str, applied: &[AppliedSetting]) -> Result<Reverted, ErrorBody> {
        match self {
            Self::Toml => toml::revert(text, applied).map(|reverted| reverted.with_line_endings_of(text)),
            Self::Git => git::revert(text, applied).map(|reverted| reverted.with_line_endings_of(text)),
            Self::Ini => Ok(ini::revert(text, applied, ini::Separator::Either)),
            Self::Npmrc => Ok(ini::revert(text, applied, ini::Separator::Equals)),
            Self::Properties => Ok(ini::revert(text, applied, ini::Separator::Properties)),
            Self::Wgetrc => Ok(ini::revert(text, applied, ini::Separator::Wgetrc)),
            Self::Yaml => yaml::revert(text, applied),
            Self::MavenSettings => maven_settings::revert(text, applied),
            Self::Line => Ok(remove_lines(text, applied)),
            Self::Whole => Ok(Reverted {
                text: String::new(),
                kept: Vec::new(),
            }),
        }
    }

    /// Value of a key in the formats that may hold a token of the user.
    pub(super) fn value(self, text: &str, key: &[String]) -> Option<String> {
        match self {
            Self::Npmrc => ini::npm_value(text, key.last()?),
            Self::Yaml => yaml::value(text, key),
            _ => None,
        }
    }

    /// Advice for a user whose file holds a token.
    pub(super) fn advice_on_a_token(self) -> &'static str {
        match self {
            Self::Npmrc => "`regauthctl import` moves it into regauth",
            _ => "regauth sends its own instead, so the line can go",
        }
    }
}

fn add_lines(text: &str, settings: &[Setting]) -> Applied {
    let mut applied = Applied {
        text: text.to_owned(),
        settings: Vec::new(),
    };
    for setting in settings {
        let line = setting.value.text();
        if applied.text.lines().any(|present| present == line) {
            continue;
        }
        let line_ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
        if !applied.text.is_empty() && !applied.text.ends_with('\n') {
            applied.text.push_str(line_ending);
        }
        applied.text.push_str(&format!("{line}{line_ending}"));
        applied.settings.push(without_key(line));
    }
    applied
}

fn remove_lines(text: &str, applied: &[AppliedSetting]) -> Reverted {
    let is_written = |line: &str| {
        let line = line.trim_end_matches(['\n', '\r']);
        applied.iter().any(|setting| setting.written == line)
    };
    Reverted {
        text: text.split_inclusive('\n').filter(|line| !is_written(line)).collect(),
        kept: Vec::new(),
    }
}

fn whole_file(settings: &[Setting]) -> Applied {
    Applied {
        text: settings.iter().map(|setting| setting.value.text()).collect(),
        settings: vec![without_key("the whole file".to_owned())],
    }
}

fn without_key(written: String) -> AppliedSetting {
    AppliedSetting {
        key: Vec::new(),
        written,
        before: None,
        element: None,
    }
}
