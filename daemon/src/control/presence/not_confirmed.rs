//! Reasons for a missing confirmation, and what the person can do about each.

use std::time::Duration;

#[cfg(target_os = "linux")]
use regauth_shared::presence::Action;

use crate::control::presence::PLATFORM;
use crate::control::presence::platform::Unavailable;
use crate::control::presence::prompts::TooSoon;

/// Reason for a missing confirmation, as a clause.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotConfirmed {
    /// The platform does not ask.
    #[error("nobody could be asked: {0}")]
    Unavailable(#[from] Unavailable),
    /// The kernel names no process that polkit could decide about.
    #[error("nobody could be asked: the program that asks has ended or is in a container")]
    NoProcess,
    /// No agent shows polkit's questions.
    #[cfg(target_os = "linux")]
    #[error("nobody could be asked: your session has no authentication agent of polkit")]
    NoAgent,
    /// The whole change does not fit into a question.
    #[error("nobody was asked: the change is too long for a question that shows all of it")]
    TooLong,
    /// A rule forbids it.
    #[cfg(target_os = "linux")]
    #[error("a rule of polkit forbids it ({})", .0.id())]
    ByRule(Action),
    /// macOS ended the question without an answer, such as when the screen was locked.
    #[cfg(target_os = "macos")]
    #[error("macOS ended its question without an answer (error {0} of LocalAuthentication)")]
    Interrupted(isize),
    /// The person said no, or could not authenticate.
    #[error("{PLATFORM}'s question was answered with no")]
    ByPerson,
    /// No answer.
    #[error("{PLATFORM}'s question was not answered within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The client has gone, or the daemon ends.
    #[error("the program that asked has gone")]
    Gone,
    /// Another question is open.
    #[error("another question of {PLATFORM} for you is still open")]
    Busy,
    /// The person has refused a moment ago.
    #[error("the last question was refused, so the next one is in {} s", .0.as_secs() + 1)]
    Paused(Duration),
}

impl NotConfirmed {
    /// True if the platform can ask nobody here.
    pub(super) fn is_impossible(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::NoProcess => true,
            #[cfg(target_os = "linux")]
            Self::NoAgent => true,
            #[cfg(target_os = "linux")]
            Self::ByRule(_) => false,
            #[cfg(target_os = "macos")]
            Self::Interrupted(_) => false,
            Self::TooLong | Self::ByPerson | Self::TimedOut(_) | Self::Gone | Self::Busy | Self::Paused(_) => false,
        }
    }

    /// True if a question was asked, or a rule has answered it.
    pub(super) fn is_answer(&self) -> bool {
        // A program could fill the audit record with requests that open no question.
        !self.is_impossible() && !matches!(self, Self::TooLong | Self::Busy | Self::Paused(_))
    }

    /// Next step of the person.
    pub(super) fn next_step(&self, is_guarded: bool) -> String {
        let step = match self {
            Self::Unavailable(_) if !is_guarded => Unavailable::NEXT_STEP,
            Self::Unavailable(_) => "",
            Self::TooLong => "make the change in smaller parts",
            Self::NoProcess => "run it outside of the container",
            #[cfg(target_os = "linux")]
            Self::NoAgent => "run it in a terminal, where regauthctl asks itself, or on the desktop",
            #[cfg(target_os = "linux")]
            Self::ByRule(_) => "see /etc/polkit-1/rules.d",
            #[cfg(target_os = "macos")]
            Self::Interrupted(_) => "repeat the same command at the unlocked screen of this Mac and confirm it",
            Self::ByPerson | Self::TimedOut(_) | Self::Gone => "repeat the same command and confirm it",
            Self::Busy => "answer it, then repeat the same command",
            Self::Paused(_) => "repeat the same command then",
        };
        match (step, is_guarded) {
            ("", _) => "repeat the same command with sudo".to_owned(),
            (step, true) => format!("{step}, or repeat the same command with sudo"),
            (step, false) => step.to_owned(),
        }
    }
}

impl From<TooSoon> for NotConfirmed {
    fn from(reason: TooSoon) -> Self {
        match reason {
            TooSoon::Open => Self::Busy,
            TooSoon::Paused(left) => Self::Paused(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_opens_no_question_has_no_answer() {
        for answer in [
            NotConfirmed::ByPerson,
            NotConfirmed::TimedOut(Duration::from_secs(1)),
            NotConfirmed::Gone,
        ] {
            assert!(answer.is_answer(), "{answer}");
        }
        for none in [
            NotConfirmed::Busy,
            NotConfirmed::Paused(Duration::from_secs(1)),
            NotConfirmed::NoProcess,
            NotConfirmed::TooLong,
        ] {
            assert!(!none.is_answer(), "{none}");
        }
    }
}
