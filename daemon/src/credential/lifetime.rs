//! How long a token lives, by two clocks.
//!
//! The wall clock can be set, forward and back, and the steady one may stand still while a laptop sleeps: a token is due
//! for renewal, or over, as soon as one of them says so. Pure: what the clocks say is given.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

/// What both clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The clock that nobody can set.
    pub steady: Instant,
    /// The clock that expiry times are given in.
    pub wall: OffsetDateTime,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let wall = OffsetDateTime::now_utc();
        #[cfg(test)]
        let wall = wall + tests::CLOCK_ERROR.get();
        Self {
            steady: Instant::now(),
            wall,
        }
    }

    fn plus(self, span: Duration) -> Option<Self> {
        Some(Self {
            steady: self.steady.checked_add(span)?,
            wall: self.wall.checked_add(span.try_into().ok()?)?,
        })
    }
}

/// From when to when a token can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    due: Moment,
    until: Moment,
}

impl Lifetime {
    /// The life of a token that was made `now` and says when it expires, or is known to live for `ttl`; the shorter of
    /// the two. `None` when it says nothing or lives longer than anyone can wait.
    ///
    /// A fresh token that has expired already means that this machine's clock is wrong: it is used for [`DOUBTFUL`], and
    /// the registry decides.
    pub fn new(now: Moment, expires: Option<OffsetDateTime>, ttl: Option<Duration>) -> Option<Self> {
        let left = expires.map(|expires| Duration::try_from(expires - now.wall).unwrap_or_default());
        let left = left.map(|left| if left.is_zero() { DOUBTFUL } else { left });
        let span = match (left, ttl) {
            (Some(left), Some(ttl)) => left.min(ttl),
            (left, ttl) => left.or(ttl)?,
        };
        Some(Self {
            due: now.plus(span.mul_f64(RENEWED_AFTER))?,
            until: now.plus(span)?,
        })
    }

    /// Whether the token must not be used any more.
    pub fn is_over(&self, now: Moment) -> bool {
        now.steady >= self.until.steady || now.wall >= self.until.wall
    }

    /// How long until the token should be renewed; zero when it should be by now.
    pub fn due_in(&self, now: Moment) -> Duration {
        let by_wall = Duration::try_from(self.due.wall - now.wall).unwrap_or_default();
        self.due.steady.saturating_duration_since(now.steady).min(by_wall)
    }

    /// When it ends.
    pub fn expires(&self) -> OffsetDateTime {
        self.until.wall
    }
}

/// The part of its life after which a token is renewed; the rest is the margin for attempts that fail.
const RENEWED_AFTER: f64 = 0.8;
/// How long a token is used that by our clock had expired before it came.
pub(super) const DOUBTFUL: Duration = Duration::from_secs(60);

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How wrong the wall clock is, for tests that set it.
        pub(crate) static CLOCK_ERROR: Cell<time::Duration> = const { Cell::new(time::Duration::ZERO) };
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(now: Moment, steady: i64, wall: i64) -> Moment {
        let shift = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        Moment {
            steady: now.steady + shift(steady),
            wall: now.wall + time::Duration::seconds(wall),
        }
    }

    #[test]
    fn either_clock_ends_a_life_and_makes_a_renewal_due() {
        let now = Moment::now();
        let life = Lifetime::new(now, None, Some(HOUR)).unwrap();
        for (steady, wall, due, over) in [
            (0, 0, false, false),
            (2879, 2879, false, false),
            (2880, 2880, true, false),
            (3599, 3599, true, false),
            (3600, 3600, true, true),
            // Set forward, a little and a lot; the token may be good in truth, and is made anew.
            (10, 2880, true, false),
            (10, 86_400, true, true),
            // Set back: what the wall clock says does not make the token live longer.
            (10, -86_400, false, false),
            (2880, -86_400, true, false),
            (3600, -86_400, true, true),
        ] {
            let then = at(now, steady, wall);
            let seen = (life.due_in(then).is_zero(), life.is_over(then));
            assert_eq!(seen, (due, over), "steady {steady}, wall {wall}");
        }
    }

    #[test]
    fn the_shorter_of_expiry_and_ttl_counts() {
        let now = Moment::now();
        let in_seconds = |seconds| Some(now.wall + time::Duration::seconds(seconds));
        let lives =
            |expires, ttl| Lifetime::new(now, expires, ttl).map(|life| (life.expires() - now.wall).whole_seconds());
        assert_eq!(lives(None, None), None);
        assert_eq!(lives(in_seconds(100), None), Some(100));
        assert_eq!(lives(in_seconds(100), Some(HOUR)), Some(100));
        assert_eq!(lives(in_seconds(7200), Some(HOUR)), Some(3600));
        assert_eq!(
            lives(in_seconds(-7200), None),
            Some(60),
            "a clock that is two hours fast"
        );
        assert_eq!(lives(None, Some(Duration::MAX)), None);
    }

    #[test]
    fn a_renewal_comes_after_four_fifths() {
        let now = Moment::now();
        let life = Lifetime::new(now, None, Some(Duration::from_secs(2))).unwrap();
        assert_eq!(life.due_in(now), Duration::from_millis(1600));
    }
}
