//! Findings of the checks.

use serde::Serialize;

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
    /// Fix that `--fix` applies.
    #[serde(skip)]
    pub(super) fix: Option<AutomaticFix>,
}

/// Fix that needs no decision by the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutomaticFix {
    /// Makes the daemon read its configuration and write its bundle again.
    ReloadDaemon,
    /// Removes other users' permissions on the configuration.
    RestrictConfiguration,
    /// Updates the tools that are set up.
    RefreshSetup,
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
