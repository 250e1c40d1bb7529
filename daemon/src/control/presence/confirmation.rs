//! Confirmation of a request by a person, whom polkit asks.
//!
//! polkit first decides without a question: a rule may permit or forbid the request. Otherwise it asks until a deadline, while
//! the client and the daemon run. No lock is held meanwhile.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use regauth_shared::Request;
use regauth_shared::presence::Action;
use tokio::sync::Semaphore;

use crate::config::PresenceMode;
use crate::control::controller::Controller;
use crate::control::presence::peer_process::PeerProcess;
use crate::control::presence::polkit::{Answer, Authority, Polkit, Unavailable};
use crate::control::presence::prompts::{Prompts, TooSoon};
use crate::control::presence::question::Question;
use crate::control::server::Peer;

/// Questions to the persons of this daemon.
#[derive(Debug)]
pub(crate) struct Confirmation {
    mode: ArcSwap<PresenceMode>,
    prompts: Prompts,
    /// Connections to the bus, which has few for each user.
    places: Semaphore,
}

impl Confirmation {
    /// No question yet, in the configured mode.
    pub(crate) fn new(mode: PresenceMode) -> Self {
        Self {
            mode: ArcSwap::from_pointee(mode),
            prompts: Prompts::default(),
            places: Semaphore::new(MAX_CONNECTIONS),
        }
    }

    /// Configured mode in service.
    pub(crate) fn mode(&self) -> PresenceMode {
        **self.mode.load()
    }

    /// Replaces the configured mode.
    pub(crate) fn set_mode(&self, mode: PresenceMode) {
        self.mode.store(Arc::new(mode));
    }
}

/// Reason for a missing confirmation, as a clause.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotConfirmed {
    /// polkit does not decide.
    #[error("nobody could be asked: {0}")]
    Unavailable(#[from] Unavailable),
    /// The kernel names no process that polkit could decide about.
    #[error("nobody could be asked: the program that asks has ended or is in a container")]
    NoProcess,
    /// No agent shows polkit's questions.
    #[error("nobody could be asked: your session has no authentication agent of polkit")]
    NoAgent,
    /// A rule forbids it.
    #[error("a rule of polkit forbids it ({})", .0.id())]
    ByRule(Action),
    /// The person said no, or could not authenticate.
    #[error("polkit's question was answered with no")]
    ByPerson,
    /// No answer.
    #[error("polkit's question was not answered within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The client has gone, or the daemon ends.
    #[error("the program that asked has gone")]
    Gone,
    /// Another question is open.
    #[error("another question of polkit for you is still open")]
    Busy,
    /// The person has refused a moment ago.
    #[error("the last question was refused, so the next one is in {} s", .0.as_secs() + 1)]
    Paused(Duration),
}

impl NotConfirmed {
    /// True if polkit can ask nobody here.
    pub(super) fn is_impossible(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::NoProcess | Self::NoAgent => true,
            Self::ByRule(_) | Self::ByPerson | Self::TimedOut(_) | Self::Gone | Self::Busy | Self::Paused(_) => false,
        }
    }

    /// Next step of the person.
    pub(super) fn next_step(&self, is_guarded: bool) -> String {
        let step = match self {
            Self::Unavailable(_) if !is_guarded => {
                "install polkit and regauth's package, or set presence = \"auto\" in config.toml and restart regauthd"
            }
            Self::Unavailable(_) => "",
            Self::NoProcess => "run it outside of the container",
            Self::NoAgent => "run it in a terminal, where regauthctl asks itself, or on the desktop",
            Self::ByRule(_) => "see /etc/polkit-1/rules.d",
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

impl Confirmation {
    /// True if this machine seems to have polkit and regauth's actions.
    pub(super) fn can_ask() -> bool {
        Polkit::of_machine().is_installed()
    }

    /// Has polkit decide about a request of a process. The dialogue says what `request` asks, if polkit trusts this daemon to
    /// say so.
    ///
    /// # Errors
    /// [`NotConfirmed`].
    pub(super) async fn ask(
        &self,
        controller: &Controller,
        peer: &Peer,
        action: Action,
        request: Option<&Request>,
    ) -> Result<(), NotConfirmed> {
        let process = peer.process().ok_or(NotConfirmed::NoProcess)?;
        let question = request.and_then(Question::about);
        let asking = Asking {
            polkit: Polkit::of_machine(),
            prompts: &self.prompts,
            time_limit: TIME_LIMIT,
        };
        let asked = async {
            let _place = self.places.acquire().await.map_err(|_| NotConfirmed::Gone)?;
            asking.ask(process, action, question.as_ref()).await
        };
        let asked = tokio::select! {
            asked = asked => asked,
            () = controller.proxy.drain.cancelled() => Err(NotConfirmed::Gone),
        };
        match &asked {
            Ok(()) => tracing::info!(user = process.user, action = action.id(), "polkit confirmed a request"),
            Err(reason) if reason.is_impossible() => {}
            Err(reason) => {
                tracing::warn!(user = process.user, action = action.id(), %reason, "a request was not confirmed");
            }
        }
        asked
    }
}

/// Way to ask.
struct Asking<'a> {
    polkit: Polkit,
    prompts: &'a Prompts,
    time_limit: Duration,
}

impl Asking<'_> {
    async fn ask(
        &self,
        process: &PeerProcess,
        action: Action,
        question: Option<&Question>,
    ) -> Result<(), NotConfirmed> {
        let authority = self.polkit.connect().await?;
        match authority.check(process, action).await? {
            Answer::Yes => {}
            Answer::No => return Err(NotConfirmed::ByRule(action)),
            Answer::Challenge => self.ask_person(&authority, process, action, question).await?,
        }
        // Its id may be that of another process by now, and polkit have decided about that.
        process.is_alive().then_some(()).ok_or(NotConfirmed::Gone)
    }

    async fn ask_person(
        &self,
        authority: &Authority,
        process: &PeerProcess,
        action: Action,
        question: Option<&Question>,
    ) -> Result<(), NotConfirmed> {
        let prompt = self.prompts.open(process.user, std::time::Instant::now())?;
        let answer = tokio::select! {
            answer = authority.ask(process, action, question) => Ok(answer),
            () = process.ended() => Err(NotConfirmed::Gone),
            () = tokio::time::sleep(self.time_limit) => Err(NotConfirmed::TimedOut(self.time_limit)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                authority.cancel().await;
                return Err(reason);
            }
        };
        match answer {
            Ok(Answer::Yes) => prompt.accept(),
            Ok(Answer::No) => return Err(NotConfirmed::ByPerson),
            Ok(Answer::Challenge) => {
                prompt.withdraw();
                return Err(NotConfirmed::NoAgent);
            }
            Err(error) => {
                prompt.withdraw();
                return Err(error.into());
            }
        }
        Ok(())
    }
}

const MAX_CONNECTIONS: usize = 16;
/// Longest time that a person has for the answer.
const TIME_LIMIT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
