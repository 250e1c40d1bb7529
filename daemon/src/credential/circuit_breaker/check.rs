//! State of the checks of one generation: when a denial causes one, and its verdict. `control/token_check.rs` asks the
//! registry.

use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Denial;

/// State of the checks: the daemon's own questions about the token, which client requests cause.
#[derive(Debug)]
pub(super) struct Check {
    running_since: Option<Instant>,
    last: Verdict,
    /// Time from which a clear denial causes another check.
    clear_at: Instant,
    clear_pause: Duration,
    /// Time from which a vague denial causes another check.
    vague_at: Instant,
    vague_pause: Duration,
}

/// Result of a check of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The registry accepts the token.
    Accepted,
    /// The registry rejects the token.
    Rejected,
    /// Something that the token could read is gone: the token may have ended, or the file was deleted.
    Doubtful,
    /// The registry did not answer, or its answers say nothing about the token.
    Unclear,
}

/// Next step of a denied request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Start a check.
    Check,
    /// A check is under way.
    Wait,
    /// A check ended a moment ago, or none is needed.
    Known(Verdict),
}

impl Check {
    /// No check yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            running_since: None,
            last: Verdict::Unclear,
            clear_at: now,
            clear_pause: CHECK_PAUSE,
            vague_at: now,
            vague_pause: CHECK_PAUSE,
        }
    }

    /// Starts a check unless one is under way or has just ended.
    pub(super) fn next_step(&mut self, denial: Denial, now: Instant) -> NextStep {
        let is_under_way = |since| now < since + VERDICT_TIMEOUT;
        if self.running_since.is_some_and(is_under_way) {
            return NextStep::Wait;
        }
        let next = match denial {
            Denial::Clear => self.clear_at,
            Denial::Vague => self.vague_at,
        };
        if now < next {
            return NextStep::Known(self.last);
        }
        self.running_since = Some(now);
        NextStep::Check
    }

    /// Verdict of the last check; `None` while one is under way.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.running_since.is_none().then_some(self.last)
    }

    /// True if trials wait for the check.
    pub(super) fn holds_trials(&self, now: Instant) -> bool {
        self.running_since.is_some_and(|since| now < since + TRIAL_HOLD)
    }

    /// Ends a check with its verdict.
    pub(super) fn end(&mut self, verdict: Verdict, now: Instant) {
        self.running_since = None;
        self.last = verdict;
        // A token that may be bad is not shown to the registry every second. One that is good may.
        self.clear_pause = match verdict {
            Verdict::Accepted => CHECK_PAUSE,
            _ => (self.clear_pause * 2).min(MAX_CHECK_PAUSE),
        };
        self.clear_at = now + self.clear_pause;
        self.vague_pause = (self.vague_pause * 2).min(MAX_CHECK_PAUSE);
        self.vague_at = now + self.vague_pause;
    }
}

/// Time for which the verdict of a check holds.
const CHECK_PAUSE: Duration = Duration::from_secs(1);
const MAX_CHECK_PAUSE: Duration = Duration::from_secs(60);
/// Time that a denied request waits for a verdict; a check that takes longer counts as lost.
pub(super) const VERDICT_TIMEOUT: Duration = Duration::from_secs(12);
/// Time that trials wait for a check.
const TRIAL_HOLD: Duration = Duration::from_secs(3);
