//! Lifetime of a token, by two clocks. Pure: the caller reads the clocks.
//!
//! A person can set the wall clock forward and back, and the monotonic clock may stand still while a laptop sleeps. So
//! a token is due for a refresh, or has expired, as soon as either clock says so.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

/// One moment, as both clocks show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockReading {
    /// The clock that cannot be set.
    pub monotonic: Instant,
    /// The clock of expiry times.
    pub wall: OffsetDateTime,
}

impl ClockReading {
    /// Reads both clocks.
    pub(crate) fn now() -> Self {
        let wall = OffsetDateTime::now_utc();
        #[cfg(test)]
        let wall = wall + tests::CLOCK_ERROR.get();
        Self {
            monotonic: Instant::now(),
            wall,
        }
    }

    fn plus(self, span: Duration) -> Option<Self> {
        Some(Self {
            monotonic: self.monotonic.checked_add(span)?,
            wall: self.wall.checked_add(span.try_into().ok()?)?,
        })
    }
}

/// Times at which a token is due for a refresh and expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    refresh_at: ClockReading,
    expires_at: ClockReading,
}

impl Lifetime {
    /// Lifetime of a token that was fetched `now`: until `expires` or for `ttl`, whichever is shorter. `None` if
    /// neither is given, or if it is too long for a clock.
    ///
    /// A fresh token that has expired already means that this machine's clock is wrong. It is used for
    /// [`WRONG_CLOCK_LIFETIME`], and the registry decides.
    pub(crate) fn new(now: ClockReading, expires: Option<OffsetDateTime>, ttl: Option<Duration>) -> Option<Self> {
        let left = expires.map(|expires| Duration::try_from(expires - now.wall).unwrap_or_default());
        let left = left.map(|left| if left.is_zero() { WRONG_CLOCK_LIFETIME } else { left });
        let span = match (left, ttl) {
            (Some(left), Some(ttl)) => left.min(ttl),
            (left, ttl) => left.or(ttl)?,
        };
        Some(Self {
            refresh_at: now.plus(refresh_after(span, fastrand::f64()))?,
            expires_at: now.plus(span)?,
        })
    }

    /// True if requests must not send the token any more.
    pub(crate) fn has_expired(&self, now: ClockReading) -> bool {
        now.monotonic >= self.expires_at.monotonic || now.wall >= self.expires_at.wall
    }

    /// Time until the token is due for a refresh; zero if it is due.
    pub(crate) fn refresh_in(&self, now: ClockReading) -> Duration {
        let by_wall = Duration::try_from(self.refresh_at.wall - now.wall).unwrap_or_default();
        let by_monotonic = self.refresh_at.monotonic.saturating_duration_since(now.monotonic);
        by_monotonic.min(by_wall)
    }

    /// Time of expiry.
    pub(crate) fn expires(&self) -> OffsetDateTime {
        self.expires_at.wall
    }
}

/// Age at which a token is refreshed: 80 % of its lifetime, or 5 min before its end if that is earlier, but at least half
/// of it. `jitter`, 0 to 1, moves it by up to 10 %, so that many daemons do not ask a service at the same moment.
fn refresh_after(span: Duration, jitter: f64) -> Duration {
    let usual = span.mul_f64(REFRESH_FRACTION).min(span.saturating_sub(REFRESH_MARGIN));
    let earliest = span / 2;
    usual.max(earliest).mul_f64(0.9 + jitter / 5.0).max(earliest)
}

/// Part of its lifetime after which a token is refreshed. The rest is the margin for fetches that fail.
const REFRESH_FRACTION: f64 = 0.8;
/// Least margin for fetches that fail, if the lifetime is long enough.
const REFRESH_MARGIN: Duration = Duration::from_secs(300);
/// Time for which a token is used that, by our clock, had expired before it was fetched.
const WRONG_CLOCK_LIFETIME: Duration = Duration::from_secs(60);

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Error of the wall clock, for tests that set it.
        pub(crate) static CLOCK_ERROR: Cell<time::Duration> = const { Cell::new(time::Duration::ZERO) };
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(now: ClockReading, monotonic: u64, wall: i64) -> ClockReading {
        ClockReading {
            monotonic: now.monotonic + Duration::from_secs(monotonic),
            wall: now.wall + time::Duration::seconds(wall),
        }
    }

    #[test]
    fn either_clock_expires_a_token_and_makes_a_refresh_due() {
        let now = ClockReading::now();
        let lifetime = Lifetime::new(now, None, Some(HOUR)).unwrap();
        for (monotonic, wall, due, expired) in [
            (0, 0, false, false),
            (2591, 2591, false, false),
            (3169, 3169, true, false),
            (3599, 3599, true, false),
            (3600, 3600, true, true),
            // Set forward, a little and a lot: the token may still be good, and is refreshed.
            (10, 3169, true, false),
            (10, 86_400, true, true),
            // Set back: the wall clock does not prolong a lifetime.
            (10, -86_400, false, false),
            (3169, -86_400, true, false),
            (3600, -86_400, true, true),
        ] {
            let then = at(now, monotonic, wall);
            let seen = (lifetime.refresh_in(then).is_zero(), lifetime.has_expired(then));
            assert_eq!(seen, (due, expired), "monotonic {monotonic}, wall {wall}");
        }
    }

    #[test]
    fn the_shorter_of_expiry_and_ttl_counts() {
        let now = ClockReading::now();
        let in_seconds = |seconds| Some(now.wall + time::Duration::seconds(seconds));
        let seconds = |expires, ttl| {
            Lifetime::new(now, expires, ttl).map(|lifetime| (lifetime.expires() - now.wall).whole_seconds())
        };
        assert_eq!(seconds(None, None), None);
        assert_eq!(seconds(in_seconds(100), None), Some(100));
        assert_eq!(seconds(in_seconds(100), Some(HOUR)), Some(100));
        assert_eq!(seconds(in_seconds(7200), Some(HOUR)), Some(3600));
        assert_eq!(
            seconds(in_seconds(-7200), None),
            Some(60),
            "a clock that is two hours fast"
        );
        assert_eq!(seconds(None, Some(Duration::MAX)), None);
    }

    #[test]
    fn a_refresh_is_due_after_four_fifths_or_five_minutes_before_the_end() {
        let check = |lifetime, jitter, expected| {
            let found = refresh_after(Duration::from_secs(lifetime), jitter).as_secs();
            assert_eq!(found, expected, "{lifetime} s, jitter {jitter}");
        };
        // 12 h: 80 %; 15 min: 5 min before the end; 6 min and less: half.
        for (lifetime, usual) in [(43_200, 34_560), (900, 600), (360, 180), (20, 10)] {
            check(lifetime, 0.5, usual);
            check(lifetime, 1.0, usual * 11 / 10);
        }
        check(43_200, 0.0, 31_104);
        check(20, 0.0, 10);
    }
}
