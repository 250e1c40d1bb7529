//! Filters of events: flags, and whether an event passes.

use regauth_shared::event::{Event, EventKind};
use regauth_shared::request::Watch;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::duration;
use crate::event_flags::EventFlags;

/// Flags that choose events of the record. An event passes if it fits all of them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only events since then: an age such as 30m, 2h or 7d, or a time such as 2026-03-04 or 2026-03-04T05:06:07Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<OffsetDateTime>,

    #[command(flatten)]
    events: EventFlags,
}

/// The flags, ready to be compared with events.
#[derive(Debug)]
pub(super) struct EventFilter {
    since_ms: Option<i128>,
    watch: Watch,
    /// True if no flag is about registries or clients.
    includes_all: bool,
}

impl Filter {
    pub(super) fn to_event_filter(&self) -> EventFilter {
        let watch = self.events.to_watch();
        EventFilter {
            since_ms: self.since.map(|since| since.unix_timestamp_nanos() / 1_000_000),
            includes_all: watch == Watch::default(),
            watch,
        }
    }
}

impl EventFilter {
    /// Does the event fit all flags?
    pub(super) fn passes(&self, event: &Event) -> bool {
        // `watch` shows these with any filter.
        let is_of_daemon = matches!(
            event.kind,
            EventKind::Started(_) | EventKind::Stopping | EventKind::Lost(_)
        );
        self.includes_time(event.time) && (self.includes_all || (!is_of_daemon && self.watch.passes(event)))
    }

    /// Do notes of the record itself of this time fit? They are about no registry and no client.
    pub(super) fn passes_note(&self, time: u64) -> bool {
        self.includes_all && self.includes_time(time)
    }

    /// Is a time, in milliseconds since 1970, late enough?
    fn includes_time(&self, time: u64) -> bool {
        self.since_ms.is_none_or(|since| i128::from(time) >= since)
    }
}

/// Parses an age or a time.
fn since(text: &str) -> Result<OffsetDateTime, String> {
    since_from(OffsetDateTime::now_utc(), text)
}

fn since_from(now: OffsetDateTime, text: &str) -> Result<OffsetDateTime, String> {
    let age = || {
        let seconds = i64::try_from(duration::seconds(text)?).ok()?;
        now.checked_sub(Duration::seconds(seconds))
    };
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    (age()
        .or_else(|| time(text))
        .or_else(|| time(&format!("{text}T00:00:00Z"))))
    .ok_or_else(|| "expected an age such as 30m, 2h or 7d, or a time such as 2026-03-04T05:06:07Z".to_owned())
}

#[cfg(test)]
mod tests {
    use regauth_shared::event::{Exchange, Lost};

    use super::*;

    #[test]
    fn an_event_must_fit_the_time_and_the_flags() {
        let event = |time, kind| Event {
            time,
            sequence: 1,
            kind,
        };
        let refusal = |time| event(time, EventKind::Refusal(Exchange::default()));
        let lost = |time| event(time, EventKind::Lost(Lost { events: 1 }));
        let none = Filter::default().to_event_filter();
        assert!(none.passes(&refusal(0)) && none.passes(&lost(0)) && none.passes_note(0));
        let since = Filter {
            since: Some(OffsetDateTime::from_unix_timestamp(2).unwrap()),
            ..Filter::default()
        };
        let since = since.to_event_filter();
        assert!(!since.passes(&refusal(1999)) && since.passes(&refusal(2000)) && !since.passes_note(1999));
        let refused = Filter {
            events: EventFlags {
                refused: true,
                ..EventFlags::default()
            },
            ..Filter::default()
        };
        let refused = refused.to_event_filter();
        assert!(refused.passes(&refusal(0)) && !refused.passes(&lost(0)) && !refused.passes_note(0));
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
            assert_eq!(
                since_from(now, text).unwrap(),
                OffsetDateTime::parse(expected, &Rfc3339).unwrap(),
                "{text}"
            );
        }
        for wrong in [
            "",
            "h",
            "-2h",
            "2 h",
            "yesterday",
            "99999999999999999999d",
            "9223372036854775807w",
        ] {
            since_from(now, wrong).unwrap_err();
        }
    }
}
