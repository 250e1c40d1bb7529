//! `traffic`: counters of the data path.

use regauth_shared::request::TrafficOf;
use regauth_shared::response::Traffic;

use crate::control::controller::Controller;
use crate::control::verbs::show::rfc3339;

/// Counters since the daemon's start, with the requests that are in flight now.
pub(crate) fn traffic(controller: &Controller, request: &TrafficOf) -> Traffic {
    let snapshot = controller.snapshot();
    let in_flight = snapshot.registries.values();
    let in_flight = in_flight.map(|route| (route.name.clone(), route.usage.in_flight()));
    let counters = &controller.proxy.events.traffic;
    counters.snapshot(request, rfc3339(controller.started), in_flight)
}
