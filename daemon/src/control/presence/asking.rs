//! One question to a person, on every platform: at a bearable pace, until a deadline, while the program that asked is there.

use std::time::{Duration, Instant};

use crate::control::presence::Asker;
use crate::control::presence::not_confirmed::NotConfirmed;
use crate::control::presence::prompts::Prompts;

/// Platform's way to ask the person about one request.
pub(super) trait Authenticator {
    /// True if the request needs no question, as a rule of the administrator decides.
    ///
    /// # Errors
    /// A rule forbids the request, or nobody can be asked.
    async fn is_permitted(&self) -> Result<bool, NotConfirmed>;

    /// Asks the person, however long that takes.
    ///
    /// # Errors
    /// The person said no, or nobody could be asked.
    async fn ask(&self) -> Result<(), NotConfirmed>;

    /// Takes the question away that [`Authenticator::ask`] asks.
    async fn cancel(&self);
}

/// Way to ask.
pub(super) struct Asking<'a> {
    pub(super) prompts: &'a Prompts,
    pub(super) time_limit: Duration,
}

impl Asking<'_> {
    /// Has the person confirm the request of `asker`, unless a rule decides.
    ///
    /// # Errors
    /// [`NotConfirmed`].
    pub(super) async fn ask(&self, authenticator: &impl Authenticator, asker: &Asker) -> Result<(), NotConfirmed> {
        if !authenticator.is_permitted().await? {
            self.ask_person(authenticator, asker).await?;
        }
        // Its id may be that of another process by now, and polkit have decided about that.
        asker.is_there().then_some(()).ok_or(NotConfirmed::Gone)
    }

    async fn ask_person(&self, authenticator: &impl Authenticator, asker: &Asker) -> Result<(), NotConfirmed> {
        let prompt = self.prompts.open(asker.user, Instant::now())?;
        let answer = tokio::select! {
            answer = authenticator.ask() => Ok(answer),
            () = asker.gone() => Err(NotConfirmed::Gone),
            () = tokio::time::sleep(self.time_limit) => Err(NotConfirmed::TimedOut(self.time_limit)),
        };
        match answer {
            Ok(Ok(())) => {
                prompt.accept();
                Ok(())
            }
            Ok(Err(reason)) => {
                if reason.is_impossible() {
                    prompt.withdraw();
                }
                Err(reason)
            }
            Err(reason) => {
                authenticator.cancel().await;
                Err(reason)
            }
        }
    }
}

/// Longest time that a person has for the answer.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(120);
