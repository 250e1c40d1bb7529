//! Filters of events: flags, and whether an event passes.

use regauth_shared::event::{Event, EventKind, Operation};
use regauth_shared::{RegistryName, event};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// Flags that choose events. An event passes if it fits all of them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only events since then: an age such as 30m, 2h or 7d, or a time such as 2026-03-04 or 2026-03-04T05:06:07Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<OffsetDateTime>,

    /// Only events of this registry
    #[arg(long, value_name = "NAME")]
    registry: Option<RegistryName>,

    /// Only requests of this program: its name, or its path
    #[arg(long, value_name = "PROGRAM")]
    program: Option<String>,

    /// Only requests with this grant, and the grant's own events
    #[arg(long, value_name = "ID")]
    grant: Option<String>,

    /// Only requests that regauthd refused
    #[arg(long)]
    refused: bool,

    /// Only reads or only writes
    #[arg(long, value_name = "OPERATION", value_parser = ["read", "write"])]
    op: Option<String>,
}

impl Filter {
    /// Does the event fit all flags?
    pub(crate) fn passes(&self, event: &Event) -> bool {
        let kind = &event.kind;
        let exchange = kind.exchange();
        let client = exchange.map(|exchange| &exchange.client);
        let operation = exchange.and_then(|exchange| exchange.operation);
        self.includes_time(event.time)
            && (self.registry.as_ref()).is_none_or(|registry| kind.registry() == Some(registry))
            && (self.program.as_ref()).is_none_or(|program| client.is_some_and(|client| is_program(client, program)))
            && (self.grant.as_deref()).is_none_or(|grant| grant_of(kind) == Some(grant))
            && (!self.refused || matches!(kind, EventKind::Refusal(_)))
            && (self.op.as_deref()).is_none_or(|name| operation.is_some_and(|operation| name == word(operation)))
    }

    /// Is a line of this time, in milliseconds since 1970, new enough?
    pub(crate) fn includes_time(&self, time: u64) -> bool {
        let since = self.since.map(|since| since.unix_timestamp_nanos() / 1_000_000);
        since.is_none_or(|since| i128::from(time) >= since)
    }

    /// Do notes of the record itself pass? They are about no registry and no client.
    pub(crate) fn includes_notes(&self) -> bool {
        let about_requests = self.program.is_some() || self.grant.is_some() || self.refused || self.op.is_some();
        self.registry.is_none() && !about_requests
    }
}

fn is_program(client: &event::Client, wanted: &str) -> bool {
    let Some(path) = client.program.as_deref() else {
        return wanted == "unknown";
    };
    path == wanted || path.rsplit('/').next() == Some(wanted)
}

fn grant_of(kind: &EventKind) -> Option<&str> {
    match kind {
        EventKind::GrantCreated(created) => Some(&created.grant),
        EventKind::GrantRevoked(revoked) => Some(&revoked.grant),
        other => other.exchange()?.client.grant.as_deref(),
    }
}

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "read",
        Operation::Write => "write",
    }
}

/// Parses an age or a time.
fn since(text: &str) -> Result<OffsetDateTime, String> {
    since_from(OffsetDateTime::now_utc(), text)
}

fn since_from(now: OffsetDateTime, text: &str) -> Result<OffsetDateTime, String> {
    let age = || {
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
        let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
        now.checked_sub(Duration::seconds(number.checked_mul(*seconds)?))
    };
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    (age().or_else(|| time(text)).or_else(|| time(&format!("{text}T00:00:00Z"))))
        .ok_or_else(|| "expected an age such as 30m, 2h or 7d, or a time such as 2026-03-04T05:06:07Z".to_owned())
}

const UNITS: [(&str, i64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

#[cfg(test)]
mod tests {
    use regauth_shared::event::{Client, Exchange, GrantRevoked};

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event {
            time: 1_772_600_767_000,
            sequence: 1,
            kind,
        }
    }

    fn request() -> Exchange {
        Exchange {
            registry: Some("corp".parse().unwrap()),
            operation: Some(Operation::Read),
            client: Client {
                program: Some("/usr/bin/cargo".to_owned()),
                grant: Some("g1".to_owned()),
                ..Client::default()
            },
            ..Exchange::default()
        }
    }

    #[test]
    fn an_event_must_fit_every_flag() {
        let read = event(EventKind::Request(request()));
        let refused = event(EventKind::Refusal(request()));
        let revoked = event(EventKind::GrantRevoked(GrantRevoked { grant: "g1".to_owned() }));
        let text = |text: &str| Some(text.to_owned());
        let none = Filter::default();
        for (filter, expected) in [
            (none.clone(), [true, true, true]),
            (Filter { registry: Some("corp".parse().unwrap()), ..none.clone() }, [true, true, false]),
            (Filter { registry: Some("other".parse().unwrap()), ..none.clone() }, [false; 3]),
            (Filter { program: text("cargo"), ..none.clone() }, [true, true, false]),
            (Filter { program: text("/usr/bin/cargo"), ..none.clone() }, [true, true, false]),
            (Filter { program: text("argo"), ..none.clone() }, [false; 3]),
            (Filter { grant: text("g1"), ..none.clone() }, [true; 3]),
            (Filter { grant: text("g2"), ..none.clone() }, [false; 3]),
            (Filter { refused: true, ..none.clone() }, [false, true, false]),
            (Filter { op: text("read"), ..none.clone() }, [true, true, false]),
            (Filter { op: text("write"), ..none.clone() }, [false; 3]),
            (Filter { refused: true, op: text("write"), ..none }, [false; 3]),
        ] {
            let passes = [&read, &refused, &revoked].map(|event| filter.passes(event));
            assert_eq!(passes, expected, "{filter:?}");
        }
    }

    #[test]
    fn since_takes_ages_and_times() {
        let now = OffsetDateTime::parse("2026-03-04T05:06:07Z", &Rfc3339).unwrap();
        for (text, expected) in [
            ("2h", "2026-03-04T03:06:07Z"),
            ("7d", "2026-02-25T05:06:07Z"),
            ("2026-03-04", "2026-03-04T00:00:00Z"),
            ("2026-03-04T06:06:07+01:00", "2026-03-04T05:06:07Z"),
        ] {
            assert_eq!(since_from(now, text).unwrap(), OffsetDateTime::parse(expected, &Rfc3339).unwrap(), "{text}");
        }
        for wrong in ["", "h", "-2h", "2 h", "yesterday", "99999999999999999999d", "9223372036854775807w"] {
            since_from(now, wrong).unwrap_err();
        }
    }
}
