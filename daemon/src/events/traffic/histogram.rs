//! Histogram of durations with fixed buckets.

use std::time::Duration;

use regauth_shared::response::Histogram;

/// Number of durations in each bucket, and their sum.
#[derive(Clone, Debug, Default)]
pub(super) struct DurationCounts {
    counts: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl DurationCounts {
    /// Counts a duration.
    pub(super) fn count(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// The histogram as the protocol shows it.
    pub(super) fn view(&self) -> Histogram {
        let used = self
            .counts
            .iter()
            .rposition(|count| *count > 0)
            .map_or(0, |last| last + 1);
        Histogram {
            counts: self.counts.iter().take(used).copied().collect(),
            sum_us: self.sum_us,
        }
    }
}

/// Upper bounds of the buckets, inclusive, in microseconds: 10 µs to 60 s. regauthd itself takes tens of microseconds, a
/// registry milliseconds to seconds.
pub(super) const BOUNDS_US: [u64; 21] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let mut counts = DurationCounts::default();
        for micros in [0, 10, 11, 60_000_000, 60_000_001] {
            counts.count(Duration::from_micros(micros));
        }
        let view = counts.view();
        assert_eq!(view.counts.len(), BOUNDS_US.len() + 1);
        assert_eq!((view.counts[0], view.counts[1]), (2, 1));
        assert_eq!((view.counts[20], view.counts[21]), (1, 1));
        assert_eq!(view.sum_us, 120_000_022);
    }

    #[test]
    fn empty_buckets_at_the_end_are_left_out() {
        let mut counts = DurationCounts::default();
        assert!(counts.view().counts.is_empty());
        counts.count(Duration::from_micros(15));
        assert_eq!(counts.view().counts, [0, 1]);
    }
}
