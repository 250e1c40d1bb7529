//! One line of text for an event or a note.

use regauth_shared::audit::Note;
use regauth_shared::event::{Client, Event, EventKind, Exchange, Operation};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::change_text::{self, NO_ANSWER};

/// Columns of an event: time, registry, client, what happened.
pub(crate) fn event(event: &Event) -> Vec<String> {
    let registry = event.kind.registry().map_or("-", |registry| registry.as_str());
    let client = event
        .kind
        .exchange()
        .map_or("-".to_owned(), |exchange| client(&exchange.client));
    vec![time(event.time), registry.to_owned(), client, what(&event.kind)]
}

/// Columns of a note, as those of an event.
pub(crate) fn note(note: &Note) -> Vec<String> {
    let (at, text) = match note {
        Note::Repaired { time, bytes } => (
            Some(*time),
            format!("record: removed {bytes} bytes of a line that a kill had cut"),
        ),
        Note::Damaged { time } => (Some(*time), "record: the line before cannot be read".to_owned()),
        Note::Pruned { time, through } => (Some(*time), format!("record: deleted the lines up to {}", through.line)),
        _ => (None, "record: a note of a newer release".to_owned()),
    };
    vec![at.map_or("-".to_owned(), time), "-".to_owned(), "-".to_owned(), text]
}

/// Time in RFC 3339, to the second.
pub(crate) fn time(milliseconds: u64) -> String {
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "-".to_owned())
}

/// Name of a client, with its process and its grant.
fn client(client: &Client) -> String {
    let mut name = client.name();
    if client.program.is_some() {
        name += &client.pid.map_or_else(String::new, |pid| format!("[{pid}]"));
        name += &(client.grant.as_ref()).map_or_else(String::new, |grant| format!(", grant {grant}"));
        name += &(client.workload.as_ref()).map_or_else(String::new, |workload| format!(", {}", workload.name()));
    }
    name
}

fn what(kind: &EventKind) -> String {
    match kind {
        EventKind::Request(exchange) => request(exchange),
        EventKind::Refusal(exchange) => {
            let code = exchange.code.as_deref().unwrap_or("refused");
            format!("{}: {code}", request(exchange))
        }
        change => change_text::describe(change),
    }
}

fn request(exchange: &Exchange) -> String {
    let method = exchange.method.as_deref().unwrap_or("CONNECT");
    // A refused CONNECT has no path, and a request outside of every scope is told by its host.
    let host = exchange
        .host
        .as_deref()
        .filter(|_| exchange.registry.is_none() || exchange.path.is_none());
    let target = format!(
        "{}{}",
        host.unwrap_or_default(),
        exchange.path.as_deref().unwrap_or_default()
    );
    let status = exchange
        .status
        .map_or(NO_ANSWER.to_owned(), |status| status.to_string());
    let write = if exchange.operation == Some(Operation::Write) {
        ", write"
    } else {
        ""
    };
    format!("{method} {target} {status}{write}")
}
