//! Answer to `traffic`: counters of the data path since the daemon's start.
//!
//! Counters only grow until the daemon ends. A client computes rates from the difference of two answers with one `started`.
//! Durations are in microseconds, sizes in bytes.

use serde::{Deserialize, Serialize};

use crate::event::{Client, Event, Operation, Workload};
use crate::name::RegistryName;

/// Counters of all registries and clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Traffic {
    /// Time of the daemon's start. Another value means that all counters began again at zero.
    pub started: String,
    /// Time since the start, by a clock that is never set.
    pub elapsed_us: u64,
    /// Upper bounds of the buckets of every histogram, inclusive and ascending. One more bucket counts what is above.
    pub bounds_us: Vec<u64>,
    /// Registries that were used since the start, sorted by name.
    pub registries: Vec<RegistryTraffic>,
    /// Requests that the daemon refused before it knew their registry, by refusal code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals_elsewhere: Vec<NamedCount>,
    /// Clients, the latest first. The table is bounded, and the client that was silent for longest leaves it.
    pub clients: Vec<ClientTraffic>,
    /// Workloads. The first hundreds are counted each, and the others together under an empty name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadTraffic>,
    /// Latest requests of the registry or client that the request named, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latest: Vec<Event>,
    /// Events that the counters miss because they came faster than they were counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

/// Counters of one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkloadTraffic {
    /// Workload.
    #[serde(flatten)]
    pub workload: Workload,
    /// Requests that have ended.
    pub requests: u64,
    /// Requests that the daemon refused.
    pub refusals: u64,
}

/// Counters of one registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryTraffic {
    /// Name.
    pub name: RegistryName,
    /// Requests that have ended, by operation and class of the status that the client got.
    pub requests: Vec<RequestCount>,
    /// Requests that the daemon answered itself, by refusal code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<NamedCount>,
    /// Requests that carried the credential.
    pub injections: u64,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// Bytes of request bodies.
    pub bytes_up: u64,
    /// Bytes of response bodies.
    pub bytes_down: u64,
    /// Time from the request's head to the end of its answer.
    pub total: Histogram,
    /// Time that the network and the registry took until the head of the answer, of requests that were answered.
    pub registry: Histogram,
    /// Time that the daemon itself took before the request was on its way, of the same requests.
    pub own: Histogram,
    /// Requests that opened a connection to the registry.
    pub connections_opened: u64,
    /// Requests that used an open connection.
    pub connections_reused: u64,
    /// Renewals of the token, by result: `renewed`, `failed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renewals: Vec<NamedCount>,
    /// Time of the last answer of the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<String>,
    /// Last refusal or failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<LastRefusal>,
}

/// Number of events with one name, such as a refusal code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NamedCount {
    /// Name.
    pub name: String,
    /// Number.
    pub count: u64,
}

/// Number of requests of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestCount {
    /// Operation; absent if a refusal came before it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Class of the status that the client got: `1xx` to `5xx`, or `none` if it left before.
    pub class: String,
    /// Number.
    pub count: u64,
}

/// Distribution of a duration over the buckets of [`Traffic::bounds_us`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Histogram {
    /// Number of durations in each bucket. Buckets at the end that are empty are left out.
    pub counts: Vec<u64>,
    /// Sum of all durations.
    pub sum_us: u64,
}

/// Last request to a registry that the daemon answered itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastRefusal {
    /// Refusal code, such as `write-denied`.
    pub code: String,
    /// Time.
    pub at: String,
}

/// Counters of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientTraffic {
    /// Number of the client in this table, for `latest-of-client`.
    pub id: u64,
    /// Identity.
    #[serde(flatten)]
    pub client: Client,
    /// Requests that have ended.
    pub requests: u64,
    /// Requests that the daemon answered itself.
    pub refusals: u64,
    /// Bytes of request bodies.
    pub bytes_up: u64,
    /// Bytes of response bodies.
    pub bytes_down: u64,
    /// Time of the last request's end.
    pub last_seen: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
