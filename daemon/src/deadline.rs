//! End of a permission, by two clocks.
//!
//! The wall clock can be set back, and the monotonic clock stands still while a laptop sleeps. So a permission has ended as
//! soon as either clock says so. The wall clock's time is what files and answers show.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

/// Moment at which a permission ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The moment as the wall clock shows it.
    pub wall: OffsetDateTime,
    monotonic: Instant,
}

impl Deadline {
    /// Deadline in `span`, with the wall clock at `now`.
    pub fn after(now: OffsetDateTime, span: Duration) -> Self {
        let end = span.try_into().ok().and_then(|span| now.checked_add(span));
        Self::new(end.unwrap_or(now), span)
    }

    /// Deadline that a file gives as a time of the wall clock. It is at most `longest` away, also if the clock was set back.
    pub fn at(wall: OffsetDateTime, longest: Duration) -> Self {
        let left = Duration::try_from(wall - OffsetDateTime::now_utc()).unwrap_or_default();
        Self::new(wall, left.min(longest))
    }

    fn new(wall: OffsetDateTime, left: Duration) -> Self {
        let now = Instant::now();
        Self {
            wall,
            monotonic: now.checked_add(left).unwrap_or(now),
        }
    }

    /// True if either clock has passed it.
    pub fn has_passed(&self) -> bool {
        self.has_passed_at(OffsetDateTime::now_utc(), Instant::now())
    }

    fn has_passed_at(&self, wall: OffsetDateTime, monotonic: Instant) -> bool {
        wall >= self.wall || monotonic >= self.monotonic
    }

    /// Waits until either clock has passed it.
    pub async fn passed(&self) {
        while !self.has_passed() {
            // Checked repeatedly: a clock may be set, and a machine may sleep.
            tokio::time::sleep(self.left().min(CHECK_INTERVAL)).await;
        }
    }

    /// Time until the first clock passes it; zero after that.
    pub fn left(&self) -> Duration {
        let by_wall = Duration::try_from(self.wall - OffsetDateTime::now_utc()).unwrap_or_default();
        by_wall.min(self.monotonic.saturating_duration_since(Instant::now()))
    }
}

const CHECK_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn either_clock_ends_it_and_a_clock_that_is_set_back_does_not_prolong_it() {
        let (wall, monotonic) = (OffsetDateTime::now_utc(), Instant::now());
        let deadline = Deadline {
            wall: wall + HOUR,
            monotonic: monotonic + HOUR,
        };
        for (by_wall, by_monotonic, passed) in [
            (0, 0, false),
            (3599, 3599, false),
            (3600, 3600, true),
            // The machine was asleep, or the clock was set forward.
            (3600, 10, true),
            // Set back.
            (-86_400, 3599, false),
            (-86_400, 3600, true),
        ] {
            let at = (
                wall + time::Duration::seconds(by_wall),
                monotonic + Duration::from_secs(by_monotonic),
            );
            assert_eq!(
                deadline.has_passed_at(at.0, at.1),
                passed,
                "wall {by_wall}, monotonic {by_monotonic}"
            );
        }
    }

    #[test]
    fn a_restart_with_a_clock_that_was_set_back_does_not_prolong_it_beyond_its_whole_length() {
        let tomorrow = OffsetDateTime::now_utc() + 24 * HOUR;
        assert!(Deadline::at(tomorrow, HOUR).left() <= HOUR);
        assert!(Deadline::at(OffsetDateTime::now_utc() - HOUR, HOUR).has_passed());
    }
}
