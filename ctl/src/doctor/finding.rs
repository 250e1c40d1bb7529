//! Findings of the checks.

use clap::ValueEnum;
use serde::Serialize;

use crate::setup::Tool;

/// Problem or note that a check found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Finding {
    /// Stable code for programs.
    pub(crate) code: &'static str,
    /// True if something does not work, false for a note.
    pub(crate) broken: bool,
    /// Observation.
    #[serde(rename = "what")]
    pub(crate) message: String,
    /// Consequence of the observation.
    #[serde(rename = "why")]
    pub(crate) consequence: &'static str,
    /// Command that fixes the problem, or advice if no command can.
    #[serde(rename = "mend")]
    pub(crate) remedy: String,
    /// Other findings with the same cause, which the same command fixes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) also: Vec<Symptom>,
    /// Fix that `--fix` applies.
    #[serde(skip)]
    pub(super) fix: Option<AutomaticFix>,
}

/// Observation that was joined with another finding.
#[derive(Debug, Serialize)]
pub(crate) struct Symptom {
    code: &'static str,
    /// Observation.
    #[serde(rename = "what")]
    pub(crate) message: String,
}

/// Fix that needs no decision by the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutomaticFix {
    /// Makes the daemon read its configuration and write its bundle again.
    ReloadDaemon,
    /// Removes other users' permissions on the configuration and the folders.
    RestrictFiles,
    /// Sets a tool up for the user.
    SetUp(Tool),
}

/// Joins findings that the same command fixes: they have one cause. A finding is broken if one of them is.
pub(super) fn join(findings: Vec<Finding>) -> Vec<Finding> {
    let mut joined: Vec<Finding> = Vec::new();
    for mut finding in findings {
        let tool = finding.remedy.strip_prefix("regauthctl setup ");
        let Some(tool) = tool.and_then(|name| Tool::from_str(name, false).ok()) else {
            joined.push(finding);
            continue;
        };
        finding.fix = Some(AutomaticFix::SetUp(tool));
        let same = |known: &&mut Finding| known.remedy == finding.remedy && known.broken == finding.broken;
        match joined.iter_mut().find(same) {
            Some(known) => known.also.push(Symptom {
                code: finding.code,
                message: finding.message,
            }),
            None => joined.push(finding),
        }
    }
    joined
}

impl Finding {
    /// Finding about something that does not work.
    pub(super) fn new(
        code: &'static str,
        message: impl Into<String>,
        consequence: &'static str,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code,
            broken: true,
            message: message.into(),
            consequence,
            remedy: remedy.into(),
            also: Vec::new(),
            fix: None,
        }
    }

    /// Turns the finding into a note: nothing is broken.
    pub(super) fn into_note(self) -> Self {
        Self { broken: false, ..self }
    }

    /// Adds an automatic fix.
    pub(super) fn with_fix(self, fix: AutomaticFix) -> Self {
        Self { fix: Some(fix), ..self }
    }
}

/// Consequence of a wrong proxy.
pub(super) const BYPASSES_PROXY: &str = "requests to the registry bypass regauthd, so they carry no token";
/// Consequence of a wrong bundle.
pub(super) const DISTRUSTS_REGAUTHD: &str = "it does not trust the certificate that regauthd shows for the registry";
