//! Pace of questions to a person: one at a time for each user, and after each refusal a longer pause.
//!
//! A program could ask again and again until the person says yes to be left alone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Questions of all users.
#[derive(Debug, Default)]
pub(crate) struct Prompts(Mutex<HashMap<u32, UserPrompts>>);

#[derive(Clone, Copy, Debug, Default)]
struct UserPrompts {
    is_open: bool,
    /// Refusals since the last yes.
    refusals: u32,
    /// End of the pause after the last refusal.
    pause_end: Option<Instant>,
}

/// Reason for not asking now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooSoon {
    /// Another question of this user is open.
    Open,
    /// The person has refused a moment ago.
    Paused(Duration),
}

/// Open question. Dropped without a yes, it counts as refused: a program can end before the person answers.
#[derive(Debug)]
pub(super) struct Prompt<'a> {
    prompts: &'a Prompts,
    user: u32,
    end: End,
}

/// End of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accepted,
    Refused,
    NotAsked,
}

impl Prompts {
    /// Opens a question to a user.
    ///
    /// # Errors
    /// [`TooSoon`].
    pub(super) fn open(&self, user: u32, now: Instant) -> Result<Prompt<'_>, TooSoon> {
        let mut users = self.lock();
        users.retain(|_, prompts| !prompts.is_over(now));
        let prompts = users.entry(user).or_default();
        if prompts.is_open {
            return Err(TooSoon::Open);
        }
        let left = prompts.pause_end.map(|end| end.saturating_duration_since(now));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Err(TooSoon::Paused(left));
        }
        prompts.is_open = true;
        Ok(Prompt {
            prompts: self,
            user,
            end: End::Refused,
        })
    }

    fn close(&self, user: u32, end: End, now: Instant) {
        let mut users = self.lock();
        let prompts = users.entry(user).or_default();
        prompts.is_open = false;
        match end {
            End::Accepted => *prompts = UserPrompts::default(),
            End::NotAsked => {}
            End::Refused => {
                let doublings = prompts.refusals.min(MAX_DOUBLINGS);
                prompts.refusals = prompts.refusals.saturating_add(1);
                prompts.pause_end = Some(now + FIRST_PAUSE * 2_u32.pow(doublings));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, UserPrompts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserPrompts {
    /// True if nothing is left to remember.
    fn is_over(&self, now: Instant) -> bool {
        !self.is_open && self.pause_end.is_none_or(|end| now > end + MEMORY)
    }
}

impl Prompt<'_> {
    /// The person has said yes.
    pub(super) fn accept(mut self) {
        self.end = End::Accepted;
    }

    /// Nobody was asked. Earlier refusals still count.
    pub(super) fn withdraw(mut self) {
        self.end = End::NotAsked;
    }
}

impl Drop for Prompt<'_> {
    fn drop(&mut self) {
        self.prompts.close(self.user, self.end, Instant::now());
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(3);
/// Longest pause: about 13 minutes.
const MAX_DOUBLINGS: u32 = 8;
/// Time without a question after which refusals are forgotten.
const MEMORY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_question_at_a_time_and_another_user_too() {
        let (prompts, now) = (Prompts::default(), Instant::now());
        let first = prompts.open(1000, now).unwrap();
        assert_eq!(prompts.open(1000, now).unwrap_err(), TooSoon::Open);
        prompts.open(1001, now).unwrap().accept();
        first.accept();
        prompts.open(1000, now).unwrap().accept();
    }

    #[test]
    fn each_refusal_doubles_the_pause_and_a_yes_ends_it() {
        let (prompts, now) = (Prompts::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..11 {
            prompts.close(1000, End::Refused, now);
            let TooSoon::Paused(pause) = prompts.open(1000, now).unwrap_err() else {
                panic!("no pause");
            };
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [3, 6, 12, 24, 48, 96, 192, 384, 768, 768, 768]);
        prompts.open(1000, now + FIRST_PAUSE * 256).unwrap().accept();
        prompts.open(1000, now).unwrap().accept();
    }

    #[test]
    fn a_question_whose_asker_has_gone_counts_as_refused() {
        let (prompts, now) = (Prompts::default(), Instant::now());
        drop(prompts.open(1000, now).unwrap());
        assert!(matches!(prompts.open(1000, now), Err(TooSoon::Paused(_))));
    }

    #[test]
    fn a_question_that_nobody_saw_does_not_shorten_the_next_pause() {
        let (prompts, now) = (Prompts::default(), Instant::now());
        prompts.close(1000, End::Refused, now);
        let later = now + FIRST_PAUSE;
        prompts.open(1000, later).unwrap().withdraw();
        prompts.close(1000, End::Refused, later);
        assert_eq!(prompts.open(1000, later).unwrap_err(), TooSoon::Paused(FIRST_PAUSE * 2));
    }

    #[test]
    fn refusals_are_forgotten_after_an_hour() {
        let (prompts, now) = (Prompts::default(), Instant::now());
        prompts.close(1000, End::Refused, now);
        prompts.close(1000, End::Refused, now);
        let later = now + MEMORY * 2;
        prompts.open(1001, later).unwrap().accept();
        assert!(!prompts.lock().contains_key(&1000));
    }
}
