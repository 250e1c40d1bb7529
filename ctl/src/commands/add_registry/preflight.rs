//! Questions to the registry before the token is asked for: is it there, is its certificate trusted, is this its index,
//! and which scheme does it want?
//!
//! The daemon asks (`check-registry`), over the same verified connection that the token will take later.

use regauth_shared::request::AddRegistry;
use regauth_shared::response::{RegistryChecked, RegistryProblem};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};

use super::{Arguments, readable};
use crate::client::Client;
use crate::commands::offered_locations;
use crate::output::print_to_stderr;
use crate::paste::{self, PastedLogin};
use crate::presets::Username;
use crate::prompt;

/// Result of the questions.
pub(super) enum Preflight {
    /// A token may be asked for.
    Passed {
        /// Authentication schemes that the registry asks for, in lower case.
        challenges: Vec<String>,
    },
    /// No token would work at this URL.
    Problem(ErrorBody),
}

/// Asks a registry that a team's file defines.
///
/// # Errors
/// It cannot be used as described.
pub(super) fn require_passed(request: AddRegistry, client: &Client) -> Result<RegistryChecked, ErrorBody> {
    let checked: RegistryChecked = client.call(&Request::CheckRegistry(Box::new(request)))?.answer;
    match checked.problem {
        Some(problem) => Err(ErrorBody::new(ErrorKind::NotVerified, problem.message)
            .hint(format!("{}; --no-verify adds it unseen", problem.hint))),
        None => Ok(checked),
    }
}

/// Adds to the error of a rejected token how to give the user name: if the token's text is a login, or the registry asks for
/// one. `check` is the registry's definition, if it has no user name.
pub(super) fn with_user_name_hint(
    error: ErrorBody,
    check: Option<AddRegistry>,
    pasted: Option<PastedLogin>,
    client: &Client,
) -> ErrorBody {
    if error.kind != ErrorKind::TokenRejected {
        return error;
    }
    let user_name = match (check, pasted) {
        (Some(_), Some(PastedLogin::BasicHeader)) => {
            Some("repeat with --scheme basic --username USER and the token alone".to_owned())
        }
        (Some(check), pasted) => wants_user_name(check, pasted, client),
        (None, _) => None,
    };
    let error = match user_name {
        Some(advice) => paste::with_advice(error, &advice),
        None => error,
    };
    paste::with_login_hint(error, pasted)
}

/// Advice for a registry that asks for a user name with the token. A scheme that was given may be right, unless the token is
/// a login.
fn wants_user_name(check: AddRegistry, pasted: Option<PastedLogin>, client: &Client) -> Option<String> {
    let is_login = pasted == Some(PastedLogin::UserAndToken);
    if check.scheme.is_some() && !is_login {
        return None;
    }
    let checked = client.call::<RegistryChecked>(&Request::CheckRegistry(Box::new(check)));
    let challenges = checked.map(|reply| reply.answer.challenges).unwrap_or_default();
    let wants = |scheme: &str| challenges.iter().any(|challenge| challenge == scheme);
    if !wants("basic") || wants("bearer") {
        return None;
    }
    let how = if is_login {
        "--scheme basic --username USER"
    } else {
        "--username USER"
    };
    Some(format!(
        "the registry asks for a user name with the token: repeat with {how}"
    ))
}

impl Arguments {
    /// Asks the registry, unless no person is asked for the token or verification is off. Completes the scheme by the
    /// registry's challenge.
    ///
    /// # Errors
    /// The registry cannot be used as described.
    pub(super) fn check_before_token(&mut self, name: &RegistryName, client: &Client) -> Result<(), ErrorBody> {
        if self.is_checked || self.no_verify || !self.token.asks_a_person() || !prompt::is_interactive() {
            return Ok(());
        }
        let given = self.index.clone();
        let challenges = match self.check_with_person(name, client)? {
            Preflight::Passed { challenges } => challenges,
            Preflight::Problem(error) => return Err(error),
        };
        if let Some(index) = self.index.as_deref().filter(|index| given.as_deref() != Some(*index)) {
            self.answers.keep(&["--index", index]);
        }
        self.prompt_for_username(&challenges)
    }

    /// Asks whether the token service of a container registry may get the token, if it is outside of the scopes.
    ///
    /// # Errors
    /// The person says no; those of the daemon.
    pub(super) fn ask_for_token_service(&mut self, name: &RegistryName, client: &Client) -> Result<(), ErrorBody> {
        let decision = self.locations.decision(client);
        let (request, known) = (self.request(name, None)?, self.known_service.take());
        let Some(service) = offered_locations::token_service(request, known, decision, client)? else {
            return Ok(());
        };
        self.answers.keep_further(&["--token-service", &service]);
        self.token_service = Some(service);
        Ok(())
    }

