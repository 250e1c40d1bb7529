//! Samples of the last minute: counters now, one sample ago, and a minute ago.

use std::collections::{BTreeMap, VecDeque};

use regauth_shared::RegistryName;
use regauth_shared::response::{RegistryTraffic, Traffic};

/// Counters of the last minute, and the rate of each registry over the last samples.
#[derive(Debug, Default)]
pub(super) struct Window {
    snapshots: VecDeque<Traffic>,
    history: BTreeMap<RegistryName, VecDeque<f64>>,
}

impl Window {
    /// Adds the newest counters. Counters of another daemon replace all earlier ones.
    pub(super) fn push(&mut self, traffic: Traffic) {
        let is_continued = |last: &Traffic| last.started == traffic.started && last.elapsed_us < traffic.elapsed_us;
        if !self.snapshots.back().is_some_and(is_continued) {
            self.snapshots.clear();
        }
        self.snapshots.push_back(traffic);
        while self.snapshots.len() > 2 && self.second_covers_a_minute() {
            self.snapshots.pop_front();
        }
        self.record_rates();
    }

    /// Newest counters.
    pub(super) fn now(&self) -> Option<&Traffic> {
        self.snapshots.back()
    }

    /// Counters of a minute ago, or the oldest since `top` was started.
    pub(super) fn minute_ago(&self) -> Option<&Traffic> {
        self.snapshots.front().filter(|_| self.snapshots.len() > 1)
    }

    /// Increase a second of a counter since the sample before; `None` with the first sample of a daemon.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
    pub(super) fn rate(&self, counter: impl Fn(&Traffic) -> u64) -> Option<f64> {
        let now = self.snapshots.back()?;
        let before = self.snapshots.get(self.snapshots.len().checked_sub(2)?)?;
        let seconds = (now.elapsed_us - before.elapsed_us) as f64 / 1e6;
        Some(counter(now).saturating_sub(counter(before)) as f64 / seconds)
    }

    /// Requests a second of a registry at each of the last samples, the newest last.
    pub(super) fn history(&self, name: &RegistryName) -> impl DoubleEndedIterator<Item = f64> {
        self.history.get(name).into_iter().flatten().copied()
    }

    fn second_covers_a_minute(&self) -> bool {
        let (now, second) = (self.snapshots.back(), self.snapshots.get(1));
        matches!((now, second), (Some(now), Some(second)) if now.elapsed_us - second.elapsed_us >= MINUTE_US)
    }

    fn record_rates(&mut self) {
        let names: Vec<_> = (self.now().into_iter().flat_map(|now| &now.registries))
            .map(|registry| registry.name.clone())
            .collect();
        // A registry that was removed has no counters, so its history is dropped.
        self.history.retain(|name, _| names.contains(name));
        for name in names {
            let requests = |traffic: &Traffic| registry(traffic, &name).map_or(0, requests);
            let rate = self.rate(requests).unwrap_or_default();
            let history = self.history.entry(name).or_default();
            history.push_back(rate);
            if history.len() > MAX_HISTORY {
                history.pop_front();
            }
        }
    }
}

/// Counters of one registry.
pub(super) fn registry<'a>(traffic: &'a Traffic, name: &RegistryName) -> Option<&'a RegistryTraffic> {
    traffic.registries.iter().find(|registry| registry.name == *name)
}

/// Requests to a registry that have ended.
pub(super) fn requests(registry: &RegistryTraffic) -> u64 {
    registry.requests.iter().map(|request| request.count).sum()
}

const MINUTE_US: u64 = 60_000_000;
/// Longest sparkline.
const MAX_HISTORY: usize = 120;
