//! Choice of the events that the record keeps. Pure.

use std::collections::HashSet;

use regauth_shared::RegistryName;
use regauth_shared::event::{Client, EventKind, Exchange, Operation, Workload};

use crate::config::AuditMode;

/// Chooses events, and remembers the clients that have used a registry.
#[derive(Debug)]
pub(super) struct Coverage {
    mode: AuditMode,
    seen: HashSet<(RegistryName, ClientIdentity)>,
}

/// Identity of a client of a registry: its grant or workload, else its program, user or address.
#[derive(Debug, PartialEq, Eq, Hash)]
enum ClientIdentity {
    Grant(String),
    Workload(Workload),
    Program(String),
    User(u32),
    Address(String),
    Unknown,
}

impl ClientIdentity {
    fn of(client: &Client) -> Self {
        let grant = client.grant.clone().map(Self::Grant);
        let shown = grant.or_else(|| client.workload.clone().map(Self::Workload));
        let named = shown.or_else(|| client.program.clone().map(Self::Program));
        let user = || client.uid.map(Self::User);
        let address = || client.address.clone().map(Self::Address);
        named.or_else(user).or_else(address).unwrap_or(Self::Unknown)
    }
}

impl Coverage {
    pub(super) fn new(mode: AuditMode) -> Self {
        Self {
            mode,
            seen: HashSet::new(),
        }
    }

    /// Takes an event, and remembers its client. True if the record keeps the event. In the mode `changes`, only the first
    /// read of a client is kept.
    pub(super) fn take(&mut self, event: &EventKind) -> bool {
        match (self.mode, event) {
            (AuditMode::Off, _) | (_, EventKind::Unknown) => false,
            (AuditMode::All, _) => true,
            (AuditMode::Changes, EventKind::Request(exchange)) => {
                // The order matters: a write is a first use too.
                self.take_first_use(exchange) || exchange.operation == Some(Operation::Write)
            }
            (AuditMode::Changes, EventKind::Verification(_)) => false,
            (AuditMode::Changes, _) => true,
        }
    }

    /// Takes back that a client has used a registry, since the line about it was not written.
    pub(super) fn forget(&mut self, event: &EventKind) {
        if let EventKind::Request(exchange) = event
            && let Some(registry) = &exchange.registry
        {
            self.seen
                .remove(&(registry.clone(), ClientIdentity::of(&exchange.client)));
        }
    }

    /// Remembers that a client uses a registry. True for its first use.
    fn take_first_use(&mut self, exchange: &Exchange) -> bool {
        let Some(registry) = &exchange.registry else {
            return false;
        };
        // Clients with grants could fill the memory. Then all first uses are recorded again.
        if self.seen.len() >= MAX_CLIENTS {
            self.seen.clear();
        }
        self.seen
            .insert((registry.clone(), ClientIdentity::of(&exchange.client)))
    }
}

const MAX_CLIENTS: usize = 4096;

#[cfg(test)]
mod tests {
    use regauth_shared::event::{Confirmation, Confirmer, RegistryChange, Verification};
    use regauth_shared::response::VerdictResult;

    use super::*;

    fn request(program: &str, operation: Operation) -> EventKind {
        EventKind::Request(Exchange {
            registry: Some("corp".parse().unwrap()),
            operation: Some(operation),
            client: Client {
                program: Some(program.to_owned()),
                ..Client::default()
            },
            ..Exchange::default()
        })
    }

    fn refused_confirmation() -> Confirmation {
        Confirmation {
            registry: None,
            uid: Some(1000),
            effect: "stops".to_owned(),
            by: Confirmer::Polkit,
            confirmed: false,
            reason: None,
        }
    }

    #[test]
    fn changes_are_writes_refusals_first_uses_and_what_verbs_do() {
        let mut coverage = Coverage::new(AuditMode::Changes);
        let read = |program| request(program, Operation::Read);
        let registry: RegistryName = "corp".parse().unwrap();
        for (event, covered) in [
            (read("/usr/bin/cargo"), true),
            (read("/usr/bin/cargo"), false),
            (read("/usr/bin/curl"), true),
            (request("/usr/bin/cargo", Operation::Write), true),
            (request("/usr/bin/cargo", Operation::Write), true),
            (EventKind::Request(Exchange::default()), false),
            (EventKind::Refusal(Exchange::default()), true),
            (EventKind::Refusal(Exchange::default()), true),
            (
                EventKind::RegistryAdded(RegistryChange {
                    registry: registry.clone(),
                }),
                true,
            ),
            (EventKind::Confirmation(refused_confirmation()), true),
            (EventKind::Stopping, true),
            (
                EventKind::Verification(Verification {
                    registry,
                    result: VerdictResult::Accepted,
                }),
                false,
            ),
            (EventKind::Unknown, false),
        ] {
            assert_eq!(coverage.take(&event), covered, "{event:?}");
        }
    }

    #[test]
    fn all_keeps_every_request_and_off_none() {
        let again = request("/usr/bin/cargo", Operation::Read);
        let mut all = Coverage::new(AuditMode::All);
        assert!(all.take(&again) && all.take(&again));
        assert!(!Coverage::new(AuditMode::Off).take(&again));
    }

    #[test]
    fn many_clients_do_not_fill_the_memory() {
        let mut coverage = Coverage::new(AuditMode::Changes);
        for number in 0..3 * MAX_CLIENTS {
            assert!(coverage.take(&request(&number.to_string(), Operation::Read)));
        }
        assert!(coverage.seen.len() <= MAX_CLIENTS);
    }
}