    /// Asks the registry. An untrusted certificate leads to the question for a CA file, and a git index that is none to
    /// `sparse+`. With `--no-verify`, no problem of the registry counts.
    ///
    /// # Errors
    /// The name is taken, or no daemon answers. A URL that is none is a problem.
    pub(super) fn check_with_person(&mut self, name: &RegistryName, client: &Client) -> Result<Preflight, ErrorBody> {
        loop {
            let checked = match self.check(name, client) {
                Ok(checked) => checked,
                Err(error) if error.kind == ErrorKind::Invalid => return Ok(Preflight::Problem(error)),
                Err(error) => return Err(error),
            };
            let Some(problem) = checked.problem.as_ref().filter(|_| !self.no_verify) else {
                self.ask_if_sparse(&checked)?;
                self.known_service = Some(checked.token_service);
                return Ok(Preflight::Passed {
                    challenges: checked.challenges,
                });
            };
            let is_solved = match problem.cause.as_str() {
                UNTRUSTED => self.prompt_for_ca_file(problem)?,
                NO_INDEX => self.try_sparse(name, client)?,
                _ => false,
            };
            if !is_solved {
                let error = ErrorBody::new(ErrorKind::NotVerified, problem.message.clone());
                let hint = format!("{}; --no-verify adds it unseen", problem.hint);
                return Ok(Preflight::Problem(error.hint(hint)));
            }
        }
    }

    /// Asks for the user name if the registry wants Basic authentication, or does not tell.
    pub(super) fn prompt_for_username(&mut self, challenges: &[String]) -> Result<(), ErrorBody> {
        if self.username.is_some() || self.scheme.is_some() || self.source.has_a_scheme() {
            return Ok(());
        }
        // The product's table knows which of its repositories want one.
        let location = self.scopes.first();
        if location.is_some_and(|url| self.preset.is_some_and(|preset| preset.is_repository(url))) {
            return Ok(());
        }
        let wants = |scheme: &str| challenges.iter().any(|challenge| challenge == scheme);
        let description = match self.preset.map(|preset| &preset.username) {
            Some(Username::Optional(description)) => *description,
            Some(_) => return Ok(()),
            None if wants("basic") && !wants("bearer") => "the registry asks for one",
            // Without a question, bearer is the daemon's default.
            None if wants("bearer") || !self.is_checked => return Ok(()),
            None => "if the registry requires one with the token",
        };
        self.username = prompt::username(description)?;
        if let Some(username) = self.username.clone() {
            self.answers.keep(&["--username", &username]);
        }
        Ok(())
    }

    fn check(&self, name: &RegistryName, client: &Client) -> Result<RegistryChecked, ErrorBody> {
        let request = self.request(name, None)?;
        let reply = client.call(&Request::CheckRegistry(Box::new(request)))?;
        Ok(reply.answer)
    }

    /// Asks for a CA file until one can be read. Returns false if the person gives none.
    fn prompt_for_ca_file(&mut self, problem: &RegistryProblem) -> Result<bool, ErrorBody> {
        if self.ca_file.is_some() {
            return Ok(false);
        }
        print_to_stderr(&format!("{}\n", problem.message));
        let Some(file) = prompt::ca_file()? else {
            return Ok(false);
        };
        let path = readable(&file)?;
        self.answers.keep(&["--ca-file", &path]);
        self.ca_file = Some(path.into());
        Ok(true)
    }

    /// Asks whether an `https://` index is a sparse one, if the registry tells nothing without a token.
    fn ask_if_sparse(&mut self, checked: &RegistryChecked) -> Result<(), ErrorBody> {
        let is_hidden = matches!(checked.status, Some(401 | 403));
        let looks_sparse = |index: &&mut String| !index.starts_with("sparse+") && !index.ends_with(".git");
        if let Some(index) = self.index.as_mut().filter(looks_sparse)
            && is_hidden
            && prompt::confirm(&format!(
                "{index} stands for a git repository. Is it a sparse index instead?"
            ))?
        {
            index.insert_str(0, "sparse+");
        }
        Ok(())
    }

    /// Reads an `https://` index as a sparse one, if the registry has that.
    fn try_sparse(&mut self, name: &RegistryName, client: &Client) -> Result<bool, ErrorBody> {
        let Some(git) = self.index.take_if(|index| !index.starts_with("sparse+")) else {
            return Ok(false);
        };
        let sparse = format!("sparse+{git}");
        self.index = Some(sparse.clone());
        let checked = self.check(name, client)?;
        let is_there = checked.problem.is_none() && matches!(checked.status, Some(200 | 401 | 403));
        if is_there {
            print_to_stderr(&format!(
                "note: there is no git repository, but a sparse index: {sparse}\n"
            ));
        } else {
            self.index = Some(git);
        }
        Ok(is_there)
    }
}

const UNTRUSTED: &str = "certificate-untrusted";
const NO_INDEX: &str = "no-index";
