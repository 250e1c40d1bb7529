//! Bounded table of workloads: the first are counted each, and those that come later together.

use std::collections::HashMap;

use regauth_shared::event;
use regauth_shared::response::WorkloadTraffic;

use super::Ended;
use crate::bearer::Bearer;
use crate::workload::Identity;

/// Counters of the workloads.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    counted: HashMap<Identity, Counts>,
    others: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    refusals: u64,
}

impl Workloads {
    /// Counts a request, if a workload has sent it.
    pub(super) fn count(&mut self, ended: &Ended) {
        let Some(identity) = ended.record.bearer.as_ref().and_then(Bearer::workload) else {
            return;
        };
        if !self.counted.contains_key(identity) && self.counted.len() < MAX_WORKLOADS {
            self.counted.insert(identity.clone(), Counts::default());
        }
        let counts = self.counted.get_mut(identity).unwrap_or(&mut self.others);
        counts.requests += 1;
        counts.refusals += u64::from(ended.record.code.is_some());
    }

    /// Workloads as the protocol shows them, by name.
    pub(super) fn view(&self) -> Vec<WorkloadTraffic> {
        let view = |identity: &Identity, counts: &Counts| WorkloadTraffic {
            workload: event::Workload {
                issuer: identity.issuer.clone(),
                subject: identity.subject.clone(),
                repository: identity.repository.clone(),
            },
            requests: counts.requests,
            refusals: counts.refusals,
        };
        let mut views: Vec<_> = self
            .counted
            .iter()
            .map(|(identity, counts)| view(identity, counts))
            .collect();
        views.sort_unstable_by(|one, other| one.workload.cmp(&other.workload));
        if self.others.requests > 0 {
            let unnamed = Identity {
                issuer: String::new(),
                subject: String::new(),
                repository: None,
            };
            views.push(view(&unnamed, &self.others));
        }
        views
    }
}

/// Workloads that are counted each. A label of a metric must have few values.
const MAX_WORKLOADS: usize = 256;
