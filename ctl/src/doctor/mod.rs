//! Finds out why a client does not use the proxy, or why the proxy does not serve it: the daemon and its files, each
//! registry, each client's effective settings and what overrides them. Real clients are asked where they can tell.
//!
//! A check is a function from the [`Patient`] to findings. None of them changes anything: what can be mended without
//! asking anybody says so, and `--fix` does it.

mod cargo;
mod daemon;
mod git;
mod index;
mod npm;
mod patient;
mod python;
mod registries;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use serde::Serialize;

use crate::client::Client;
pub(crate) use patient::Patient;

/// Something that is not as it should be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Finding {
    /// What a program can rely on.
    pub(crate) code: &'static str,
    /// Whether something does not work; else it is only worth knowing.
    pub(crate) broken: bool,
    /// What is so.
    pub(crate) what: String,
    /// Why that matters.
    pub(crate) why: &'static str,
    /// The command that mends it, or what to do where none can.
    pub(crate) mend: String,
    /// What `--fix` does about it.
    #[serde(skip)]
    pub(crate) fix: Option<Fix>,
}

/// What can be mended without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// Has the daemon write its bundle again.
    Reload,
    /// Takes rights to the configuration from others.
    Close,
    /// Brings clients that are set up in line with what is so now.
    SetUpAnew,
}

impl Finding {
    fn new(code: &'static str, what: impl Into<String>, why: &'static str, mend: impl Into<String>) -> Self {
        Self {
            code,
            broken: true,
            what: what.into(),
            why,
            mend: mend.into(),
            fix: None,
        }
    }

    /// The same, where nothing is broken by it.
    fn only_worth_knowing(self) -> Self {
        Self { broken: false, ..self }
    }

    /// The same, with what `--fix` does.
    fn fixed_by(self, fix: Fix) -> Self {
        Self { fix: Some(fix), ..self }
    }
}

/// Looks at everything.
pub(crate) fn examine(folders: &Folders, client: &Client) -> Vec<Finding> {
    let patient = match Patient::admit(folders, client) {
        Ok(patient) => patient,
        Err(error) => return vec![daemon::unreachable(&error)],
    };
    let mut findings = daemon::check(&patient);
    for check in [
        registries::check,
        index::check,
        patient::environment,
        cargo::check,
        git::check,
        npm::check,
        python::check,
    ] {
        findings.extend(check(&patient));
    }
    findings
}

/// Mends what can be mended without asking anybody, and says what was done.
///
/// # Errors
/// What was to be done could not be.
pub(crate) fn mend(findings: &[Finding], folders: &Folders, client: &Client) -> Result<Vec<String>, ErrorBody> {
    let mut done = Vec::new();
    let mut fixes: Vec<Fix> = findings.iter().filter_map(|finding| finding.fix).collect();
    fixes.dedup();
    for fix in fixes {
        done.push(match fix {
            Fix::Reload => daemon::reload(client)?,
            Fix::Close => daemon::close(folders)?,
            Fix::SetUpAnew => crate::setup::refresh(folders, client).trim_end().to_owned(),
        });
    }
    done.retain(|line| !line.is_empty());
    Ok(done)
}
