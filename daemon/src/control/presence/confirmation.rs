//! Confirmation of a request by a person: asked by polkit on Linux, by LocalAuthentication on macOS.
//!
//! [`question`](super::question) has the text, and [`asking`](super::asking) the pace and the deadline. No lock is held while a
//! person is asked.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use regauth_shared::ErrorBody;
use regauth_shared::presence::Action;
use tokio::sync::Semaphore;

use crate::config::PresenceMode;
use crate::control::controller::Controller;
use crate::control::presence::asking::{Asking, TIME_LIMIT};
use crate::control::presence::not_confirmed::NotConfirmed;
use crate::control::presence::prompts::Prompts;
use crate::control::presence::question::Question;
use crate::control::presence::{PLATFORM, platform};
use crate::control::review::{Review, changed_since};
use crate::control::server::Peer;

/// Questions to the persons of this daemon.
#[derive(Debug)]
pub(crate) struct Confirmation {
    mode: ArcSwap<PresenceMode>,
    prompts: Prompts,
    /// Open questions. On Linux each has a connection to the bus, which has few for each user.
    places: Semaphore,
    /// Key of the digests of reviews, new with each start; `None` without random numbers.
    review_key: Option<hmac::Key>,
}

impl Confirmation {
    /// No question yet, in the configured mode.
    pub(crate) fn new(mode: PresenceMode) -> Self {
        Self {
            mode: ArcSwap::from_pointee(mode),
            prompts: Prompts::default(),
            places: Semaphore::new(MAX_QUESTIONS),
            review_key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
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

    /// Digest of a review, for the person's next request. Its key keeps values from being guessed.
    pub(in crate::control) fn digest(&self, review: &Review) -> Option<String> {
        Some(review.digest(self.review_key.as_ref()?))
    }

    /// Refuses other changes than those that a person was shown.
    ///
    /// # Errors
    /// `failed`, if something was changed meanwhile.
    pub(in crate::control) fn refuse_other_than(&self, shown: Option<&str>, review: &Review) -> Result<(), ErrorBody> {
        match shown {
            Some(shown) if self.digest(review).as_deref() != Some(shown) => Err(changed_since("shown")),
            _ => Ok(()),
        }
    }

    /// Has the platform ask about a request. Without a question of its own, the dialogue says what kind of change it is.
    ///
    /// # Errors
    /// [`NotConfirmed`].
    pub(super) async fn ask(
        &self,
        controller: &Controller,
        peer: &Peer,
        action: Action,
        question: Option<Question>,
    ) -> Result<(), NotConfirmed> {
        let asker = peer.asker().ok_or(NotConfirmed::NoProcess)?;
        if question.as_ref().is_some_and(Question::is_too_long) {
            return Err(NotConfirmed::TooLong);
        }
        let asking = Asking {
            prompts: &self.prompts,
            time_limit: TIME_LIMIT,
        };
        let asked = async {
            let _place = self.places.acquire().await.map_err(|_| NotConfirmed::Gone)?;
            let authenticator = platform::prepare(asker, action, question).await?;
            asking.ask(&authenticator, asker).await
        };
        let asked = tokio::select! {
            asked = asked => asked,
            () = controller.proxy.drain.cancelled() => Err(NotConfirmed::Gone),
        };
        match &asked {
            Ok(()) => tracing::info!(
                user = asker.user,
                action = action.id(),
                "{PLATFORM} confirmed a request"
            ),
            Err(reason) if reason.is_impossible() => {}
            Err(reason) => {
                tracing::warn!(user = asker.user, action = action.id(), %reason, "a request was not confirmed");
            }
        }
        asked
    }
}

const MAX_QUESTIONS: usize = 16;
