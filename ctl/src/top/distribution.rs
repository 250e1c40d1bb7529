//! Percentiles of a histogram, and of the difference between two.

use regauth_shared::response::Histogram;
use serde::Serialize;

/// Percentiles of a duration, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Percentiles {
    /// Half of the durations are shorter.
    #[serde(rename = "p50-us")]
    pub(super) p50: u64,
    /// 95 of 100 durations are shorter.
    #[serde(rename = "p95-us")]
    pub(super) p95: u64,
    /// 99 of 100 durations are shorter.
    #[serde(rename = "p99-us")]
    pub(super) p99: u64,
}

impl Percentiles {
    /// Percentiles of the durations in `now` that are not in `before`; `None` if there are none.
    pub(super) fn between(before: Option<&Histogram>, now: &Histogram, bounds: &[u64]) -> Option<Self> {
        let earlier = |bucket| {
            before
                .and_then(|before| before.counts.get(bucket))
                .copied()
                .unwrap_or(0)
        };
        let counts = now.counts.iter().enumerate();
        let counts: Vec<u64> = counts
            .map(|(bucket, count)| count.saturating_sub(earlier(bucket)))
            .collect();
        let total: u64 = counts.iter().sum();
        (total > 0).then(|| Self {
            p50: quantile(&counts, total, bounds, 0.50),
            p95: quantile(&counts, total, bounds, 0.95),
            p99: quantile(&counts, total, bounds, 0.99),
        })
    }
}

/// Estimates a quantile: linear inside its bucket, as Prometheus' `histogram_quantile` does. Durations above the last bound
/// count as that bound.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate, of non-negative numbers far below 2^53"
)]
fn quantile(counts: &[u64], total: u64, bounds: &[u64], quantile: f64) -> u64 {
    let rank = quantile * total as f64;
    let mut below = 0;
    let mut lower = 0;
    for (count, upper) in counts.iter().zip(bounds) {
        let reached = below + count;
        if *count > 0 && reached as f64 >= rank {
            let part = (rank - below as f64) / *count as f64;
            return lower + ((upper - lower) as f64 * part).round() as u64;
        }
        below = reached;
        lower = *upper;
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [u64; 3] = [10, 100, 1_000];

    fn histogram(counts: &[u64]) -> Histogram {
        Histogram {
            counts: counts.to_vec(),
            sum_us: 0,
        }
    }

    #[test]
    fn interpolates_inside_the_bucket() {
        let all = histogram(&[0, 100]);
        let percentiles = Percentiles::between(None, &all, &BOUNDS).unwrap();
        assert_eq!((percentiles.p50, percentiles.p95, percentiles.p99), (55, 96, 99));
    }

    #[test]
    fn counts_only_what_came_since() {
        let before = histogram(&[1_000]);
        let now = histogram(&[1_000, 0, 2]);
        let percentiles = Percentiles::between(Some(&before), &now, &BOUNDS).unwrap();
        assert!(percentiles.p50 > 100 && percentiles.p99 <= 1_000, "{percentiles:?}");
        assert_eq!(Percentiles::between(Some(&now), &now, &BOUNDS), None);
    }

    #[test]
    fn a_duration_above_all_bounds_counts_as_the_last_bound() {
        let percentiles = Percentiles::between(None, &histogram(&[0, 0, 0, 7]), &BOUNDS).unwrap();
        assert_eq!(percentiles.p50, 1_000);
    }
}
