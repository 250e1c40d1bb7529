//! Request for the stream of events.

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventKind, Operation};
use crate::name::RegistryName;
use crate::program;

/// Fields of `watch`: filters, which an event must all pass. An empty one passes everything.
///
/// Events of the daemon itself (`started`, `stopping`, `lost`) pass every filter.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Watch {
    /// Registries of the events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistryName>,
    /// Programs of the requests, as [`program::matches`] reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// Id of the grant that the requests show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// True for refusals only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// Operation of the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

impl Watch {
    /// Returns true if an event passes the filters.
    pub fn passes(&self, event: &Event) -> bool {
        if matches!(
            event.kind,
            EventKind::Started(_) | EventKind::Stopping | EventKind::Lost(_)
        ) {
            return true;
        }
        let is_of_registry = |name| self.registries.contains(name);
        (self.registries.is_empty() || event.kind.registry().is_some_and(is_of_registry))
            && (!self.refused || matches!(event.kind, EventKind::Refusal(_)))
            && self.passes_client(&event.kind)
    }

    /// Checks the filters that only requests can pass.
    fn passes_client(&self, kind: &EventKind) -> bool {
        let Some(exchange) = kind.exchange() else {
            return self.programs.is_empty() && self.grant.is_none() && self.operation.is_none();
        };
        let client = &exchange.client;
        let is_named = |path: &String| self.programs.iter().any(|name| program::matches(name, path));
        (self.programs.is_empty() || client.program.as_ref().is_some_and(is_named))
            && (self.grant.is_none() || self.grant == client.grant)
            && (self.operation.is_none() || self.operation == exchange.operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Client, Exchange, Lost, Reload};

    #[test]
    fn an_event_has_to_pass_every_filter() {
        let exchange = || Exchange {
            registry: Some("corp".parse().unwrap()),
            client: Client {
                grant: Some("3f9a1c2e".to_owned()),
                program: Some("/usr/bin/curl".to_owned()),
                ..Client::default()
            },
            operation: Some(Operation::Write),
            ..Exchange::default()
        };
        let event = |kind| Event {
            time: 1,
            sequence: 1,
            kind,
        };
        let request = event(EventKind::Request(exchange()));
        let refusal = event(EventKind::Refusal(exchange()));
        let reload = event(EventKind::Reload(Reload { registries: 1 }));
        let lost = event(EventKind::Lost(Lost { events: 1 }));
        for (filters, passes) in [
            (r#"{}"#, [true, true, true]),
            (r#"{"registries":["corp"]}"#, [true, true, false]),
            (r#"{"registries":["other","corp"]}"#, [true, true, false]),
            (r#"{"registries":["other"]}"#, [false, false, false]),
            (r#"{"programs":["curl"]}"#, [true, true, false]),
            (r#"{"programs":["cargo"]}"#, [false, false, false]),
            (r#"{"grant":"3f9a1c2e"}"#, [true, true, false]),
            (r#"{"grant":"00000000"}"#, [false, false, false]),
            (r#"{"refused":true}"#, [false, true, false]),
            (r#"{"operation":"write"}"#, [true, true, false]),
            (r#"{"operation":"read"}"#, [false, false, false]),
            (
                r#"{"operation":"write","refused":true,"programs":["cargo"]}"#,
                [false, false, false],
            ),
        ] {
            let watch: Watch = serde_json::from_str(filters).unwrap();
            let result = [&request, &refusal, &reload].map(|event| watch.passes(event));
            assert_eq!(result, passes, "{filters}");
            assert!(watch.passes(&lost), "{filters}");
        }
    }
}
