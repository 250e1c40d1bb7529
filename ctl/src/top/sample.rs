//! One sample: the daemon's answers to `status`, `list` and `traffic`.

use regauth_shared::request::{Nothing, TrafficOf};
use regauth_shared::response::{RegistryList, RegistryView, Status, Traffic};
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;

/// State and counters of the daemon at one time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// State of the daemon.
    pub(super) status: Status,
    /// Registries, sorted by name.
    pub(super) registries: Vec<RegistryView>,
    /// Counters.
    pub(super) traffic: Traffic,
}

impl Sample {
    /// Asks the daemon. A status that is `known` is not asked for.
    ///
    /// # Errors
    /// No daemon answers, or it is of another release.
    pub(super) fn fetch(client: &Client, of: TrafficOf, known: Option<Status>) -> Result<Self, ErrorBody> {
        let list = client.call::<RegistryList>(&Request::List(Nothing {}))?;
        let status = match known {
            Some(status) => status,
            None => client.call(&Request::Status(Nothing {}))?.answer,
        };
        Ok(Self {
            status,
            registries: list.answer.registries,
            // Last, so that the times between two samples are those between two answers.
            traffic: client.call(&Request::Traffic(of))?.answer,
        })
    }
}
