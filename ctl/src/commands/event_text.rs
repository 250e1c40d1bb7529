//! An event as one line for people, cut to the width of the terminal.

use regauth_shared::event::{Event, EventKind, Exchange};

use crate::change_text::{self, NO_ANSWER};
use crate::output::cut_start;
use crate::own_commands::with_flags;
use crate::relative_time::time_of_day;

/// Formats an event, at most `width` columns wide: `18:44:16Z corp  cargo  GET 200  31 ms  23 kB  /index/se/rd/serde`.
pub(crate) fn line(event: &Event, width: usize) -> String {
    let registry = event.kind.registry().map_or("-", |name| name.as_str());
    let start = format!("{}Z {registry:<10} ", time_of_day(event.time));
    let rest = match &event.kind {
        EventKind::Request(exchange) | EventKind::Refusal(exchange) => {
            return request(&start, exchange, width);
        }
        EventKind::Lost(lost) => format!("lost {} events: they came faster than they were read", lost.events),
        EventKind::StoreLocked(_) => {
            let next = with_flags("run `regauthctl status`");
            format!("{}; {next}", change_text::describe(&event.kind))
        }
        change => change_text::describe(change),
    };
    cut_end(&(start + &rest), width)
}

fn request(start: &str, exchange: &Exchange, width: usize) -> String {
    let status = match (exchange.status, &exchange.code) {
        (Some(status), Some(code)) => format!("{status} {code}"),
        (Some(status), None) => status.to_string(),
        (None, _) => NO_ANSWER.to_owned(),
    };
    let start = format!(
        "{start}{:<12} {:<4} {status:<3} {:>7} {:>7} ",
        cut_end(&exchange.client.name(), 24),
        exchange.method.as_deref().unwrap_or("CONNECT"),
        duration(exchange.total_us),
        bytes(exchange.bytes_up.max(exchange.bytes_down)),
    );
    let target = match (&exchange.registry, &exchange.host, &exchange.path) {
        (Some(_), _, Some(path)) => path.clone(),
        (_, host, path) => host.clone().unwrap_or_default() + path.as_deref().unwrap_or_default(),
    };
    let left = width.saturating_sub(start.chars().count());
    cut_end(&(start + &cut_start(&target, left)), width)
}

fn duration(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{} kB", number / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", number / 1_000_000),
        _ => format!("{} GB", number / 1_000_000_000),
    }
}

/// Cuts the end of a text that is wider than `width`.
fn cut_end(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use regauth_shared::event::{Client, Lost, Operation};

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event {
            time: 1_772_600_000_123,
            sequence: 1,
            kind,
        }
    }

    fn exchange() -> Exchange {
        Exchange {
            registry: Some("corp".parse().unwrap()),
            host: Some("corp.example".to_owned()),
            client: Client {
                uid: Some(1000),
                program: Some("/usr/bin/cargo".to_owned()),
                ..Client::default()
            },
            operation: Some(Operation::Read),
            method: Some("GET".to_owned()),
            path: Some("/api/cargo/index/se/rd/serde".to_owned()),
            status: Some(200),
            bytes_down: 23_456,
            total_us: 31_000,
            ..Exchange::default()
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let abandoned = Exchange {
            status: None,
            ..exchange()
        };
        let refused = Exchange {
            registry: None,
            client: Client::default(),
            method: None,
            path: None,
            status: Some(407),
            code: Some("grant-required".to_owned()),
            bytes_down: 0,
            total_us: 90,
            ..exchange()
        };
        for (kind, expected) in [
            (
                EventKind::Request(exchange()),
                "04:53:20Z corp       cargo        GET  200   31 ms   23 kB /api/cargo/index/se/rd/serde",
            ),
            (
                EventKind::Request(abandoned),
                "04:53:20Z corp       cargo        GET  no answer   31 ms   23 kB /api/cargo/index/se/rd/serde",
            ),
            (
                EventKind::Refusal(refused),
                "04:53:20Z -          unknown      CONNECT 407 grant-required  0.0 ms     0 B corp.example",
            ),
            (
                EventKind::Lost(Lost { events: 12 }),
                "04:53:20Z -          lost 12 events: they came faster than they were read",
            ),
        ] {
            assert_eq!(line(&event(kind), 200), expected);
        }
    }

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        let wide = Exchange {
            registry: Some("x".repeat(64).parse().unwrap()),
            path: Some(format!("/{}/serde", "ä".repeat(200))),
            ..exchange()
        };
        let long_path = Exchange {
            path: wide.path.clone(),
            ..exchange()
        };
        for width in [80, 120, 200] {
            for exchange in [&wide, &long_path, &exchange()] {
                let line = line(&event(EventKind::Request(exchange.clone())), width);
                assert!(line.chars().count() <= width, "{line}");
            }
            let line = line(&event(EventKind::Request(long_path.clone())), width);
            assert!(line.contains('…') && line.ends_with("/serde"), "{line}");
        }
    }
}
